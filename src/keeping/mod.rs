//! The store as a whole: backups of it, written while it is in use and checked whenever they are read, and its files written
//! anew.
//!
//! Knows the store only through its port, so a backup of one engine can be restored into another. Values stay as the store
//! has them: sealed. What opens them is given from outside, and never written.

pub mod format;
pub mod reader;
pub mod service;
pub mod writer;
