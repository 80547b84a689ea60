//! Names of receivers: resolved once for each call, judged, and pinned, so that the connection goes to an address that
//! was judged and to no other, whatever the name leads to a moment later.
//!
//! The operating system resolves names, and cannot be told to stop: a lookup whose name server stalls goes on long after
//! nobody waits for it any more. Until then it keeps the room of the call that it was for, so whoever owns such names
//! waits for them and others do not.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

use crate::error::Error;
use crate::webhook::network::Reach;

/// The names that calls under way go to. Cheap to clone.
#[derive(Clone)]
pub struct Names(Arc<Register>);

struct Register {
    reach: Arc<Reach>,
    patience: Duration,
    pinned: Mutex<HashMap<String, Pinned>>,
}

struct Pinned {
    addresses: Vec<IpAddr>,
    /// How many calls need it.
    calls: usize,
}

/// Keeps a name resolved as it is, for one call.
pub struct Pin {
    names: Names,
    name: String,
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unresolved {
    /// It has no address, or none in time.
    Unknown,
    /// It has only addresses that may not be reached.
    LeadsInside,
}

// === impl Names ===

impl Names {
    /// `patience`: how long a lookup may take.
    pub fn new(reach: Arc<Reach>, patience: Duration) -> Self {
        Self(Arc::new(Register { reach, patience, pinned: Mutex::default() }))
    }

    /// Resolves a name for a call. `room` is kept until the lookup has ended, also when nobody waits for that.
    pub async fn pin(&self, name: &str, room: impl Send + 'static) -> Result<Pin, Unresolved> {
        let asked = name.to_owned();
        let lookup = async move {
            let found = tokio::net::lookup_host((asked, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        };
        let found = self.wait_for(lookup, room).await.ok_or(Unresolved::Unknown)?;
        self.admit(name, found)
    }

    /// `None` when there is no answer, or none in time.
    async fn wait_for(
        &self,
        lookup: impl Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'static,
        room: impl Send + 'static,
    ) -> Option<Vec<IpAddr>> {
        let lookup = tokio::spawn(async move {
            let found = lookup.await;
            drop(room);
            found
        });
        timeout(self.0.patience, lookup).await.ok()?.ok()?.ok()
    }

    /// Pins those of a name's addresses that may be reached.
    fn admit(&self, name: &str, mut addresses: Vec<IpAddr>) -> Result<Pin, Unresolved> {
        addresses.retain(|address| self.0.reach.may_reach(*address));
        if addresses.is_empty() {
            return Err(Unresolved::LeadsInside);
        }
        let mut pinned = self.0.lock();
        let entry = pinned.entry(name.to_owned()).or_insert(Pinned { addresses: Vec::new(), calls: 0 });
        entry.addresses = addresses;
        entry.calls += 1;
        drop(pinned);
        Ok(Pin { names: self.clone(), name: name.to_owned() })
    }
}

/// For connections: knows only names that are pinned.
impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.0.lock().get(name.as_str()).map(|pinned| pinned.addresses.clone());
        Box::pin(async move {
            let addresses = known.ok_or_else(|| Error::internal("a name was to be called that nobody judged"))?;
            // The port is that of the URL.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

// === impl Unresolved ===

impl Unresolved {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "its name has no address, or none in time",
            Self::LeadsInside => "its name leads to no public address, and to none that callbacks.allow names",
        }
    }
}

// === impl Register ===

impl Register {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pinned>> {
        // Nothing panics while it is held.
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pin ===

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.names.0.lock();
        if let Some(entry) = pinned.get_mut(&self.name) {
            entry.calls -= 1;
            if entry.calls == 0 {
                pinned.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn names(allow: &[&str]) -> Names {
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        Names::new(Arc::new(Reach { allow, ports: Vec::new() }), Duration::from_secs(60))
    }

    fn addresses(of: &[&str]) -> Vec<IpAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    async fn resolved(names: &Names, name: &str) -> Option<Vec<IpAddr>> {
        let found = names.resolve(Name::from_str(name).unwrap()).await.ok()?;
        Some(found.map(|address| address.ip()).collect())
    }

    const MIXED: [&str; 6] = ["127.0.0.1", "8.8.8.8", "::1", "169.254.169.254", "2606:4700::1111", "::ffff:10.0.0.1"];

    #[tokio::test]
    async fn connections_go_only_to_addresses_that_were_judged_for_a_call() {
        let strict = names(&[]);
        assert_eq!(resolved(&strict, "a.example").await, None, "nobody judged it");
        let pin = strict.admit("a.example", addresses(&MIXED)).unwrap();
        assert_eq!(resolved(&strict, "a.example").await.unwrap(), addresses(&["8.8.8.8", "2606:4700::1111"]));
        assert_eq!(resolved(&strict, "b.example").await, None);
        // What the name leads to later is judged again, and replaces what was.
        let later = strict.admit("a.example", addresses(&["8.8.4.4"])).unwrap();
        assert_eq!(strict.admit("a.example", addresses(&["10.0.0.1"])).err(), Some(Unresolved::LeadsInside));
        assert_eq!(strict.admit("a.example", Vec::new()).err(), Some(Unresolved::LeadsInside));
        drop(pin);
        assert_eq!(resolved(&strict, "a.example").await.unwrap(), addresses(&["8.8.4.4"]));
        drop(later);
        assert_eq!(resolved(&strict, "a.example").await, None);

        let local = names(&["127.0.0.0/8"]);
        let _pin = local.admit("a.example", addresses(&MIXED)).unwrap();
        let allowed = addresses(&["127.0.0.1", "8.8.8.8", "2606:4700::1111"]);
        assert_eq!(resolved(&local, "a.example").await.unwrap(), allowed);
    }

    #[tokio::test]
    async fn a_lookup_keeps_its_room_until_it_has_ended() {
        let (room, mut left) = mpsc::channel::<()>(1);
        assert_eq!(names(&[]).pin("localhost", room).await.err(), Some(Unresolved::LeadsInside));
        assert_eq!(left.recv().await, None, "the room is free");

        let (room, mut left) = mpsc::channel::<()>(1);
        let (end, stalled) = oneshot::channel();
        let stalled = async move { stalled.await.map_err(std::io::Error::other) };
        let hasty = Names::new(Arc::new(Reach::default()), Duration::from_millis(1));
        assert_eq!(hasty.wait_for(stalled, room).await, None, "nobody waits for it any more");
        assert_eq!(left.try_recv(), Err(mpsc::error::TryRecvError::Empty), "but the room is taken");
        end.send(Vec::new()).unwrap();
        assert_eq!(left.recv().await, None, "until it has ended");
    }
}
