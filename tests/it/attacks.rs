//! Attacks on verification against a whole gateway: what public systems got wrong, and its neighbours. `matrix.rs` lists
//! them all and says which test runs which.

mod addresses;
mod anew;
pub(crate) mod canary;
mod counters;
pub(crate) mod everywhere;
mod frames;
mod inputs;
mod inside;
mod killed;
mod liar;
mod liars;
pub(crate) mod matrix;
mod pumping;
mod races;
mod receipts;
mod repeats;
mod reported;
mod sizes;
mod storms;
pub(crate) mod surfaces;
mod tenants;
mod texts;
mod values;
mod vendors;
