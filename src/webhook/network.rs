//! Which addresses and ports the URLs of callers may lead to: those of the public internet, and what the configuration
//! allows beside them. Pure.
//!
//! Judged is where a connection ends, so an IPv6 address that only carries an IPv4 one is judged by that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::network::Network;

/// Where we may be sent.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Networks that may be reached although they are not public.
    pub allow: Vec<Network>,
    pub ports: Vec<Ports>,
}

/// Ports in a row, written `443` or `1024-65535`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

/// The IPv4 addresses that an IPv6 address carries: where what is sent to it goes in the end.
enum Carried {
    Nothing,
    InPlace(Ipv4Addr),
    Both(Ipv4Addr, Ipv4Addr),
    /// It goes through the IPv6 address to that.
    Beside(Ipv4Addr),
}

/// What is not public of IPv4, from the IANA special-purpose registry (RFC 6890 and its successors).
const SPECIAL_V4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // shared by carriers (CGNAT)
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, the metadata of clouds among it
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 88, 99, 0], 24),  // 6to4 relays
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarking
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, broadcast among it
];

/// What is public of IPv6, and what of it is not. Unique-local, link-local, site-local and multicast addresses lie outside.
const PUBLIC_V6: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const SPECIAL_V6: [([u16; 8], u8); 3] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments; Teredo is judged before
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

// === impl Reach ===

impl Reach {
    /// Whether a connection may be made to this address.
    pub fn may_reach(&self, address: IpAddr) -> bool {
        if self.allow.iter().any(|network| network.contains(address)) {
            return true;
        }
        match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => match carried(address) {
                Carried::Nothing => is_public_v6(address),
                Carried::InPlace(inner) => self.may_reach(inner.into()),
                Carried::Both(inner, other) => self.may_reach(inner.into()) && self.may_reach(other.into()),
                Carried::Beside(inner) => is_public_v6(address) && self.may_reach(inner.into()),
            },
        }
    }

    pub fn may_use_port(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| (ports.first..=ports.last).contains(&port))
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = |(first, bits): &([u8; 4], u8)| Network::new(Ipv4Addr::from(*first).into(), *bits);
    !SPECIAL_V4.iter().any(|network| special(network).contains(address.into()))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let network = |(first, bits): &([u16; 8], u8)| Network::new(Ipv6Addr::from(*first).into(), *bits);
    let within = |it| network(it).contains(address.into());
    within(&PUBLIC_V6) && !SPECIAL_V6.iter().any(within)
}

fn carried(address: Ipv6Addr) -> Carried {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // The unspecified address and the one of this host are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Carried::Nothing,
        // IPv4-compatible (RFC 4291 §2.5.5.1), IPv4-mapped (§2.5.5.2), and IPv4-translated (RFC 2765 §2.1).
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Carried::InPlace(v4(high, low))
        }
        // NAT64 by its well-known prefix (RFC 6052 §2.1). That for local use, 64:ff9b:1::/48, is not public at all: how
        // long its prefixes are, and so where they carry an address, is known to its network only (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Carried::InPlace(v4(high, low)),
        // Teredo: its server, and the client with every bit turned (RFC 4380 §4).
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            Carried::Both(v4(!high, !low), v4(server_high, server_low))
        }
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => Carried::InPlace(v4(high, low)),
        // ISATAP, in any network (RFC 5214 §6.1).
        [.., 0 | 0x200, 0x5efe, high, low] => Carried::Beside(v4(high, low)),
        _ => Carried::Nothing,
    }
}

// === impl Ports ===

