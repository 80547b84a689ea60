//! Calls to URLs that callers name: callbacks of messages, and whatever else tells callers of events over HTTP.
//!
//! Anybody with an API key can have us call anywhere, so all such calls go through [`client`], which calls nobody on our
//! own networks, follows nothing, reads little, and lets no receiver keep places that others wait for. What is said, and
//! how often it is tried, is not known here.

pub mod authorization;
pub mod client;
pub mod names;
pub mod network;
pub mod rooms;
pub mod settings;
pub mod signing;
