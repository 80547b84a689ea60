//! Who a message goes to: a phone number in E.164 or an e-mail address, always canonical, never shown whole by accident.
//!
//! One person's number has one form here however it was written, so that limits, locks and records find each other.
//! Numbering plans come from a library that stays behind these types; it is given nothing but a `+` and ASCII digits, so
//! its leniency towards letters, extensions and other scripts' digits is out of reach. Knows no channel and no route:
//! whether a valid number is worth a message (a premium-rate or fixed line, say) is decided above.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use rlibphonenumber::{PHONE_NUMBER_UTIL, ParseError, PhoneNumber, PhoneNumberFormat, Region, ValidationError};

use crate::error::{Error, Result};
use crate::number_type::NumberType;

/// Longest written phone number in bytes that is looked at.
const MAX_PHONE_BYTES: usize = 64;

/// Most digits of an international number, country calling code included (ITU-T E.164 §6.2).
const MAX_E164_DIGITS: usize = 15;

/// Longest e-mail address in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;

/// A recipient as a caller wrote it, not looked at yet.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    Phone(String),
    Email(String),
}

/// A person's address on some channel, in its one canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    Phone(Phone),
    Email(Email),
}

/// A phone number in E.164. Two are equal when their digits are.
#[derive(Clone)]
pub struct Phone {
    e164: Box<str>,
    country: Option<Country>,
    /// Known from when the number was found in its plan; a stored one is not looked up.
    number_type: Option<NumberType>,
}

/// An e-mail address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email {
    address: Box<str>,
}

/// A country with a numbering plan: an ISO 3166-1 alpha-2 code in upper case, or one of the codes that stand beside
/// that list for plans of their own (`XK` Kosovo, `AC` Ascension, `TA` Tristan da Cunha).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// A recipient in a record. Keeps the country, so that reading needs no numbering plan.
#[derive(minicbor::Encode, minicbor::Decode)]
struct Stored<'a> {
    #[b(0)]
    text: &'a str,
    #[n(1)]
    country: Option<Country>,
}

// === impl Address ===

impl Address {
    /// The one canonical form. `default`: the country of a number that names none.
    ///
    /// Errors: `Invalid`, field `recipient.phone` or `recipient.email`.
    pub fn parse(&self, default: Option<Country>) -> Result<Recipient> {
        match self {
            Self::Phone(text) => Phone::parse(text, default).map(Recipient::Phone),
            Self::Email(text) => Email::parse(text).map(Recipient::Email),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Phone(_)) { "Address::Phone(***)" } else { "Address::Email(***)" })
    }
}

// === impl Recipient ===

impl Recipient {
    /// The country of a phone number that has one.
    pub fn country(&self) -> Option<Country> {
        match self {
            Self::Phone(phone) => phone.country(),
            Self::Email(_) => None,
        }
    }

    /// Reads back what [`Recipient::as_str`] wrote and [`Phone::country`] told. Cheap, for it checks the form only: a
    /// number that has left its plan since it was stored can still be read.
    ///
    /// Errors: `Invalid`, field `recipient`, when the text is not in canonical form.
    pub fn parse_canonical(text: &str, country: Option<Country>) -> Result<Self> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        if digits.len() <= MAX_E164_DIGITS
            && digits.starts_with(|c| matches!(c, '1'..='9'))
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            return Ok(Self::Phone(Phone { e164: text.into(), country, number_type: None }));
        }
        if text.len() <= MAX_EMAIL_BYTES && text.contains('@') && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self::Email(Email { address: text.into() }));
        }
        Err(Error::invalid("recipient", "must be a number in E.164 or a plain e-mail address"))
    }

    /// The canonical text: `+60123456789` or `ann@example.com`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone(phone) => phone.e164(),
            Self::Email(email) => email.as_str(),
        }
    }

    /// Enough to recognise the recipient by, not enough to reach them: `+60*****6789` or `a***@example.com`.
    pub fn masked(&self) -> String {
        self.to_string()
    }
}

