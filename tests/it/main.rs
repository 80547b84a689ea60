//! The one integration test binary.

#![cfg(test)] // lets helpers unwrap, as tests may

mod support;

mod console_inbox;
mod vendor_esms;
mod vendor_inbox;
