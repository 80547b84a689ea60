//! The port to who has the last word on a send: a service of the operator's own, asked before each.

use async_trait::async_trait;

use crate::guard::ask::Ask;

/// Says whether a send may be made.
#[async_trait]
pub trait Authorizer: Send + Sync {
    async fn ask(&self, ask: &Ask<'_>) -> Word;
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Allowed,
    Refused,
    /// It did not answer, not in time, or nothing that makes sense.
    Silent,
}
