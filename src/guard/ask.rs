//! What the guard is asked, and what it answers.

use std::net::IpAddr;

use crate::guard::gcra::Limit;
use crate::guard::price::Micros;
use crate::guard::rule::Rule;
use crate::guard::settings::Config;
use crate::id::TenantName;
use crate::recipient::Recipient;

/// A send that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub tenant: &'a TenantName,
    pub recipient: &'a Recipient,
    /// `sms`, `whatsapp`, `voice` or `email`.
    pub channel: &'a str,
    /// What the person's name for the purpose is, for who authorises sends; empty for messages.
    pub scope: &'a str,
    pub origin: &'a Origin,
    /// The vendors that may carry it, best first.
    pub vendors: &'a [String],
    /// What it is paid by: SMS segments; 1 elsewhere.
    pub segments: u32,
}

/// Who wants a send, as far as the caller says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The address of the person's client.
    pub client_address: Option<IpAddr>,
    /// Where the call came from.
    pub peer: Option<IpAddr>,
    pub device: Option<String>,
    /// The caller vouches for the person: nobody who earns from being sent to.
    pub trusted: bool,
}

/// A send that may be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// It is to look sent, but nothing may leave.
    pub shadow: Option<Rule>,
    /// Vendors for which no money is left today.
    pub passed_over: Vec<String>,
    /// The limit that is nearest, and how many more sends it lets pass now.
    pub nearest: Option<(Rule, u32)>,
    /// It goes to a blocked area all the same, because codes come back from where it is asked for.
    pub(crate) excused: bool,
    /// Under which name it is known what the recipient gave back; 0 where nobody asked.
    pub(crate) person: u64,
    /// Under which names the limits of the client's address and network lie; 0 for none.
    pub(crate) client: [u64; 2],
    /// Areas for which it is a probe.
    pub(crate) probed: Vec<u64>,
    pub(crate) taken: Vec<(u64, Limit)>,
    pub(crate) paid: Vec<(u64, Micros)>,
}

// === impl Ask ===

impl Ask<'_> {
    /// Whether something may come back from it.
    pub(crate) fn is_code(&self) -> bool {
        !self.scope.is_empty()
    }

    /// Where the person's client is, as far as it counts.
    pub(crate) fn client(&self, rules: &Config) -> Option<IpAddr> {
        let peer = self.origin.peer.filter(|peer| rules.client_address_of_peer && !peer.to_canonical().is_loopback());
        self.origin.client_address.or(peer)
    }
}

// === impl Admitted ===

impl Admitted {
    /// Notes how many more sends a limit lets pass.
    pub fn note(&mut self, rule: Rule, left: u32) {
        if self.nearest.is_none_or(|(_, least)| left < least) {
            self.nearest = Some((rule, left));
        }
    }
}
