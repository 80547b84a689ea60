//! URLs that tenants want to be called at: what is accepted leads to no address of ours.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use verigate::webhook::client::Target;
use verigate::webhook::network::Reach;

/// As it is where nothing is configured.
static REACH: LazyLock<Reach> = LazyLock::new(|| {
    let ports = ["80", "443", "1024-65535"].map(|ports| ports.parse().unwrap());
    Reach { allow: Vec::new(), ports: ports.to_vec() }
});

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Target::parse(text, &REACH) {
        Ok(target) => {
            let receiver = target.receiver();
            let (host, port) = receiver.rsplit_once(':').unwrap();
            assert_ne!(port.parse::<u16>().unwrap(), 0);
            assert!(!receiver.contains('@') && !host.is_empty(), "{receiver}");
            if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
                assert!(!is_ours(address.to_canonical()), "{text:?} leads to {address}");
            }
        }
        // What carries secrets is none of our own words.
        Err(error) => {
            assert!(!text.contains(['?', '=', '@']) || text.len() < 4 || !error.to_string().contains(text), "repeated");
        }
    }
}

/// What std knows by name, so no copy of the rules under test.
fn is_ours(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            let embedded = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            let [.., high, low] = v6.segments();
            let nat64 = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || embedded && is_ours(nat64.into())
        }
    }
}
