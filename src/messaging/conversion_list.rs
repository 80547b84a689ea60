//! Looking at what is known of vendors' conversion: pages of it (AIP-158), in order of vendor, channel and country.
//!
//! There may be a row for every vendor, channel and country of the world. A page goes on after the last place of the one
//! before, so what is counted meanwhile neither repeats nor hides a row.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::error::{Error, Result};
use crate::messaging::conversion::{Place, Tally};
use crate::messaging::measuring::Measuring;
use crate::messaging::page::{DEFAULT_SIZE, MAX_SIZE};
use crate::page_token;
use crate::recipient::Country;
use crate::store::keys::Fingerprint;
use crate::vendor::Channel;

/// Which rows; what is not given does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConversionFilter {
    pub vendor: Option<String>,
    pub channel: Option<Channel>,
    pub country: Option<Country>,
}

/// Which page of them.
#[derive(Debug, Clone, Default)]
pub struct ConversionPageRequest {
    /// [`DEFAULT_SIZE`] when not given; more than [`MAX_SIZE`] counts as that.
    pub size: Option<usize>,
    pub token: Option<ConversionToken>,
}

/// A page and, if there is more, the token of the next.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversionPage {
    pub rows: Vec<(Place, Tally)>,
    pub next: Option<ConversionToken>,
}

/// Leads from a page to the next one of the same list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConversionToken {
    #[n(0)]
    list: Fingerprint,
    #[n(1)]
    vendor: String,
    #[n(2)]
    channel: Channel,
    #[n(3)]
    country: Option<Country>,
}

// === impl ConversionFilter ===

impl ConversionFilter {
    fn fits(&self, (vendor, channel, country): &Place) -> bool {
        self.vendor.as_ref().is_none_or(|wanted| wanted == vendor)
            && self.channel.is_none_or(|wanted| wanted == *channel)
            && self.country.is_none_or(|wanted| Some(wanted) == *country)
    }
}

// === impl Measuring ===

impl Measuring {
    /// A page of what is known, as it weighs now.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub fn list(&self, filter: &ConversionFilter, page: &ConversionPageRequest) -> Result<ConversionPage> {
        let list = self.ground.keys.fingerprint(&["conversions", &format!("{filter:?}")]);
        if page.token.as_ref().is_some_and(|token| token.list != list) {
            let wanted = "must come from a call with the same filters; leave it out for the first page";
            return Err(Error::invalid("page_token", wanted));
        }
        let last = page.token.clone().map(|token| (token.vendor, token.channel, token.country));
        let size = page.size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
        let (conversion, now) = (self.known(), self.ground.clock.now());
        let mut rest = conversion.after(last.as_ref(), now).filter(|(place, _)| filter.fits(place));
        let rows: Vec<_> = rest.by_ref().take(size).map(|(place, tally)| (place.clone(), tally)).collect();
        let last = rows.last().filter(|_| rest.next().is_some());
        let next = last.map(|((vendor, channel, country), _)| ConversionToken {
            list,
            vendor: vendor.clone(),
            channel: *channel,
            country: *country,
        });
        Ok(ConversionPage { rows, next })
    }
}

// === impl ConversionToken ===

impl fmt::Display for ConversionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        page_token::write(self, f)
    }
}

impl FromStr for ConversionToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        page_token::read(text)
    }
}
