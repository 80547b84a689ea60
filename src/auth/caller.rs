//! An authenticated caller: the tenant and the key of a call, and whether these may do what it wants.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::auth::act::Act;
use crate::auth::key::Key;
use crate::auth::scope::Scope;
use crate::error::{Error, Kind, Reason, Result};
use crate::tenant::Tenant;

/// Who calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    pub tenant: Arc<Tenant>,
    pub(crate) key: Arc<Key>,
}

/// Who calls: the other end of the connection, or whom a proxy speaks for that we believe. An extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The id of an API key that a call without credentials is made with, for its listener knows by other means who connects.
/// An extension of each request there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched(pub Arc<str>);

// === impl Caller ===

impl Caller {
    pub fn key_id(&self) -> &str {
        &self.key.id
    }

    /// Lets a caller pass whose key opens from there. A connection without an address, such as one to a Unix socket, comes
    /// from this machine.
    ///
    /// Errors: `Forbidden` as `NOT_PERMITTED`.
    pub fn admit(self, peer: Option<Peer>) -> Result<Self> {
        let address = peer.map_or(Ipv4Addr::LOCALHOST.into(), |Peer(address)| address.to_canonical());
        if self.key.opens_from(address) {
            return Ok(self);
        }
        Err(forbidden(format!("this API key does not open from {address}; add the network to its `from`")))
    }

    /// Whether the key has a scope for it and, where the tenant must be allowed it too, whether it is.
    ///
    /// Errors: `Forbidden` as `NOT_PERMITTED` that names the scope.
    pub fn may(&self, act: Act) -> Result<()> {
        if act == Act::Administer && !self.tenant.may_administer {
            return Err(forbidden("this is not allowed for this tenant; set admin = true in its configuration"));
        }
        if self.key.scopes.meet(act.scopes()) {
            return Ok(());
        }
        let wanted: Vec<_> = act.scopes().iter().map(Scope::as_str).collect();
        let wanted = wanted.join(" or ");
        Err(forbidden(format!("this API key lacks the scope {wanted}; call with a key that has it")))
    }
}

fn forbidden(message: impl Into<String>) -> Error {
    Error::new(Kind::Forbidden, Reason::NotPermitted, message)
}
