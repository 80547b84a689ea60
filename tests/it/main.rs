//! The one integration test binary.
#![cfg(test)] // lets helpers unwrap, as tests may

mod architecture;
mod proto;
