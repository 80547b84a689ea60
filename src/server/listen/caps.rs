//! How many connections a listener has open, in all and with one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::network::subscriber;

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct Caps {
    most: u32,
    most_per_address: u32,
    open: Mutex<Open>,
}

/// A place that an open connection takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    caps: Arc<Caps>,
    address: Option<IpAddr>,
}

/// Why a connection has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    All,
    Address,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

// === impl Caps ===

impl Caps {
    pub(crate) fn new(most: u32, most_per_address: u32) -> Self {
        Self { most, most_per_address, open: Mutex::default() }
    }

    /// `address`: where the connection comes from; `None` for those that are not counted by address.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Full> {
        let address = address.map(|address| subscriber(address, 64));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let count = open.by_address.entry(address).or_default();
            if *count >= self.most_per_address {
                return Err(Full::Address);
            }
            *count += 1;
        }
        open.all += 1;
        Ok(Place { caps: Arc::clone(self), address })
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

// === impl Full ===

impl Full {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Address => "address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(caps: &Arc<Caps>, address: &str) -> Result<Place, Full> {
        caps.admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let caps = Arc::new(Caps::new(5, 2));
        let held = [admit(&caps, "192.0.2.1").unwrap(), admit(&caps, "::ffff:192.0.2.1").unwrap()];
        assert_eq!(admit(&caps, "192.0.2.1").unwrap_err(), Full::Address);
        let _other = admit(&caps, "192.0.2.2").unwrap();
        // A refused one takes no place.
        let _all = [caps.admit(None).unwrap(), caps.admit(None).unwrap()];
        assert_eq!(caps.admit(None).unwrap_err(), Full::All);
        assert_eq!(admit(&caps, "192.0.2.3").unwrap_err(), Full::All);
        drop(held);
        let _again = [admit(&caps, "192.0.2.1").unwrap(), admit(&caps, "192.0.2.1").unwrap()];
        assert_eq!(caps.open.lock().unwrap().all, 5);
    }

    #[test]
    fn addresses_of_one_subscriber_count_together() {
        let caps = Arc::new(Caps::new(9, 1));
        let _one = admit(&caps, "2001:db8:1:1::1").unwrap();
        assert_eq!(admit(&caps, "2001:db8:1:1:ffff::").unwrap_err(), Full::Address);
        assert!(admit(&caps, "2001:db8:1:2::1").is_ok());
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let caps = Arc::new(Caps::new(9, 9));
        drop([admit(&caps, "192.0.2.1"), admit(&caps, "192.0.2.1"), admit(&caps, "::1")]);
        let open = caps.open.lock().unwrap();
        assert!(open.all == 0 && open.by_address.is_empty());
    }
}
