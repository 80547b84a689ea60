//! What a dialect is to the rest of the house: one vendor's wire format, spoken by callers who were written for it.
//!
//! A dialect gets a call as it was read and answers it in its own words, also when it is wrong from the start. What a
//! call means is decided by the services, which the [`Desk`] stands for; a dialect only translates.

use async_trait::async_trait;
use axum::response::Response;

use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::trouble::Trouble;
use crate::shedding::Priority;

/// One vendor's wire format.
#[async_trait]
pub trait Dialect: Send + Sync {
    /// Answers a call. Paths and methods that the vendor does not have are answered with
    /// [`Trouble::UnknownCall`], in the dialect's own shape.
    async fn answer(&self, desk: &Desk, call: &Call) -> Response;

    /// The answer to a call that could not even be read, or that took too long. `path`: as in [`Call::path`].
    fn refuse(&self, path: &str, trouble: &Trouble) -> Response;

    /// How early a call is turned away when too many are under way. `path`: as in [`Call::path`].
    fn priority(&self, path: &str) -> Priority;
}
