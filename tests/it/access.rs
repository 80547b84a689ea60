//! Who may call, and what they may do: scopes, expiry, rotation, tenants and keys that come and go while the gateway runs,
//! and that one tenant's things are not there for another.

mod accounts;
mod dialects;
mod isolation;
mod keys;
mod kill;
mod names;
mod nodes;
mod races;
mod raw;
mod scopes;
mod secrecy;
mod watches;
mod work;