/// The masked form.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(phone) => fmt::Display::fmt(phone, f),
            Self::Email(email) => fmt::Display::fmt(email, f),
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<C> minicbor::Encode<C> for Recipient {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let country = match self {
            Self::Phone(phone) => phone.country,
            Self::Email(_) => None,
        };
        Stored { text: self.as_str(), country }.encode(e, context)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Recipient {
    fn decode(d: &mut minicbor::Decoder<'b>, context: &mut C) -> Result<Self, minicbor::decode::Error> {
        let Stored { text, country } = Stored::decode(d, context)?;
        Self::parse_canonical(text, country).map_err(|_| minicbor::decode::Error::message("not a recipient"))
    }
}

// === impl Phone ===

impl Phone {
    /// Reads a number as people and systems write it, and accepts it when its country's plan has such a number.
    ///
    /// After an optional `tel:` (RFC 3966), blanks, dashes (ASCII and Unicode ones), `.`, `/` and parentheses are
    /// skipped. What is left means:
    /// - `+` and digits: an international number, whatever `default` says. So must a `tel:` number be written.
    /// - digits, with a `default` country: what they reach when dialled there, be it a national number with or without
    ///   its trunk prefix or one after that country's international prefix. Or, when they begin with that country's own
    ///   calling code, the international number. Never another country's calling code without a sign of it: a mistyped
    ///   number would then reach a stranger abroad.
    /// - digits that begin with `00`: also an international number.
    /// - other digits, without a `default` country: an international number.
    ///
    /// Where digits can be read in two of these ways as two valid numbers, they are refused as ambiguous: `4915123456789`
    /// in Germany is a mobile number after the calling code, and a landline without its trunk prefix.
    ///
    /// Every type of valid number is accepted, premium rate included. Short codes and emergency numbers are not: they
    /// have no international form.
    ///
    /// Errors: `Invalid`, field `recipient.phone`, for anything else: extensions, letters, control and invisible
    /// characters, digits other than `0` to `9`, more than 64 bytes, and numbers that the plan does not have. The
    /// description never repeats the number.
    pub fn parse(text: &str, default: Option<Country>) -> Result<Self> {
        Self::read(text, default).map_err(|problem| Error::invalid("recipient.phone", problem))
    }

    /// Whether these digits, without a `+` before them, begin with a calling code that exists. Says nothing else of them.
    pub fn begins_with_calling_code(digits: &str) -> bool {
        let plain = digits.len() <= MAX_PHONE_BYTES && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain && !matches!(PHONE_NUMBER_UTIL.parse(format!("+{digits}"), None), Err(ParseError::InvalidCountryCode))
    }

    /// `+60123456789`
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// `60123456789`
    pub fn digits(&self) -> &str {
        self.e164.trim_start_matches('+')
    }

    /// `0123456789`: the digits dialled inside the country, trunk prefix included where there is one.
    pub fn national(&self) -> String {
        match PHONE_NUMBER_UTIL.parse(&*self.e164, None) {
            Ok(number) => {
                let written = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::National);
                written.chars().filter(char::is_ascii_digit).collect()
            }
            // Only a record from another time can hold a number that does not parse.
            Err(_) => self.digits().to_owned(),
        }
    }

    /// The country whose plan has the number; `None` for calling codes that belong to none, such as +800 and +870.
    pub fn country(&self) -> Option<Country> {
        self.country
    }

    /// What it is for, as its country's plan has it.
    pub fn number_type(&self) -> NumberType {
        let look_up = || {
            let number = PHONE_NUMBER_UTIL.parse(&*self.e164, None).ok();
            number.map_or(NumberType::Unknown, |number| PHONE_NUMBER_UTIL.get_number_type(&number).into())
        };
        self.number_type.unwrap_or_else(look_up)
    }

    fn read(text: &str, default: Option<Country>) -> Result<Self, &'static str> {
        let (international, digits) = dialled(text)?;
        let from_abroad = |digits: &str| Self::look_up(&format!("+{digits}"), None);
        if international {
            return from_abroad(&digits);
        }
        let after_zeros = digits.strip_prefix("00");
        let Some(country) = default else {
            return from_abroad(after_zeros.unwrap_or(&digits));
        };
        let dialled_there = Self::look_up(&digits, Some(country));
        let with_calling_code = after_zeros
            .or_else(|| country.begins(&digits).then_some(digits.as_str()))
            .filter(|digits| !dialled_there.as_ref().is_ok_and(|phone| phone.digits() == *digits));
        match (dialled_there, with_calling_code.map(from_abroad)) {
            (Ok(one), Some(Ok(other))) if one != other => Err(AMBIGUOUS),
            (Err(_), Some(Ok(phone))) => Ok(phone),
            (result, _) => result,
        }
    }

    /// Finds a number in its plan. `digits` has at most a `+` besides ASCII digits.
    fn look_up(digits: &str, default: Option<Country>) -> Result<Self, &'static str> {
        let phone = Self::find(digits, default)?;
        // A few plans take a national number whose international form they then read as another.
        let canonical = *phone.e164 == *digits || Self::find(&phone.e164, None).is_ok_and(|again| again == phone);
        if canonical { Ok(phone) } else { Err(NOT_IN_PLAN) }
    }

    fn find(digits: &str, default: Option<Country>) -> Result<Self, &'static str> {
        let number = PHONE_NUMBER_UTIL.parse(digits, default.and_then(Country::region)).map_err(describe)?;
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&number).ok_or_else(|| describe_length(&number))?;
        // A valid number is one that has a type.
        let number_type = NumberType::from(PHONE_NUMBER_UTIL.get_number_type(&number));
        if number_type == NumberType::Unknown {
            return Err(describe_length(&number));
        }
        let e164 = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164);
        if e164.len() > 1 + MAX_E164_DIGITS {
            return Err(TOO_LONG);
        }
        Ok(Self { e164: e164.into(), country: Country::of(region), number_type: Some(number_type) })
    }
}

