//! Who is told of what happened: the feed of each tenant, those who read it, and the endpoints that are called for it.
//!
//! Events leave the commit that made them as news ([`crate::event`]). One writer per process, the [`scribe`], numbers them
//! into a feed per tenant, and everything else reads that feed: watches by a cursor, couriers by a mark that they keep for
//! each endpoint. So nobody who is slow keeps anything in memory, and nobody who comes back misses or repeats an entry.
//!
//! A feed is written only while somebody wants it: within the retention of events a tenant had an enabled endpoint, and has
//! it still, or has watched. It names no person, for recipient and metadata are read from the record when an event is told: beyond the
//! retention of the record, or once it is erased, only ids are told.

pub mod courier;
pub mod cursor;
pub mod delivery;
pub mod endpoint;
pub mod endpoints;
pub mod entry;
pub mod feeds;
pub mod kinds;
pub mod log;
pub mod numbers;
pub mod payload;
pub mod replay;
pub mod scribe;
pub mod settings;
pub mod shelf;
pub mod telling;
pub mod timeline;
pub mod watch;
