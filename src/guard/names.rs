//! Under which names what is counted lies: keyed hashes, so that nobody who chooses numbers can choose where they count.

use std::net::IpAddr;
use std::ops::Deref;

use siphasher::sip::SipHasher13;

use crate::guard::rule::Rule;
use crate::network::subscriber;

/// What a name is made of is put together in so many bytes; only a device can be longer.
const USUAL_BYTES: usize = 160;

/// Makes names. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Names {
    hasher: SipHasher13,
}

/// The bytes of an address, or the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Octets {
    bytes: [u8; 16],
    length: usize,
}

// === impl Names ===

impl Names {
    /// `key` is the store's own: what was counted is found again after a restart.
    pub fn new(key: [u8; 16]) -> Self {
        // A name is never shown, and a start makes some twenty: what a hash map needs is enough.
        Self { hasher: SipHasher13::new_with_key(&key) }
    }

    /// The name of what a rule counts of something.
    pub fn of(&self, rule: Rule, parts: &[&[u8]]) -> u64 {
        let length = 1 + parts.iter().map(|part| 2 + part.len()).sum::<usize>();
        if length <= USUAL_BYTES {
            let mut bytes = [0; USUAL_BYTES];
            let mut at = 0;
            spell(rule, parts, |part| {
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            });
            self.hasher.hash(&bytes[..at])
        } else {
            let mut bytes = Vec::with_capacity(length);
            spell(rule, parts, |part| bytes.extend_from_slice(part));
            self.hasher.hash(&bytes)
        }
    }
}

fn spell(rule: Rule, parts: &[&[u8]], mut add: impl FnMut(&[u8])) {
    add(&[rule as u8]);
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        add(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
        add(part);
    }
}

/// What of an address tells a client apart: all of IPv4, and the first 64 bits of IPv6, for whoever has one has all
/// behind it.
pub fn client(address: IpAddr) -> Octets {
    Octets::of(subscriber(address, 64))
}

/// The network of a client: the first 48 bits of IPv6, which is what a household or a company is given. IPv4 has none.
pub fn network(address: IpAddr) -> Option<Octets> {
    let network = subscriber(address, 48);
    network.is_ipv6().then(|| Octets::of(network))
}

/// Where codes come back from, or not: a /48, or an IPv4 /24. A handset has a /64 of its own, and carriers' shared
/// addresses lie beside each other.
pub fn place(address: IpAddr) -> Octets {
    network(address).unwrap_or_else(|| Octets { length: 3, ..client(address) })
}

// === impl Octets ===

impl Octets {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&address.octets());
                Self { bytes, length: 4 }
            }
            IpAddr::V6(address) => Self { bytes: address.octets(), length: 16 },
        }
    }
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_differ_by_rule_parts_and_key() {
        let names = Names::new([1; 16]);
        let one = names.of(Rule::Prefix, &[b"ab", b"c"]);
        assert_eq!(one, Names::new([1; 16]).of(Rule::Prefix, &[b"ab", b"c"]));
        let others = [
            names.of(Rule::Prefix, &[b"a", b"bc"]),
            names.of(Rule::NumberBlock, &[b"ab", b"c"]),
            Names::new([2; 16]).of(Rule::Prefix, &[b"ab", b"c"]),
        ];
        assert!(others.iter().all(|other| *other != one));
        let long = [b'x'; 2 * USUAL_BYTES];
        assert_ne!(names.of(Rule::Device, &[&long]), names.of(Rule::Device, &[&long[1..]]));
    }

    #[test]
    fn clients_and_networks() {
        assert_eq!(client(address("::ffff:192.0.2.7")), client(address("192.0.2.7")));
        assert_ne!(client(address("192.0.2.7")), client(address("192.0.2.8")));
        assert_eq!(client(address("2001:db8:1:2::3")), client(address("2001:db8:1:2:ffff::")));
        assert_ne!(client(address("2001:db8:1:2::3")), client(address("2001:db8:1:3::3")));
        assert_eq!(network(address("2001:db8:1:2::3")), network(address("2001:db8:1:3::3")));
        assert_ne!(network(address("2001:db8:1::")), network(address("2001:db8:2::")));
        assert_eq!(network(address("::ffff:192.0.2.7")), None);
    }
}
