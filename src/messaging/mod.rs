//! Messages: what they say, how long that is, and how they leave.

pub mod segment;
pub mod template;
