//! The one integration test binary.

mod proto;
