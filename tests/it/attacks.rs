//! Attacks on verification, over real gRPC against a whole gateway: what public systems got wrong, and its neighbours.

mod addresses;
pub(crate) mod canary;
mod counters;
mod frames;
mod inputs;
mod races;
mod receipts;
mod repeats;
mod sizes;
mod tenants;
mod texts;
mod vendors;
