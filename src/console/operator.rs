//! Who looks at the console, as far as the log is to say. Does not know how they were let in.

use std::sync::Arc;

/// A person by the name that they gave at the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Arc<str>);

// === impl Operator ===

impl Operator {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whoever reaches a listener that asks nobody for a name.
impl Default for Operator {
    fn default() -> Self {
        Self::new("local")
    }
}
