//! Whose call it is when a proxy hands it on: the rule by which headers count, and nothing else. Pure.
//!
//! A header is anybody's word, so it is read from its right end, where the proxy that connected to us wrote, and only as
//! far as proxies vouch for each other. What stands further left was sent by the caller, and can neither move the
//! answer nor spoil it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, header};

use crate::config::transport::ProxyHeader;
use crate::network::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is believed, and in which header.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    networks: Vec<Network>,
    header: ProxyHeader,
}

// === impl Proxies ===

impl Proxies {
    pub(crate) fn new(networks: Vec<Network>, header: ProxyHeader) -> Self {
        Self { networks, header }
    }

    /// Whether the word of whoever is at this address counts.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The rightmost hop that is no proxy, for a request that came from the proxy at `peer`; the leftmost when all of
    /// them are; and `peer` when there is none, or one that is met on the way there cannot be read.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let name = match self.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => header::FORWARDED,
        };
        // Several lines are one list (RFC 9110 §5.2). What is no text spoils its own hop, and not those beside it.
        let lines = headers.get_all(name).iter().rev().map(|line| line.as_bytes());
        let hops = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
        let hops = hops.map(|hop| trim(std::str::from_utf8(hop).unwrap_or("?")));
        let mut farthest = peer;
        for hop in hops.filter(|hop| !hop.is_empty()) {
            let node = match self.header {
                ProxyHeader::XForwardedFor => parse_node(hop),
                ProxyHeader::Forwarded => parse_for(hop).and_then(parse_node),
            };
            match node {
                None => return peer.to_canonical(),
                Some(address) if !self.trusts(address) => return address,
                Some(address) => farthest = address,
            }
        }
        farthest.to_canonical()
    }
}

