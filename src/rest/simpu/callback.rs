//! Telling a client how its text ended, at the address that came with it. The page of these words was never public: the
//! vendor says that it posts the final status, and what is in it is inferred.

use serde_json::json;

use crate::error::Result;
use crate::id::Id;
use crate::messaging::callback::{Callback, CallbackUrl, Context, NewCallback};
use crate::messaging::callback_writer::{CallbackCall, CallbackWriter};
use crate::messaging::message::Message;
use crate::messaging::request::NewMessage;
use crate::rest::simpu::words::{to_hex, to_message_state, to_number};

/// Under which the writer is registered.
pub const KIND: &str = "simpu";

/// Where the caller's own reference is kept with a message.
pub(super) const EXTERNAL_REF: &str = "external_ref";

/// Where the id of the call is kept with each of several messages: by it the caller knows them, and it leads whoever looks
/// at one over another surface to the others.
const BATCH: &str = "batch_id";

/// Writes the calls.
pub struct SimpuCallbacks;

pub(super) fn to_callback(url: &str) -> NewCallback {
    NewCallback { kind: KIND, url: CallbackUrl::new(url), context: Context::default() }
}

/// One of several messages, which are known by the id of the call.
pub(super) fn in_batch(mut new: NewMessage, id: Id) -> NewMessage {
    new.metadata.insert(BATCH.to_owned(), to_hex(id));
    new
}

impl CallbackWriter for SimpuCallbacks {
    fn write(&self, message: &Message, callback: &Callback) -> Result<Option<CallbackCall>> {
        let Some((status, description)) = to_message_state(message.sending.status) else { return Ok(None) };
        let body = json!({
            "id": message.metadata.get(BATCH).cloned().unwrap_or_else(|| to_hex(message.id)),
            "external_ref": message.metadata.get(EXTERNAL_REF),
            "recipient": to_number(&message.recipient),
            "status": status,
            "status_desc": description,
        });
        CallbackCall::post_json(callback.url.expose().to_owned(), &body).map(Some)
    }
}
