//! Contacts: for each tenant a table of typed columns, and its rows. What a cell may hold and what a filter means are pure
//! rules; a change reads, lets them decide, and commits once.
//!
//! There is one table, named [`TABLE`](table::TABLE). Membership of lists and tags is a matter of two of its columns, so a
//! contact that is in three lists is still one row.

pub mod books;
pub mod cell;
pub mod column;
pub mod columns;
pub mod date;
pub mod erasure;
pub mod filter;
pub mod push;
pub mod query;
pub mod row;
pub mod rows;
pub mod save;
pub mod service;
pub mod table;
