//! From the message of an answer to JSON.

use axum::body::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};

use crate::error::{Error, Result};

/// As proto3 JSON on one line, under the names of the contract, which are those that its comments, faults and queries
/// use, and with every field that is not a message, also when it has its default value: who reads it need not know which
/// one that is.
///
/// Errors: `Internal` for bytes that are no such message.
pub(crate) fn to_json(message: &MessageDescriptor, encoded: Bytes) -> Result<String> {
    let message = DynamicMessage::decode(message.clone(), encoded).map_err(Error::internal)?;
    let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
    let mut json = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options).map_err(Error::internal)?;
    String::from_utf8(json).map_err(Error::internal)
}
