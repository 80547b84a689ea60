//! What happened: kept inside the record that it happened to, and, where somebody wants to hear of it, handed on by the same
//! commit.
//!
//! A change of a record of a tenant that nobody watches writes nothing but the record. For a tenant that has an endpoint,
//! or whose feed somebody has read lately, its batch gets one key more: [`news::News`] of all that the change did, without
//! recipient and without text. So no crash can lose an event that was committed, and a call still is one commit.

pub mod fed;
pub mod handing;
pub mod history;
pub mod news;
