//! The calls as JSON over HTTP, from the outside: real requests to a whole gateway.

mod attacks;
mod bodies;
mod calls;
pub(crate) mod client;
mod description;
mod events;
mod keys;
mod problems;
