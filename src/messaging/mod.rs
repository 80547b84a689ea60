//! Messages: accepted means committed, and from then on the outbox sees each to its end.

pub mod conversion;
pub mod due;
mod echo;
pub mod fate;
pub mod holder;
pub mod idempotency;
pub mod last_line;
pub mod lines;
pub mod list;
pub mod locale;
pub mod measuring;
pub mod message;
pub mod outbox;
pub mod page;
pub mod receipt_urls;
pub mod receipts;
pub mod request;
pub mod route;
pub mod sending;
pub mod service;
pub mod template;
pub mod template_source;
pub mod variables;
pub mod vendor_names;
pub mod vendors;
pub mod watches;
pub mod worker;