impl PartialEq for Phone {
    fn eq(&self, other: &Self) -> bool {
        self.e164 == other.e164
    }
}

impl Eq for Phone {}

impl PartialOrd for Phone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Phone {
    fn cmp(&self, other: &Self) -> Ordering {
        self.e164.cmp(&other.e164)
    }
}

impl Hash for Phone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.e164.hash(state);
    }
}

/// `+60*****6789`: always five stars, and the last four digits only where at least four others stay hidden.
impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.digits().len() >= 10 { 4 } else { 2 };
        let (start, rest) = self.e164.split_at_checked(3).unwrap_or_default();
        let end = rest.len().checked_sub(shown).and_then(|hidden| rest.get(hidden..)).unwrap_or_default();
        write!(f, "{start}*****{end}")
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const AMBIGUOUS: &str = "can be read as two numbers: write it with + and the country calling code";
const TOO_SHORT: &str = "is too short for a number of its country";
const TOO_LONG: &str = "is too long for a number of its country";
const NOT_IN_PLAN: &str = "is not a number that its country's numbering plan has";
const NO_CALLING_CODE: &str =
    "must begin with + and a country calling code, such as +60, or be dialled in a known country";

/// Whether the number begins with `+`, and its digits.
fn dialled(text: &str) -> Result<(bool, String), &'static str> {
    if text.len() > MAX_PHONE_BYTES {
        return Err("must be at most 64 bytes long");
    }
    let uri = text.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("tel:"));
    let number = &text[uri.map_or(0, str::len)..];
    let mut international = false;
    let mut digits = String::with_capacity(number.len());
    for character in number.chars() {
        match character {
            '0'..='9' => digits.push(character),
            '+' if digits.is_empty() && !international => international = true,
            _ if is_separator(character) => {}
            _ => return Err(misplaced(character)),
        }
    }
    if digits.is_empty() {
        Err("must not be empty: write it like +60123456789")
    } else if uri.is_some() && !international {
        Err("must have + and a country calling code after tel:")
    } else {
        Ok((international, digits))
    }
}

/// What people put between digits: blanks and dashes of Unicode's classes Zs and Pd, dots, slashes and parentheses.
fn is_separator(character: char) -> bool {
    matches!(
        character,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
            | '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
            | '.' | '/' | '(' | ')'
    )
}

