//! What several tests stand on.

pub(crate) mod esms_server;
pub(crate) mod gateway;
pub(crate) mod http;
