//! Who calls, and what they may do: API keys, each an id and a secret, the tenants that they speak for, and the scopes
//! that narrow what a key is good for.
//!
//! Tenants and keys come from the configuration and from the store. All surfaces look them up in one [`directory`],
//! which is replaced as a whole when something changes; a [`registry`] makes the changes. Knows nothing of requests: a
//! surface hands in the header or the pair that its wire format carries, and says what the call does.

pub mod account;
pub mod act;
pub mod caller;
pub mod changes;
pub mod directory;
pub mod key;
pub mod key_config;
pub mod pages;
pub mod record;
pub mod registry;
pub mod roster;
pub mod scope;
pub mod secret;
