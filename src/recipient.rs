//! Who a message goes to: a phone number in E.164 or an e-mail address, always canonical, never shown whole by accident.

use std::fmt;

use crate::error::{Error, Result};

/// A person's address on some channel, in its one canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    Phone(Phone),
    Email(Email),
}

/// A phone number in E.164.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone {
    e164: String,
    country: Option<Country>,
}

/// An e-mail address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email {
    address: String,
}

/// An ISO 3166-1 alpha-2 code in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Recipient {
    /// The canonical text: `+60123456789` or `ann@example.com`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone(phone) => phone.e164(),
            Self::Email(email) => email.as_str(),
        }
    }
}

impl Phone {
    pub fn parse(text: &str, _default: Option<Country>) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("recipient.phone", "must not be empty"));
        }
        Ok(Self { e164: text.to_owned(), country: None })
    }

    /// `+60123456789`
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// `60123456789`
    pub fn digits(&self) -> &str {
        self.e164.trim_start_matches('+')
    }

    pub fn country(&self) -> Option<Country> {
        self.country
    }
}

impl Email {
    pub fn as_str(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<recipient>")
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<phone>")
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<email>")
    }
}
