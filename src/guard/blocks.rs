//! Which areas are blocked, for who looks after the server, and the way out.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::area::Area;
use crate::guard::block::Block;
use crate::guard::service::Guard;
use crate::id::TenantName;
use crate::page_token;
use crate::store::keys::Fingerprint;

/// A page of blocks and, if there are more, the token of the next.
#[derive(Debug)]
pub struct BlockPage {
    pub blocks: Vec<Block>,
    pub next: Option<BlockToken>,
}

/// Leads from a page to the next one of the same list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlockToken {
    #[n(0)]
    list: Fingerprint,
    #[n(1)]
    tenant: TenantName,
    #[n(2)]
    area: Area,
}

// === impl Guard ===

impl Guard {
    /// A page of what is blocked, by tenant and area; of one tenant, or of all.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub fn blocks(&self, tenant: Option<&TenantName>, size: usize, token: Option<&BlockToken>) -> Result<BlockPage> {
        let list = self.keys.fingerprint(&["blocks", tenant.map_or("", TenantName::as_str)]);
        if token.is_some_and(|token| token.list != list) {
            let wanted = "must come from a call with the same filters; leave it out for the first page";
            return Err(Error::invalid("page_token", wanted));
        }
        let mut blocks = self.conversions.collect(|_, conversion| conversion.block().cloned());
        blocks.retain(|block| tenant.is_none_or(|tenant| block.tenant == *tenant));
        blocks.retain(|block| token.is_none_or(|last| place(block) > (&last.tenant, &last.area)));
        blocks.sort_by(|one, other| place(one).cmp(&place(other)));
        let more = blocks.len() > size;
        blocks.truncate(size);
        let last = blocks.last().filter(|_| more);
        let next = last.map(|last| BlockToken { list, tenant: last.tenant.clone(), area: last.area.clone() });
        Ok(BlockPage { blocks, next })
    }

    /// Opens an area of a tenant and what is blocked within it, and says since when. Counting begins anew there.
    ///
    /// Errors: `NotFound`/`BlockNotFound`.
    pub fn unblock(&self, tenant: &TenantName, area: &Area) -> Result<Timestamp> {
        let now = self.clock.now();
        let within = self.conversions.collect(|name, conversion| {
            let block = conversion.block().filter(|block| block.tenant == *tenant && block.is_within(area))?;
            Some((name, block.since))
        });
        for (name, _) in &within {
            self.conversions.with(*name, now, |conversion, news| {
                let before = conversion.stage();
                conversion.open(now);
                news.note(|changes| conversion.note(before, changes, now));
            });
        }
        within.into_iter().map(|(_, since)| since).min().ok_or_else(|| {
            let message = "this area is not blocked for this tenant; ListBlocks tells those that are";
            Error::new(Kind::NotFound, Reason::BlockNotFound, message)
        })
    }
}

fn place(block: &Block) -> (&TenantName, &Area) {
    (&block.tenant, &block.area)
}

// === impl BlockToken ===

impl fmt::Display for BlockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        page_token::write(self, f)
    }
}

impl FromStr for BlockToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        page_token::read(text)
    }
}
