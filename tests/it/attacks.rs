//! Attacks on verification against a whole gateway: what public systems got wrong, and its neighbours. `matrix.rs` lists
//! them all and says which test runs which.

mod addresses;
pub(crate) mod canary;
mod counters;
mod everywhere;
mod frames;
mod inputs;
pub(crate) mod matrix;
mod races;
mod receipts;
mod repeats;
mod sizes;
mod storms;
pub(crate) mod surfaces;
mod tenants;
mod texts;
mod vendors;