/// Why a character cannot be part of a number.
fn misplaced(character: char) -> &'static str {
    if character == '+' {
        "may have a + at its beginning only"
    } else if character.is_ascii_alphabetic() || matches!(character, ';' | ',' | '#' | '*') {
        "must be digits only, without letters, an extension or anything to dial after it"
    } else if character.is_numeric() {
        "must be written with the digits 0 to 9, not with full-width ones or those of another script"
    } else {
        "holds a character that no phone number has: write it like +60123456789"
    }
}

fn describe(error: ParseError) -> &'static str {
    match error {
        ParseError::InvalidCountryCode => NO_CALLING_CODE,
        ParseError::NotANumber(_) | ParseError::TooShortAfterIdd | ParseError::TooShortNsn => TOO_SHORT,
        ParseError::TooLongNsn => TOO_LONG,
    }
}

/// Why a number that could be read is not in its plan.
fn describe_length(number: &PhoneNumber) -> &'static str {
    match PHONE_NUMBER_UTIL.is_possible_number_with_reason(number) {
        Err(ValidationError::TooShort) => TOO_SHORT,
        Err(ValidationError::TooLong) => TOO_LONG,
        Err(ValidationError::InvalidCountryCode) => NO_CALLING_CODE,
        Err(ValidationError::InvalidLength) | Ok(_) => NOT_IN_PLAN,
    }
}

// === impl Email ===

impl Email {
    /// Reads an address as SMTP carries it (RFC 5321 §4.1.2 `Mailbox` with a `Dot-string`), of at most 254 bytes. The
    /// domain is folded to lower case; the local part is kept, for only its own host may say whether case matters.
    ///
    /// Errors: `Invalid`, field `recipient.email`: for blanks and control characters, display names, quoted local parts
    /// and IP addresses, for a domain of one label, and for anything outside ASCII. An internationalised domain is
    /// accepted in its ASCII form (`xn--…`, RFC 5890): that way the same name cannot be written twice.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::invalid("recipient.email", problem);
        if text.len() > MAX_EMAIL_BYTES {
            return Err(wrong("must be at most 254 bytes long"));
        }
        if !text.is_ascii() {
            return Err(wrong("must be ASCII: write an internationalised domain in its xn-- form"));
        }
        let plain = || wrong("must be a plain address such as ann@example.com");
        let options =
            email_address::Options::default().without_display_text().without_domain_literal().with_required_tld();
        email_address::EmailAddress::parse_with_options(text, options).map_err(|_| plain())?;
        let (local, domain) = text.rsplit_once('@').ok_or_else(plain)?;
        // The grammar above still lets through quoted local parts, domains that no DNS name has, and bare IPv4.
        let host = domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        let named = domain.rsplit('.').next().is_some_and(|label| label.bytes().any(|b| b.is_ascii_alphabetic()));
        if local.starts_with('"') || !host || !named {
            return Err(plain());
        }
        Ok(Self { address: format!("{local}@{}", domain.to_ascii_lowercase()).into() })
    }

    /// `ann@example.com`
    pub fn as_str(&self) -> &str {
        &self.address
    }
}

/// `a***@example.com`, or `***@example.com` where one letter is all there is.
impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, domain) = self.address.rsplit_once('@').unwrap_or_default();
        let start = if local.len() > 1 { local.get(..1).unwrap_or_default() } else { "" };
        write!(f, "{start}***@{domain}")
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Country ===

impl Country {
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The library's name for it.
    fn region(self) -> Option<Region> {
        Region::from_code(self.as_str()).ok()
    }

    /// Whether digits begin with the country's calling code.
    fn begins(self, digits: &str) -> bool {
        let code = self.region().and_then(|region| PHONE_NUMBER_UTIL.get_country_code_for_region(region));
        code.is_some_and(|code| digits.starts_with(&code.to_string()))
    }

    /// `None` for the region that stands for no country.
    fn of(region: Region) -> Option<Self> {
        region.as_region_str().as_bytes().try_into().ok().map(Self)
    }
}

