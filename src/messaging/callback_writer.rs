//! How a dialect says what became of a message: the calls that its writer makes of a message and its callback.
//!
//! Knows neither a dialect's words nor how calls are made. A callback names its writer by kind, and outlives the process
//! that registered it: one whose kind nobody writes any more is given up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::messaging::callback::Callback;
use crate::messaging::message::Message;

/// Writes the calls of one kind of callback. Pure: what it needs beside the message, [`Callback::context`] keeps.
pub trait CallbackWriter: Send + Sync {
    /// The call that tells how the message ended, which it has, at [`Callback::ended_at`]; to the callback's own host.
    /// `None` where the dialect has no word for such an end: then nothing is told.
    ///
    /// Errors: count as a call that failed, and are repeated as one.
    fn write(&self, message: &Message, callback: &Callback) -> Result<Option<CallbackCall>>;
}

/// A call to a receiver.
#[derive(Clone)]
pub struct CallbackCall {
    pub method: Method,
    /// With its query.
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// The writers by kind.
#[derive(Clone, Default)]
pub struct CallbackWriters(BTreeMap<&'static str, Arc<dyn CallbackWriter>>);

// === impl CallbackCall ===

impl CallbackCall {
    pub fn get(url: String) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Vec::new() }
    }

    /// Errors: `Internal`, for what JSON cannot say.
    pub fn post_json(url: String, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body).map_err(Error::internal)?;
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        Ok(Self { method: Method::POST, url, headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]), body })
    }
}

/// What is said, and to whom, is a tenant's business.
impl fmt::Debug for CallbackCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackCall({} with {} bytes)", self.method, self.body.len())
    }
}

// === impl CallbackWriters ===

impl CallbackWriters {
    /// `kind`: a short name that stays the same for as long as callbacks are stored under it.
    pub fn add(mut self, kind: &'static str, writer: Arc<dyn CallbackWriter>) -> Self {
        self.0.insert(kind, writer);
        self
    }

    /// `None` for a kind that nobody writes.
    pub fn get(&self, kind: &str) -> Option<&dyn CallbackWriter> {
        self.0.get(kind).map(|writer| &**writer)
    }
}

impl fmt::Debug for CallbackWriters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
