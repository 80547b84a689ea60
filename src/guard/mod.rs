//! The guard: refuses a send before it costs money or annoys anybody, and a check before somebody guesses on.
//!
//! Rules are pure where they count and judge; the service asks them in order and keeps what they count.

pub mod acquaintance;
pub mod area;
pub mod ask;
pub mod authorization;
pub mod block;
pub mod blocks;
pub mod changes;
pub mod conversion;
pub mod failures;
pub mod following;
pub mod gcra;
pub mod ledger;
pub mod names;
pub mod news;
pub mod price;
pub mod rates;
pub mod rule;
pub mod sequence;
pub mod service;
pub mod settings;
pub mod sharing;
pub mod spending;
pub mod standing;
pub mod suspicion;
pub mod table;
pub mod tally;
pub mod upkeep;
