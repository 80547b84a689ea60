//! Standard output: answers for people as lines, for machines as JSON.

use std::io::{ErrorKind, Write};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use verigate::proto::FILE_DESCRIPTOR_SET;

use crate::cli::exit::{Failure, INPUT_OUTPUT};

/// Writes a text. A reader who has left is no failure: `head` leaves early, and knows why.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(INPUT_OUTPUT, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes names and values as a table, without the empty values.
pub(crate) fn print_rows(rows: &[(&str, String)]) -> Result<(), Failure> {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    print(&rows.map(|(name, value)| format!("{name:<12}  {value}\n")).collect::<String>())
}

/// Writes a message of the contract as proto3 JSON on one line, with the fields that have their default value.
///
/// `name`: its full name, such as `verigate.messaging.v1.Message`.
pub(crate) fn print_json(name: &str, message: &impl Message) -> Result<(), Failure> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| Failure::internal(&error))?;
    let descriptor = pool.get_message_by_name(name);
    let descriptor = descriptor.ok_or_else(|| Failure::internal(&std::fmt::Error))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    let dynamic = dynamic.map_err(|error| Failure::internal(&error))?;
    let mut json = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
        .map_err(|error| Failure::internal(&error))?;
    print(&format!("{}\n", String::from_utf8_lossy(&json)))
}