/// Blanks as HTTP has them (RFC 9110 §5.6.3).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The value of `for` in one element of `Forwarded`, without its quotes. Commas within quotes, which no address has, end
/// an element here: so nobody who leaves a quote open swallows what a proxy wrote after it.
fn parse_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';').map(trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => value,
        };
        if value.contains(['"', '\\']) || value.is_empty() {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
/// `None` for `unknown`, for names that hide an address, such as `_x`, and for all else.
fn parse_node(node: &str) -> Option<IpAddr> {
    if let Some(rest) = node.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port = if port.is_empty() { Some("") } else { port.strip_prefix(':').filter(|port| is_port(port)) };
        let address: Ipv6Addr = address.parse().ok()?;
        return port.map(|_| IpAddr::from(address).to_canonical());
    }
    if let Some((address, port)) = node.split_once(':').filter(|(_, port)| !port.contains(':')) {
        let address: Ipv4Addr = address.parse().ok()?;
        return is_port(port).then_some(address.into());
    }
    node.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// A number, or a name that hides it (RFC 7239 §6.2).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn proxies(header: ProxyHeader) -> Proxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].iter().map(|network| network.parse().unwrap()).collect();
        Proxies::new(networks, header)
    }

    fn headers(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn told(header: ProxyHeader, lines: &[&str]) -> String {
        let name = if header == ProxyHeader::Forwarded { header::FORWARDED } else { X_FORWARDED_FOR };
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        proxies(header).client(PEER.parse().unwrap(), &headers(&name, &lines)).to_string()
    }

    #[test]
    fn only_those_in_the_networks_are_believed() {
        let proxies = proxies(ProxyHeader::XForwardedFor);
        for proxy in ["10.0.0.1", "10.255.255.255", "::ffff:10.0.0.1", "fd00::1"] {
            assert!(proxies.trusts(proxy.parse().unwrap()), "{proxy}");
        }
        for other in ["11.0.0.1", "::ffff:11.0.0.1", "127.0.0.1", "::1", "fe80::1", "::10.0.0.1"] {
            assert!(!proxies.trusts(other.parse().unwrap()), "{other}");
        }
        assert!(!Proxies::new(vec![], ProxyHeader::XForwardedFor).trusts("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_rightmost_hop_that_is_no_proxy_is_who_calls() {
        for (lines, client) in [
            (&["192.0.2.1"] as &[&str], "192.0.2.1"),
            (&["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
            (&["1.1.1.1, 192.0.2.1, 10.0.0.9"], "192.0.2.1"),
            (&["1.1.1.1,192.0.2.1 ,\t10.0.0.9, 10.0.0.8"], "192.0.2.1"),
            // One list, over several lines.
            (&["1.1.1.1", "192.0.2.1"], "192.0.2.1"),
            (&["1.1.1.1, 192.0.2.1", "10.0.0.9"], "192.0.2.1"),
            (&["192.0.2.1", "10.0.0.9, 10.0.0.8", "10.0.0.7"], "192.0.2.1"),
            // Everybody on the way is a proxy: the one that is farthest away began.
            (&["10.0.0.9"], "10.0.0.9"),
            (&["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            // Nobody is named.
            (&[], PEER),
            (&[""], PEER),
            (&[" , ,"], PEER),
            (&[", 192.0.2.1,"], "192.0.2.1"),
            // How an address is written.
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["2001:DB8:0::0:1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]:_port"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["[::ffff:192.0.2.1]:1"], "192.0.2.1"),
            (&["192.0.2.1, ::ffff:10.0.0.9"], "192.0.2.1"),
            (&["192.0.2.1, fd00::9"], "192.0.2.1"),
        ] {
            assert_eq!(told(ProxyHeader::XForwardedFor, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn a_hop_that_cannot_be_read_counts_only_where_proxies_wrote() {
        for bad in [
            "unknown",
            "_hidden",
            "_x",
            "localhost",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.1.1",
            "0192.0.2.1",
            "0xC0000201",
            "192.0.2.1:",
            "192.0.2.1:123456",
            "192.0.2.1:-1",
            "192.0.2.1:8o",
            "192.0.2.1/32",
            "192.0.2.1 192.0.2.2",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]4711",
            "[2001:db8::1]:",
            "[2001:db8::1]:_",
            "[2001:db8::1%eth0]",
            "fe80::1%eth0",
            ":::",
            "for=192.0.2.1",
            "\"192.0.2.1\"",
            "１９２.0.2.1",
        ] {
            assert_eq!(told(ProxyHeader::XForwardedFor, &[bad]), PEER, "{bad}");
            assert_eq!(told(ProxyHeader::XForwardedFor, &[&format!("1.1.1.1, {bad}, 10.0.0.9")]), PEER, "{bad}");
            // Whatever a caller writes, the proxy's own word stands.
            for lines in [&[&*format!("{bad}, 192.0.2.7")] as &[&str], &[bad, "192.0.2.7"]] {
                assert_eq!(told(ProxyHeader::XForwardedFor, lines), "192.0.2.7", "{lines:?}");
            }
        }
        let no_text = headers(&X_FORWARDED_FOR, &[b"192.0.2.1", b"\xff"]);
        assert_eq!(proxies(ProxyHeader::XForwardedFor).client(PEER.parse().unwrap(), &no_text).to_string(), PEER);
        let beside = headers(&X_FORWARDED_FOR, &[b"\xff\xfe, 192.0.2.7"]);
        let client = proxies(ProxyHeader::XForwardedFor).client(PEER.parse().unwrap(), &beside);
        assert_eq!(client.to_string(), "192.0.2.7");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, client) in [
            (&["for=192.0.2.1"] as &[&str], "192.0.2.1"),
            (&["For=192.0.2.1;proto=https;by=10.0.0.1"], "192.0.2.1"),
            (&["proto=https; FOR=\"192.0.2.1:4711\""], "192.0.2.1"),
            (&["for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=\"[2001:db8:cafe::17]\""], "2001:db8:cafe::17"),
            (&["for=\"[::ffff:192.0.2.1]\""], "192.0.2.1"),
            (&["for=1.1.1.1, for=192.0.2.1, for=10.0.0.9"], "192.0.2.1"),
            (&["for=1.1.1.1", "for=192.0.2.1", "for=\"[fd00::9]\""], "192.0.2.1"),
            (&["for=10.0.0.9;host=example.com"], "10.0.0.9"),
            // A caller leaves a quote open, or names itself twice: the proxy's own element stands.
            (&["for=\"1.1.1.1, for=192.0.2.1"], "192.0.2.1"),
            (&["for=\"1.1.1.1", "for=192.0.2.1"], "192.0.2.1"),
            (&["for=\"1.1.1.1\\\", for=192.0.2.1"], "192.0.2.1"),
            (&["for=1.1.1.1;for=2.2.2.2, for=192.0.2.1"], "192.0.2.1"),
            // No address where a proxy wrote.
            (&["for=unknown"], PEER),
            (&["for=_hidden"], PEER),
            (&["for=\"_gazonk\""], PEER),
            (&["for=1.1.1.1, for=_SEVKISEK"], PEER),
            (&["for="], PEER),
            (&["for=\"\""], PEER),
            (&["for=\"192.0.2.1"], PEER),
            (&["for=192.0.2.1\""], PEER),
            (&["for=192.0.2.1;for=192.0.2.2"], PEER),
            (&["by=10.0.0.1;proto=http"], PEER),
            (&["192.0.2.1"], PEER),
            (&["for 192.0.2.1"], PEER),
            (&["for = 192.0.2.1"], PEER),
            (&[], PEER),
        ] {
            assert_eq!(told(ProxyHeader::Forwarded, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn the_other_header_is_never_read() {
        let peer = PEER.parse().unwrap();
        let both: HeaderMap = [
            (header::FORWARDED, HeaderValue::from_static("for=192.0.2.1")),
            (X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.2")),
            (HeaderName::from_static("x-real-ip"), HeaderValue::from_static("192.0.2.3")),
        ]
        .into_iter()
        .collect();
        assert_eq!(proxies(ProxyHeader::Forwarded).client(peer, &both).to_string(), "192.0.2.1");
        assert_eq!(proxies(ProxyHeader::XForwardedFor).client(peer, &both).to_string(), "192.0.2.2");
        let foreign = headers(&HeaderName::from_static("x-real-ip"), &[b"192.0.2.3"]);
        for header in [ProxyHeader::Forwarded, ProxyHeader::XForwardedFor] {
            assert_eq!(proxies(header).client(peer, &foreign), peer);
        }
    }
}
