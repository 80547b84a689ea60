//! The one integration test binary.
#![cfg(test)] // lets helpers unwrap, as tests may

mod support;

mod architecture;
mod bench;
mod config;
mod console_inbox;
mod proto;
mod transitions;
mod vendor_esms;
mod vendor_inbox;
mod verify;
