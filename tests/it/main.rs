//! The one integration test binary.

mod support;

mod console_inbox;
mod vendor_esms;
mod vendor_inbox;