impl FromStr for Ports {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => Err("must be ports such as \"443\" or \"1024-65535\""),
        }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allow: &[&str]) -> Reach {
        Reach { allow: allow.iter().map(|network| network.parse().unwrap()).collect(), ports: Vec::new() }
    }

    fn reaches(reach: &Reach, address: &str) -> bool {
        reach.may_reach(address.parse().unwrap())
    }

    #[test]
    fn addresses_that_are_not_public_are_not_reached_in_any_spelling() {
        let nothing = reach(&[]);
        for network in [
            "0.0.0.0 0.255.255.255",
            "10.0.0.0 10.255.255.255",
            "100.64.0.0 100.127.255.255",
            "127.0.0.0 127.255.255.255",
            "169.254.0.0 169.254.255.255",
            "172.16.0.0 172.31.255.255",
            "192.0.0.0 192.0.0.255",
            "192.0.2.0 192.0.2.255",
            "192.88.99.0 192.88.99.255",
            "192.168.0.0 192.168.255.255",
            "198.18.0.0 198.19.255.255",
            "198.51.100.0 198.51.100.255",
            "203.0.113.0 203.0.113.255",
            "224.0.0.0 239.255.255.255",
            "240.0.0.0 255.255.255.255",
        ] {
            for address in network.split(' ') {
                for spelling in spellings(address.parse().unwrap()) {
                    assert!(!nothing.may_reach(spelling), "{spelling} for {address}");
                }
            }
        }
        // Their neighbours are public, and so are whatever carries them and is not special itself.
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "8.8.8.8",
        ] {
            for spelling in spellings(address.parse().unwrap()) {
                assert!(nothing.may_reach(spelling), "{spelling} for {address}");
            }
        }
    }

    /// An address and all that leads to it.
    fn spellings(address: Ipv4Addr) -> Vec<IpAddr> {
        let [a, b, c, d] = address.octets();
        let v6 = [
            format!("::{address}"),
            format!("::ffff:{address}"),
            format!("::ffff:0:{address}"),
            format!("64:ff9b::{address}"),
            format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"),
            format!("2001:0:808:808::{:02x}{:02x}:{:02x}{:02x}", !a, !b, !c, !d),
            format!("2001:0:{a:02x}{b:02x}:{c:02x}{d:02x}::{:02x}{:02x}:{:02x}{:02x}", !8_u8, !8_u8, !8_u8, !8_u8),
            format!("2a00:1450::5efe:{address}"),
            format!("2a00:1450::200:5efe:{address}"),
        ];
        // ::0.0.0.1 is the loopback of IPv6 itself.
        let v6 = v6.iter().map(|text| text.parse().unwrap());
        std::iter::once(address.into()).chain(v6).collect()
    }

    #[test]
    fn of_ipv6_only_what_is_public_is_reached() {
        let nothing = reach(&[]);
        for address in [
            "::",
            "::1",
            "::2",
            "::7f00:1",
            "::ffff:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1::808:808",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            "64:ff9b:0:1::808:808",
            "100::1",
            "100:0:0:1::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "3fff:fff:ffff::1",
            "5f00::1",
            "fc00::1",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
            "fe80::5efe:8.8.8.8",
            "fd00::200:5efe:808:808",
            "2a00:1450::5efe:10.0.0.1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "1fff::1",
        ] {
            assert!(!reaches(&nothing, address), "{address}");
        }
        for address in
            ["2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2a00:1450:4001:81b::200e", "3ffe::1"]
        {
            assert!(reaches(&nothing, address), "{address}");
        }
    }

    #[test]
    fn what_is_allowed_is_reached_in_every_spelling_and_nothing_else() {
        let local = reach(&["127.0.0.0/8", "10.1.0.0/16", "fd00:1::/32", "192.168.0.7"]);
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "10.1.255.255", "fd00:1::9", "192.168.0.7"]
        {
            assert!(reaches(&local, address), "{address}");
        }
        for address in ["::1", "10.2.0.0", "fd00:2::9", "192.168.0.8", "169.254.169.254", "2001:0:808:808::80ff:fffe"] {
            assert!(reaches(&local, address) == (address == "2001:0:808:808::80ff:fffe"), "{address}");
        }
        assert!(reaches(&reach(&["::/0"]), "::1") && !reaches(&reach(&["::/0"]), "127.0.0.1"));
        assert!(reaches(&reach(&["0.0.0.0/0"]), "10.0.0.1"));
    }

    #[test]
    fn ports_are_read_as_people_write_them() {
        let reach =
            |ports: &[&str]| Reach { allow: vec![], ports: ports.iter().map(|it| it.parse().unwrap()).collect() };
        let usual = reach(&["80", "443", "1024-65535"]);
        let used: Vec<_> =
            [1, 22, 25, 79, 80, 81, 443, 1023, 1024, 8080, 65535].map(|port| usual.may_use_port(port)).into();
        assert_eq!(used, [false, false, false, false, true, false, true, false, true, true, true]);
        for bad in ["", "0", "65536", "9-8", "a", "1-", "-1", "0-9"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }
}
