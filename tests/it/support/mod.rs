//! What several tests stand on.

pub(crate) mod authority;
pub(crate) mod code_maker;
pub(crate) mod collector;
pub(crate) mod counting_store;
pub(crate) mod faulty_vendor;
pub(crate) mod floor;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod odd_store;
pub(crate) mod process;
pub(crate) mod redis_server;
pub(crate) mod reporting;
pub(crate) mod store_model;
pub(crate) mod test_store;
pub(crate) mod vendor_server;
