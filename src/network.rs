//! Networks of IP addresses, as configuration names them. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// All addresses with the same first bits, written `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits they share.
    bits: u8,
}

/// What one subscriber has: an address of IPv4, however it is written, or the first `bits` of IPv6: 64 on one link, 48 at
/// most in one place (RFC 6177).
pub fn subscriber(address: IpAddr, bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let rest = 128 - u32::from(bits.min(128));
            let mask = u128::MAX.checked_shl(rest).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

// === impl Network ===

impl Network {
    /// `bits`: at most as many as the address has.
    pub const fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }

    /// How many bits of its address are not shared.
    fn host_bits(&self) -> u32 {
        let all = if self.address.is_ipv4() { 32 } else { 128 };
        all - u32::from(self.bits)
    }

    fn begins_at_its_address(&self) -> bool {
        let zeros = match self.address {
            IpAddr::V4(address) => u32::from(address).trailing_zeros(),
            IpAddr::V6(address) => u128::from(address).trailing_zeros(),
        };
        zeros >= self.host_bits()
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "must be a network such as \"10.1.0.0/16\" or \"fd00::/8\"";
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wanted)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wanted))?;
        let network = Self { address, bits };
        if bits > most {
            return Err(wanted);
        }
        if !network.begins_at_its_address() {
            return Err("must be a network whose address has no bits beyond those that it shares");
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_printed_as_people_write_them() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "127.0.0.1/32", "::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
        for bad in
            ["", "10.0.0.0/33", "::/129", "10.0.0.1/8", "fd00::1/8", "10.0.0.0/", "10/8", "localhost", "1.2.3.4/-1"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_neighbour() {
        let holds =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        for (network, address) in [("10.1.0.0/16", "10.1.255.255"), ("fd00::/8", "fdff::1"), ("0.0.0.0/0", "1.2.3.4")] {
            assert!(holds(network, address), "{network} {address}");
        }
        for (network, address) in [("10.1.0.0/16", "10.2.0.0"), ("fd00::/8", "fe00::1"), ("::/0", "127.0.0.1")] {
            assert!(!holds(network, address), "{network} {address}");
        }
    }
}
