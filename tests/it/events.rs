//! What happened, told: signed webhooks to receivers on real sockets, and watches that come back where they left off.

mod docs;
mod endpoints;
mod guarded;
pub(crate) mod house;
mod killed;
mod replays;
mod retries;
mod scribe;
mod standard;
mod watches;