/// Two letters, in either case.
impl FromStr for Country {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Region::from_code(text)
            .ok()
            .filter(|region| PHONE_NUMBER_UTIL.get_country_code_for_region(*region).is_some())
            .and_then(Self::of)
            .ok_or_else(|| {
                Error::invalid("country", "must be a two-letter ISO 3166-1 code such as MY, of a country with phones")
            })
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Country {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

/// Checks the form only.
impl<'b, C> minicbor::Decode<'b, C> for Country {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        match *d.str()?.as_bytes() {
            [first @ b'A'..=b'Z', second @ b'A'..=b'Z'] => Ok(Self([first, second])),
            _ => Err(minicbor::decode::Error::message("not a country")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rlibphonenumber::PhoneNumberType;

    use super::*;
    use crate::error::Kind;

    const TYPES: [PhoneNumberType; 10] = [
        PhoneNumberType::FixedLine,
        PhoneNumberType::Mobile,
        PhoneNumberType::TollFree,
        PhoneNumberType::PremiumRate,
        PhoneNumberType::SharedCost,
        PhoneNumberType::VoIP,
        PhoneNumberType::PersonalNumber,
        PhoneNumberType::Pager,
        PhoneNumberType::UAN,
        PhoneNumberType::VoiceMail,
    ];

    fn country(code: &str) -> Country {
        code.parse().unwrap()
    }

    fn parse(text: &str, default: &str) -> Result<String> {
        let default = (!default.is_empty()).then(|| country(default));
        Phone::parse(text, default).map(|phone| phone.e164().to_owned())
    }

    /// One number for each country and type that has an example.
    fn examples() -> impl Iterator<Item = (Country, String)> {
        PHONE_NUMBER_UTIL.get_supported_regions().flat_map(|region| {
            TYPES.into_iter().filter_map(move |kind| {
                let number = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, kind).ok()?;
                let e164 = PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164).into_owned();
                Some((Country::of(region).unwrap(), e164))
            })
        })
    }

    #[test]
    fn one_number_has_one_form_however_it_is_written() {
        let anywhere = [
            "+60123456789",
            "+60 12-345 6789",
            "+60 (0)12-345 6789",
            "(+60) 12.345.6789",
            "0060123456789",
            "00 60 12 345 6789",
            "60123456789",
            "tel:+60123456789",
            "TEL:+60-12-345-6789",
            "+60\u{a0}12\u{2011}345\u{202f}6789",
            "+60\u{2013}12\u{2212}345\u{3000}6789",
            "  +60 12/3456789  ",
        ];
        for text in anywhere {
            assert_eq!(parse(text, "MY").unwrap(), "+60123456789", "{text:?}");
            assert_eq!(parse(text, "").unwrap(), "+60123456789", "{text:?}");
        }
        for text in ["0123456789", "012-345 6789", "(012) 345 6789", "12 345 6789"] {
            assert_eq!(parse(text, "MY").unwrap(), "+60123456789", "{text:?}");
        }
        assert_eq!(parse("+60123456789", "US").unwrap(), "+60123456789");
    }

    #[test]
    fn what_is_no_number_is_refused_and_not_repeated() {
        let refused = [
            "",
            "   ",
            "+",
            "tel:",
            "+60123456789 ext. 5",
            "+60123456789x5",
            "+60123456789;ext=5",
            "tel:+60123456789;phone-context=+60",
            "tel:0123456789",
            "+60123456789,5",
            "+60123456789#",
            "*123456789",
            "1-800-FLOWERS",
            "++60123456789",
            "60+123456789",
            "+60123456789+",
            "+60123456789\0",
            "\0+60123456789",
            "+60123456789\n",
            "+60\t123456789",
            "\u{200f}+60123456789",
            "+60\u{200b}123456789",
            "\u{202a}+60123456789\u{202c}",
            "+60\u{ad}123456789",
            "+60\u{2060}123456789",
            "\u{feff}+60123456789",
            "\u{ff0b}60123456789",
            "+６０１２３４５６７８９",
            "+٦٠١٢٣٤٥٦٧٨٩",
            "+६०१२३४५६७८९",
            "+𝟔𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
            "+6012345",
            "+601234567890123",
            "+60923456789",
            "+999123456789",
            "+0060123456789",
            "000123456789",
            "999",
            "112",
            "15888",
            "+1 555 123 4567",
            "+60123456789 +60123456780",
            &"1".repeat(64),
            &" ".repeat(65),
            &"1".repeat(1 << 20),
        ];
        for text in refused {
            for default in [None, Some(country("MY"))] {
                let error = Phone::parse(text, default).unwrap_err();
                assert_eq!(
                    (error.kind(), &*error.violations()[0].field),
                    (Kind::Invalid, "recipient.phone"),
                    "{text:?}"
                );
                let told = format!("{error:?}").replace("+60123456789", "");
                assert!(!told.contains("3456"), "{told}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        for (text, word) in [
            ("", "empty"),
            ("+60123456789 ext 5", "extension"),
            ("+６０１２３４５６７８９", "full-width"),
            ("+60123456789\u{200f}", "character"),
            ("6+0", "beginning"),
            ("tel:60123456789", "after tel:"),
            ("+6012345", "too short"),
            ("+6012345678901", "too long"),
            ("+99912345678", "calling code"),
            ("0123456789", "calling code"),
            ("+60923456789", "numbering plan"),
        ] {
            let message = Phone::parse(text, None).unwrap_err().message().to_owned();
            assert!(message.contains(word), "{text:?}: {message}");
        }
    }

    #[test]
    fn digits_without_a_plus_belong_to_the_default_country() {
        assert_eq!(parse("0771234567", "LK").unwrap(), "+94771234567");
        assert_eq!(parse("94771234567", "LK").unwrap(), "+94771234567");
        assert_eq!(parse("2125550123", "US").unwrap(), "+12125550123");
        assert_eq!(parse("015123456789", "DE").unwrap(), "+4915123456789");
        // A number of Singapore is also one of Alabama.
        assert_eq!(parse("6592234567", "US").unwrap(), "+16592234567");
        assert_eq!(parse("6592234567", "").unwrap(), "+6592234567");
        for (text, default) in [("6592234567", "MY"), ("60123456789", "US")] {
            assert!(parse(text, default).is_err(), "{text} {default}");
        }
    }

    #[test]
    fn double_zero_is_a_plus_and_so_is_what_the_country_dials() {
        assert_eq!(parse("0060123456789", "US").unwrap(), "+60123456789");
        assert_eq!(parse("0060123456789", "SG").unwrap(), "+60123456789");
        assert_eq!(parse("011 60 12 345 6789", "US").unwrap(), "+60123456789");
        assert!(parse("011 60 12 345 6789", "").is_err());
        // Reads as a number that its own international form would not be.
        assert!(parse("08109546539", "BY").is_err());
    }

    #[test]
    fn digits_that_can_be_two_numbers_are_refused() {
        for (text, default, meant) in [
            // Singapore dials abroad with 009 too, so this is a number of India or of California.
            ("0091 80522 34567", "SG", "+91 80522 34567"),
            ("4915123456789", "DE", "+4915123456789"),
            ("62812345678", "ID", "0812345678"),
        ] {
            let error = parse(text, default).unwrap_err();
            assert!(error.message().contains("two numbers"), "{error}");
            assert!(parse(meant, default).is_ok());
        }
    }

    #[test]
    fn numbers_of_every_plan_are_read_back() {
        let mut countries = BTreeSet::new();
        for (country, e164) in examples() {
            let phone = Phone::parse(&e164, None).unwrap();
            let home = phone.country().unwrap();
            assert_eq!(phone.e164(), e164);
            assert_eq!(Phone::parse(&phone.national(), Some(home)).unwrap(), phone, "{country} {e164}");
            // Never another number.
            match Phone::parse(phone.digits(), Some(home)) {
                Ok(same) => assert_eq!(same, phone, "{country} {e164}"),
                Err(error) => assert!(error.message().contains("two numbers"), "{country} {e164} {error}"),
            }
            countries.insert(home);
        }
        // The numbers of Western Sahara cannot be told from Morocco's, nor those of Saint Martin from Guadeloupe's.
        let all: BTreeSet<_> = PHONE_NUMBER_UTIL.get_supported_regions().filter_map(Country::of).collect();
        assert_eq!(all.difference(&countries).map(Country::as_str).collect::<Vec<_>>(), ["EH", "MF"]);
    }

    #[test]
    fn numbers_of_no_country_have_none() {
        for code in PHONE_NUMBER_UTIL.get_supported_global_network_calling_codes() {
            let example = PHONE_NUMBER_UTIL.get_example_number_for_non_geo_entity(code).unwrap();
            let e164 = PHONE_NUMBER_UTIL.format(&example, PhoneNumberFormat::E164);
            assert_eq!(Phone::parse(&e164, Some(country("MY"))).unwrap().country(), None, "{e164}");
        }
    }

    #[test]
    fn a_phone_tells_its_country_and_how_it_is_dialled_there() {
        for (e164, home, national) in [
            ("+60123456789", "MY", "0123456789"),
            ("+94771234567", "LK", "0771234567"),
            ("+33611223344", "FR", "0611223344"),
            ("+12125550123", "US", "2125550123"),
            ("+14165550123", "CA", "4165550123"),
            ("+77011234567", "KZ", "87011234567"),
            ("+390612345678", "IT", "0612345678"),
        ] {
            let phone = Phone::parse(e164, None).unwrap();
            assert_eq!((phone.country(), phone.national().as_str()), (Some(country(home)), national));
            assert_eq!(phone.digits(), &e164[1..]);
        }
    }

    #[test]
    fn recipients_show_masked() {
        for (text, masked) in [
            ("+60123456789", "+60*****6789"),
            ("+4915123456789", "+49*****6789"),
            ("+6834002", "+68*****02"),
            ("ann@example.com", "a***@example.com"),
            ("a@example.com", "***@example.com"),
        ] {
            let recipient = Recipient::parse_canonical(text, None).unwrap();
            assert_eq!((recipient.masked(), format!("{recipient:?}")), (masked.to_owned(), masked.to_owned()));
            let inner = match recipient {
                Recipient::Phone(phone) => format!("{phone} {phone:?}"),
                Recipient::Email(email) => format!("{email} {email:?}"),
            };
            assert_eq!(inner, format!("{masked} {masked}"));
        }
        assert_eq!(Recipient::parse_canonical("+1", None).unwrap().masked(), "*****");
    }

    #[test]
    fn recipients_survive_their_record() {
        let phone = Phone::parse("012-345 6789", Some(country("MY"))).unwrap();
        for recipient in [Recipient::Phone(phone), Recipient::Email(Email::parse("Ann@Example.com").unwrap())] {
            let bytes = minicbor::to_vec(&recipient).unwrap();
            let read: Recipient = minicbor::decode(&bytes).unwrap();
            assert_eq!(read, recipient);
            match (&read, &recipient) {
                (Recipient::Phone(read), Recipient::Phone(written)) => assert_eq!(read.country(), written.country()),
                (read, written) => assert_eq!(read.as_str(), written.as_str()),
            }
        }
    }

    #[test]
    fn only_the_canonical_form_is_read_back() {
        for text in
            ["", "+", "60123456789", "+60 123456789", "+0123456789", "+1234567890123456", "ann", "a b@c.de", "é@c.de"]
        {
            let error = Recipient::parse_canonical(text, None).unwrap_err();
            assert_eq!(error.violations()[0].field, "recipient", "{text:?}");
            assert!(minicbor::decode::<Recipient>(&minicbor::to_vec((text, None::<Country>)).unwrap()).is_err());
        }
    }

    #[test]
    fn e_mail_addresses_keep_their_local_part_and_fold_their_domain() {
        for (text, canonical) in [
            ("ann@example.com", "ann@example.com"),
            ("Ann.Bee+tag@EXAMPLE.Com", "Ann.Bee+tag@example.com"),
            ("a@b.co", "a@b.co"),
            ("o'neil_1-2=3@sub.xn--bcher-kva.example", "o'neil_1-2=3@sub.xn--bcher-kva.example"),
            ("1@1.2.3.4a", "1@1.2.3.4a"),
            ("+60123456789@example.com", "+60123456789@example.com"),
        ] {
            assert_eq!(Email::parse(text).unwrap().as_str(), canonical);
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused_and_not_repeated() {
        let refused = [
            "",
            "ann",
            "ann@",
            "@example.com",
            "ann@localhost",
            "ann@example..com",
            "ann@.example.com",
            "ann@example.com.",
            "ann@-example.com",
            "ann@exam_ple.com",
            "ann@exam!ple.com",
            "ann..bee@example.com",
            ".ann@example.com",
            "ann.@example.com",
            "ann@bee@example.com",
            "Ann <ann@example.com>",
            "<ann@example.com>",
            "\"ann\"@example.com",
            "\"a@b\"@example.com",
            "ann@[127.0.0.1]",
            "ann@[IPv6:::1]",
            "ann@127.0.0.1",
            " ann@example.com",
            "ann@example.com ",
            "ann @example.com",
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com\0",
            "ann@example.com,eve@example.com",
            "mailto:ann@example.com",
            "ann@bücher.example",
            "änn@example.com",
            "ann@ｅxample.com",
            "ann\u{200b}@example.com",
            &format!("{}@example.com", "a".repeat(65)),
            &format!("a@{}.com", "b".repeat(64)),
            &format!("a@{}com", "bcd.".repeat(63)),
        ];
        for text in refused {
            let error = Email::parse(text).unwrap_err();
            assert_eq!((error.kind(), &*error.violations()[0].field), (Kind::Invalid, "recipient.email"), "{text:?}");
            assert!(!format!("{error:?}").contains("eve"));
        }
    }

    #[test]
    fn countries_are_two_letters_with_a_numbering_plan() {
        assert_eq!(country("my"), country("MY"));
        assert_eq!(country("MY").to_string(), "MY");
        assert_eq!(minicbor::decode::<Country>(&minicbor::to_vec(country("XK")).unwrap()).unwrap(), country("XK"));
        for text in ["", "M", "MYS", "UK", "ZZ", "001", "M1", "ＭＹ", "é"] {
            assert!(text.parse::<Country>().is_err(), "{text:?}");
            let json = serde_json::Value::String(text.to_owned());
            assert!(serde_json::from_value::<Country>(json).is_err(), "{text:?}");
        }
        assert!(minicbor::decode::<Country>(&minicbor::to_vec("my").unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn separators_change_nothing(
            separators in proptest::collection::vec("[ .()/\u{a0}\u{2010}-\u{2015}\u{2212}\u{3000}-]?", 13),
            default in proptest::option::of("US|MY|SG|DE"),
        ) {
            let text: String = "+60123456789".chars().zip(&separators).map(|(c, s)| format!("{s}{c}")).collect();
            let default = default.map(|code| country(&code));
            prop_assert_eq!(&*Phone::parse(&(text + &separators[12]), default).unwrap().e164, "+60123456789");
        }

        #[test]
        fn what_is_accepted_reads_back_as_itself(text in "(\\+|00)?[0-9 -]{4,18}", default in "US|MY|SG|DE|BR|AR|IT") {
            if let Ok(phone) = Phone::parse(&text, Some(country(&default))) {
                prop_assert_eq!(Phone::parse(phone.e164(), None).unwrap(), phone.clone());
                match Phone::parse(&phone.national(), phone.country) {
                    Ok(same) => prop_assert_eq!(same, phone.clone()),
                    Err(error) => prop_assert!(error.message().contains("two numbers"), "{}", error),
                }
                let recipient = Recipient::Phone(phone.clone());
                prop_assert_eq!(Recipient::parse_canonical(phone.e164(), phone.country()).unwrap(), recipient);
            }
        }

        #[test]
        fn nothing_panics_and_only_plain_digits_count(text in any::<String>(), default in "US|MY") {
            drop(Email::parse(&text));
            drop(Recipient::parse_canonical(&text, None));
            if Phone::parse(&text, Some(country(&default))).is_ok() {
                prop_assert!(!text.contains(|c: char| c.is_alphanumeric() && !c.is_ascii_digit()), "{text:?}");
            }
        }

        #[test]
        fn e_mail_addresses_are_their_own_canonical_form(text in "[a-zA-Z0-9.+\"@ -]{1,12}@[a-zA-Z0-9.-]{1,12}\\.[a-z]{2,3}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()).unwrap(), email.clone());
                let recipient = Recipient::Email(email.clone());
                prop_assert_eq!(Recipient::parse_canonical(email.as_str(), None).unwrap(), recipient);
            }
        }
    }
}
