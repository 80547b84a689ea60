//! Several nodes on one store: whichever is asked, stops, stands still or dies, callers and vendors see one gateway.
//!
//! The nodes are whole servers in this process, on one embedded store that says of itself that it is shared.

mod duties;
mod events;
pub(crate) mod house;
mod processes;
mod rolling;
mod sends;
mod starts;
mod watches;
