//! What happened to one record, in order and in words: its own history, as the feeds name it.

use crate::clock::Timestamp;
use crate::event::history::History;
use crate::feed::kinds::{Type, type_of};
use crate::store::keys::Holder;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    pub kind: &'static Type,
    /// The number of the send that it is about, from 0.
    pub send: Option<u8>,
    /// The attempt, from 1, where it was one.
    pub attempt: Option<u8>,
}

/// The history of a verification, oldest first.
pub fn of_verification(history: &History) -> Vec<Moment> {
    of(Holder::Verification, history)
}

/// The history of a message, oldest first.
pub fn of_message(history: &History) -> Vec<Moment> {
    of(Holder::Message, history)
}

fn of(holder: Holder, history: &History) -> Vec<Moment> {
    let moments = history.events().iter().map(|event| Moment {
        at: event.at,
        kind: type_of(holder, event.kind),
        send: event.kind.send(),
        attempt: event.kind.attempt(),
    });
    moments.collect()
}
