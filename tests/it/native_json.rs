//! The calls as JSON over HTTP, from the outside: real requests to a whole gateway.

mod attacks;
mod bodies;
mod calls;
mod client;
mod description;
mod events;
mod keys;
mod problems;
