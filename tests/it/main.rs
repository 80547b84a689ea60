//! The one integration test binary.
#![cfg(test)] // lets helpers unwrap, as tests may

mod support;

mod architecture;
mod config;
mod console_inbox;
mod proto;
mod templates;
mod transitions;
mod vendor_esms;
mod vendor_inbox;
mod verify;
