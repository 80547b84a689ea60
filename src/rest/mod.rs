//! The surfaces that speak JSON, on the http listener.

pub mod config;
pub mod native;
