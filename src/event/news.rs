//! What is handed on of a change: which events of which record, with the facts of that moment that the record may forget.
//!
//! It names no person. Whom an event concerns stands in its record, and is read there when the event is told: what has been
//! erased from there can be told by nobody.

use minicbor::{Decode, Encode};

use crate::event::history::Event;

/// One event on its way to those who want to hear of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct News {
    /// Its place in the history of its record, from 0.
    #[n(0)]
    pub place: u16,
    #[n(1)]
    pub event: Event,
    /// Of the send that it is about.
    #[n(2)]
    pub channel: Option<String>,
    /// The vendor that had the send.
    #[n(3)]
    pub vendor: Option<String>,
    /// Why a send was given up or stands in doubt, as the wire names it.
    #[n(4)]
    pub reason: Option<String>,
    /// How many more checks of the verification might have failed.
    #[n(5)]
    pub checks_left: Option<u32>,
}

/// All news of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Bundle(#[n(0)] pub Vec<News>);
