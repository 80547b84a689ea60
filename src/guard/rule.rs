//! The rules by which a send is refused before it costs anything, in the order in which they are asked.

use std::fmt;

use serde::Deserialize;

use crate::error::{Kind, Reason};

/// One rule. The order is that in which they are asked: what is known without counting first, what costs a call last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The country may not be sent to.
    Country,
    /// The number is of a kind that is not sent to, such as premium rate.
    NumberType,
    /// Codes to the number's country, prefix or block do not come back.
    Conversion,
    /// Numbers beside this one were sent to.
    Sequence,
    /// Sends to one recipient, by all tenants together.
    Recipient,
    /// Sends to ten thousand numbers that begin alike.
    NumberBlock,
    /// Sends to a million numbers that begin alike.
    Prefix,
    /// Sends to one country.
    CountrySends,
    /// Sends that one client asked for, by its address.
    ClientAddress,
    /// Sends that clients of one network asked for.
    ClientNetwork,
    /// Sends that one device asked for.
    Device,
    /// Sends of one tenant.
    Tenant,
    /// Wrong codes of one tenant.
    TenantFailures,
    /// Somebody else was asked and refused.
    Authorization,
    /// The money for the day is spent.
    Budget,
}

/// What is done when a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is not asked.
    Off,
    /// It is counted and logged, and the send goes through.
    Monitor,
    Enforce,
}

// === impl Rule ===

impl Rule {
    pub const ALL: [Self; 15] = [
        Self::Country,
        Self::NumberType,
        Self::Conversion,
        Self::Sequence,
        Self::Recipient,
        Self::NumberBlock,
        Self::Prefix,
        Self::CountrySends,
        Self::ClientAddress,
        Self::ClientNetwork,
        Self::Device,
        Self::Tenant,
        Self::TenantFailures,
        Self::Authorization,
        Self::Budget,
    ];

    /// As configuration, metrics and answers name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::NumberType => "number_type",
            Self::Conversion => "conversion",
            Self::Sequence => "sequence",
            Self::Recipient => "recipient",
            Self::NumberBlock => "number_block",
            Self::Prefix => "prefix",
            Self::CountrySends => "country_sends",
            Self::ClientAddress => "client_address",
            Self::ClientNetwork => "client_network",
            Self::Device => "device",
            Self::Tenant => "tenant",
            Self::TenantFailures => "tenant_failures",
            Self::Authorization => "authorization",
            Self::Budget => "budget",
        }
    }

    /// What a refusal by it is.
    pub fn kind(self) -> Kind {
        match self {
            Self::Country | Self::NumberType | Self::Authorization => Kind::Forbidden,
            _ => Kind::Limited,
        }
    }

    pub fn reason(self) -> Reason {
        match self {
            Self::Country => Reason::CountryDenied,
            Self::NumberType => Reason::NumberTypeDenied,
            Self::Conversion => Reason::ConversionTooLow,
            Self::Sequence => Reason::NumbersInSequence,
            Self::Recipient => Reason::RecipientLimit,
            Self::NumberBlock => Reason::NumberBlockLimit,
            Self::Prefix => Reason::PrefixLimit,
            Self::CountrySends => Reason::CountryLimit,
            Self::ClientAddress => Reason::ClientAddressLimit,
            Self::ClientNetwork => Reason::ClientNetworkLimit,
            Self::Device => Reason::DeviceLimit,
            Self::Tenant => Reason::TenantLimit,
            Self::TenantFailures => Reason::TenantFailures,
            Self::Authorization => Reason::NotAuthorized,
            Self::Budget => Reason::BudgetSpent,
        }
    }

    /// Whether a refusal may be answered as if the send had been made: not where the tenant itself has to know.
    pub fn may_be_hidden(self) -> bool {
        !matches!(self, Self::Tenant | Self::TenantFailures | Self::Budget)
    }

    /// In words for the caller. Says nothing of what others did, and no number.
    pub fn message(self) -> &'static str {
        match self {
            Self::Country => "nothing is sent to this country; guard.countries says so",
            Self::NumberType => "nothing is sent to numbers of this type; guard.number_types says so",
            Self::Conversion => {
                "too few of the codes that went where this number lies came back; nothing is sent there for now"
            }
            Self::Sequence => {
                "numbers right beside this one were sent to a moment ago; nothing is sent to their neighbours for now"
            }
            Self::Recipient => "this recipient was sent to too often",
            Self::NumberBlock => {
                "too many numbers that begin like this one were sent to (all but the last four digits)"
            }
            Self::Prefix => "too many numbers that begin like this one were sent to (all but the last six digits)",
            Self::CountrySends => "too much was sent to this country",
            Self::ClientAddress => "too much was asked for from this client's address",
            Self::ClientNetwork => "too much was asked for from this client's network",
            Self::Device => "too much was asked for from this device",
            Self::Tenant => "this tenant has sent as much as it may for now",
            Self::TenantFailures => {
                "too many wrong codes were tried over all of this tenant's recipients; nothing is checked for now"
            }
            Self::Authorization => "the operator's own service did not allow this send",
            Self::Budget => "the money for today is spent",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
