//! What happened to a record, kept inside it: written by the very commit that made it so.
//!
//! An event's id is its record's id and its place in the history, so it is the same however often it is told.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    #[n(0)]
    pub at: Timestamp,
    #[n(1)]
    pub kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum EventKind {
    /// A verification was started.
    #[n(0)]
    Started,
    /// A send was accepted and will be tried.
    #[n(1)]
    Queued(#[n(0)] u8),
    /// A send was handed to a vendor; its number and the attempt.
    #[n(2)]
    Attempted(#[n(0)] u8, #[n(1)] u8),
    /// A vendor took a send.
    #[n(3)]
    Sent(#[n(0)] u8),
    /// Every vendor refused a send.
    #[n(4)]
    Rejected(#[n(0)] u8),
    /// Whether a send left is not known.
    #[n(5)]
    Unknown(#[n(0)] u8),
    /// A vendor reported delivery.
    #[n(6)]
    Delivered(#[n(0)] u8),
    /// A vendor reported failure.
    #[n(7)]
    Undelivered(#[n(0)] u8),
    /// A send was given up, for its time was over.
    #[n(8)]
    SendExpired(#[n(0)] u8),
    /// A send was given up, for nobody waits for it.
    #[n(14)]
    SendCanceled(#[n(0)] u8),
    /// Somebody who knows says that a send reached its person.
    #[n(15)]
    Confirmed(#[n(0)] u8),
    /// Somebody who knows says that it did not.
    #[n(16)]
    Denied(#[n(0)] u8),
    /// A wrong code was counted.
    #[n(9)]
    CheckFailed,
    /// The person proved control of the recipient.
    #[n(10)]
    Approved,
    /// The last allowed check failed.
    #[n(11)]
    ChecksExhausted,
    /// The caller gave the verification up.
    #[n(12)]
    Canceled,
    /// No send can have reached the person.
    #[n(13)]
    Undeliverable,
    /// Time has ended a verification.
    #[n(17)]
    Expired,
}

/// The events of one record, oldest first. A record's life is bounded, and so is this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct History(#[n(0)] Vec<Event>);

// === impl EventKind ===

impl EventKind {
    /// The number of the send that it is about, if it is about one.
    pub fn send(self) -> Option<u8> {
        match self {
            Self::Queued(send)
            | Self::Attempted(send, _)
            | Self::Sent(send)
            | Self::Rejected(send)
            | Self::Unknown(send)
            | Self::Delivered(send)
            | Self::Undelivered(send)
            | Self::SendExpired(send)
            | Self::SendCanceled(send)
            | Self::Confirmed(send)
            | Self::Denied(send) => Some(send),
            Self::Started
            | Self::CheckFailed
            | Self::Approved
            | Self::ChecksExhausted
            | Self::Canceled
            | Self::Undeliverable
            | Self::Expired => None,
        }
    }

    /// Which attempt has begun, from 1.
    pub fn attempt(self) -> Option<u8> {
        match self {
            Self::Attempted(_, attempt) => Some(attempt),
            _ => None,
        }
    }
}

// === impl History ===

impl History {
    pub fn add(&mut self, at: Timestamp, kind: EventKind) {
        self.0.push(Event { at, kind });
    }

    pub fn events(&self) -> &[Event] {
        &self.0
    }
}
