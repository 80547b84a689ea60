//! The log of deliveries: what became of each event at each endpoint of a tenant.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::error::{Error, Result};
use crate::feed::delivery::{Delivery, State};
use crate::feed::entry::{Entry, EventId};
use crate::feed::feeds::Feeds;
use crate::id::{Id, TenantName};
use crate::messaging::page::{DEFAULT_SIZE, MAX_SIZE};
use crate::page_token;
use crate::store::keys::Fingerprint;
use crate::store::record;

/// Deliveries looked at for one page. A page may be shorter than asked for, even empty, with more to come.
const MAX_LOOKED_AT: usize = 2_000;
/// Deliveries read at a time.
const SLICE: usize = 256;

/// Which deliveries to list; what is not given does not matter.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub endpoint: Option<Id>,
    pub event: Option<EventId>,
    /// Any of these; empty for all.
    pub states: Vec<State>,
}

/// Which page.
#[derive(Debug, Clone, Default)]
pub struct DeliveryPageRequest {
    /// [`DEFAULT_SIZE`] when not given; more than [`MAX_SIZE`] counts as that.
    pub size: Option<usize>,
    pub token: Option<DeliveryToken>,
}

/// Leads from a page to the next one of the same list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DeliveryToken {
    #[n(0)]
    number: u64,
    #[n(1)]
    endpoint: Id,
    #[cbor(n(2), with = "minicbor::bytes")]
    list: [u8; 16],
}

/// A delivery, and the event that it is of.
#[derive(Debug, Clone)]
pub struct Logged {
    pub endpoint: Id,
    pub delivery: Delivery,
    /// `None` once its time is over.
    pub entry: Option<Entry>,
}

// === impl Feeds ===

impl Feeds {
    /// A page of what became of a tenant's events, the newest event first, and the token of the next page.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub async fn deliveries(
        &self,
        tenant: &TenantName,
        filter: &DeliveryFilter,
        page: &DeliveryPageRequest,
    ) -> Result<(Vec<Logged>, Option<DeliveryToken>)> {
        let ground = &self.shelf.ground;
        let asked = format!("{:?}", (filter.endpoint, filter.event, &filter.states));
        let list = ground.keys.fingerprint(&["deliveries", tenant.as_str(), &asked]);
        let tag = ground.keys.tenant(tenant);
        let prefix = ground.keys.deliveries(tag).descending();
        let mut last = page.token.map(|token| token.last_of(list)).transpose()?;
        let size = page.size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
        let (mut found, mut looked_at) = (Vec::new(), 0);
        loop {
            let after = last.map(|(number, endpoint)| ground.keys.delivery(tag, number, endpoint));
            let rows = ground.store.scan(&prefix, after.as_ref(), SLICE).await?;
            let is_last = rows.len() < SLICE;
            for (key, row) in rows {
                if found.len() == size || looked_at == MAX_LOOKED_AT {
                    return Ok((found, last.map(|last| DeliveryToken::after(last, list))));
                }
                looked_at += 1;
                let (number, endpoint) = ground.keys.parse_delivery(&key)?;
                last = Some((number, endpoint));
                if filter.endpoint.is_some_and(|wanted| wanted != endpoint) {
                    continue;
                }
                let delivery: Delivery = record::decode(&row.value)?;
                if filter.fits(&delivery) {
                    let entry = self.shelf.get(tag, number).await?;
                    found.push(Logged { endpoint, delivery, entry });
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
    }
}

// === impl DeliveryFilter ===

impl DeliveryFilter {
    fn fits(&self, delivery: &Delivery) -> bool {
        self.event.is_none_or(|wanted| wanted == delivery.event)
            && (self.states.is_empty() || self.states.contains(&delivery.state))
    }
}

// === impl DeliveryToken ===

impl DeliveryToken {
    fn after((number, endpoint): (u64, Id), list: Fingerprint) -> Self {
        Self { number, endpoint, list: *list.as_bytes() }
    }

    fn last_of(self, list: Fingerprint) -> Result<(u64, Id)> {
        if self.list != *list.as_bytes() {
            let wanted = "must come from a call with the same filters; leave it out for the first page";
            return Err(Error::invalid("page_token", wanted));
        }
        Ok((self.number, self.endpoint))
    }
}

impl fmt::Display for DeliveryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        page_token::write(self, f)
    }
}

impl FromStr for DeliveryToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        page_token::read(text)
    }
}
