//! The last line: what phones read so that people need not type.
//!
//! Two formats, either or both, and each wants to be last:
//! - The web OTP line `@example.com #123456`, by which a browser offers the code on that site and no other: the WICG
//!   draft "Origin-bound one-time codes delivered via SMS", §3.2. Its parser looks at the last line alone, from its
//!   start, and passes over whatever follows the code on it. Chrome (`content/browser/sms/sms_parser.cc`) is both laxer
//!   and stricter: it takes the first `@host #code` after any blank, and ends a code at `#`.
//! - The Android app hash, by which the SMS Retriever hands the message to the app: Google's "Perform SMS verification
//!   on a server" asks for 11 characters that the message includes (formerly: ends with), in at most 140 bytes. The
//!   prefix `<#>` is not asked for any more.
//!
//! Both on one line, `@example.com #123456 FA+9qCX9VSu`, suit every reading: the draft's, Chrome's, and both of
//! Google's.
//!
//! Knows no template and no vendor; a vendor's prefix before the text changes nothing, for the line stays last.

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::violations::Violations;

/// Longest domain in characters (RFC 1035 §2.3.4, as text).
const MAX_DOMAIN: usize = 253;

/// Characters of an Android app hash.
const HASH_LENGTH: usize = 11;

/// What stands on the last line beside the code; nothing, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct LastLine {
    #[n(0)]
    web_otp_domain: Option<Box<str>>,
    #[n(1)]
    android_app_hash: Option<Box<str>>,
}

// === impl LastLine ===

impl LastLine {
    /// `web_otp_domain`: a host name in lower case with a dot, at most 253 characters, in its ASCII form (`xn--…`),
    /// without scheme, port or path. `android_app_hash`: 11 of A-Z, a-z, 0-9, `+` and `/`.
    ///
    /// Errors: `Invalid`, with those two fields.
    pub fn parse(web_otp_domain: Option<&str>, android_app_hash: Option<&str>) -> Result<Self> {
        let mut found = Violations::default();
        if web_otp_domain.is_some_and(|domain| !is_domain(domain)) {
            let wanted = "must be a host name in lower case such as example.com, with xn-- for other letters, without \
                          port or path";
            found.add("web_otp_domain", wanted.to_owned());
        }
        if android_app_hash.is_some_and(|hash| !is_hash(hash)) {
            found.add("android_app_hash", "must be 11 of A-Z, a-z, 0-9, '+' and '/'".to_owned());
        }
        if found.0.is_empty() {
            let boxed = |text: Option<&str>| text.map(Box::from);
            Ok(Self { web_otp_domain: boxed(web_otp_domain), android_app_hash: boxed(android_app_hash) })
        } else {
            Err(Error::invalid_fields(found.0))
        }
    }

    /// Refuses codes that browsers would misread: Chrome ends a code at `#`, and a code that begins with `@` may be
    /// taken for a domain where it stands in the text. `characters`: a code, or all characters that codes are drawn
    /// from.
    ///
    /// Errors: `Invalid`, field `web_otp_domain`.
    pub fn check_code(&self, characters: &str) -> Result<()> {
        if self.web_otp_domain.is_some() && !characters.bytes().all(|c| c.is_ascii_graphic() && !b"#@".contains(&c)) {
            let wrong = "cannot be combined with codes that may hold # or @, which browsers misread: choose an \
                         alphabet without special characters, or leave the domain out";
            return Err(Error::invalid("web_otp_domain", wrong));
        }
        Ok(())
    }

    /// The text with this line after everything else. Comes after every other change to the text, except that something
    /// may be put before it.
    ///
    /// Errors: `Invalid` as for [`LastLine::check_code`]; `Internal` when a browser would read another domain or code
    /// than ours, which texts from our templates rule out.
    pub fn append(&self, text: SecretString, code: &str) -> Result<SecretString> {
        self.check_code(code)?;
        if *self == Self::default() {
            return Ok(text);
        }
        let domain = self.web_otp_domain.as_deref();
        let marked = domain.map_or_else(Vec::new, |domain| vec!["@", domain, " #", code]);
        let gap = if domain.is_some() && self.android_app_hash.is_some() { " " } else { "" };
        let parts =
            [&[text.expose_secret(), "\n"], marked.as_slice(), &[gap, self.android_app_hash.as_deref().unwrap_or("")]];
        // Room for all of it at once: a buffer that grows would leave parts of the text behind unwiped.
        let length = parts.iter().flat_map(|parts| parts.iter()).map(|part| part.len()).sum();
        let mut whole = Zeroizing::new(String::with_capacity(length));
        for part in parts.iter().flat_map(|parts| parts.iter()) {
            whole.push_str(part);
        }
        if let Some(domain) = domain
            && (parse_web_otp(&whole) != Some((domain, code)) || first_web_otp(&whole) != Some((domain, code)))
        {
            return Err(Error::internal("the text holds something that a browser reads in place of our last line"));
        }
        Ok(SecretString::new(Box::from(whole.as_str())))
    }
}

/// A host name of at least two labels (RFC 1123 §2.1), the last of which is no number: not an IPv4 address.
fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= MAX_DOMAIN
        && text.split('.').all(label)
        && text.rsplit_once('.').is_some_and(|(_, last)| !numeric(last))
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_LENGTH && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

// === reading as phones do ===

/// Domain and code of a text, as the WICG draft §3.2 says to read it.
pub fn parse_web_otp(text: &str) -> Option<(&str, &str)> {
    let line = text.rsplit(['\n', '\r']).next()?;
    let (domain, rest) = marked_token(line, '@')?;
    let (code, _) = marked_token(rest.strip_prefix(' ')?, '#')?;
    Some((domain, code))
}

/// The domain and code that a browser takes which looks at all of the text and keeps what it finds first.
pub fn first_web_otp(text: &str) -> Option<(&str, &str)> {
    let starts = text.match_indices('@').map(|(at, _)| at);
    let mut starts = starts.filter(|at| text[..*at].chars().next_back().is_none_or(|c| c.is_ascii_whitespace()));
    starts.find_map(|at| {
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).filter(|end| *end > 0)?;
        let code = rest[end..].strip_prefix(" #")?;
        let code = code.split(|c: char| c == '#' || c.is_ascii_whitespace()).next().filter(|code| !code.is_empty())?;
        Some((&rest[..end], code))
    })
}

/// The Android app hash that a text ends with.
pub fn find_android_hash(text: &str) -> Option<&str> {
    text.rsplit(char::is_whitespace).next().filter(|word| is_hash(word))
}

/// What follows `marker` up to a blank, and the rest.
fn marked_token(text: &str, marker: char) -> Option<(&str, &str)> {
    let token = text.strip_prefix(marker)?;
    let end = token.find(|c: char| c.is_ascii_whitespace()).unwrap_or(token.len());
    (end > 0).then(|| token.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const HASH: &str = "FA+9qCX9VSu";

    fn appended(domain: Option<&str>, hash: Option<&str>, text: &str, code: &str) -> Result<String> {
        let text = SecretString::from(text.to_owned());
        Ok(LastLine::parse(domain, hash)?.append(text, code)?.expose_secret().to_owned())
    }

    #[test]
    fn each_format_alone_and_both_stand_on_one_line_after_everything_else() {
        for (domain, hash, expected) in [
            (None, None, "Code 1234."),
            (Some("example.com"), None, "Code 1234.\n@example.com #1234"),
            (None, Some(HASH), "Code 1234.\nFA+9qCX9VSu"),
            (Some("example.com"), Some(HASH), "Code 1234.\n@example.com #1234 FA+9qCX9VSu"),
        ] {
            let text = appended(domain, hash, "Code 1234.", "1234").unwrap();
            assert_eq!(text, expected);
            assert_eq!(parse_web_otp(&text), domain.map(|domain| (domain, "1234")));
            assert_eq!(find_android_hash(&text), hash);
        }
    }

    #[test]
    fn domains_are_plain_host_names() {
        let longest = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        for good in ["example.com", "a.b", "xn--bcher-kva.example", "1.example", "a-b.co.uk", longest.as_str()] {
            assert!(is_domain(good), "{good}");
        }
        let too_long = format!("{longest}d");
        for bad in [
            "",
            "localhost",
            "Example.com",
            "example.com.",
            ".example.com",
            "a..b",
            "-a.example",
            "a-.example",
            "example.com:443",
            "example.com/login",
            "https://example.com",
            "user@example.com",
            "bücher.example",
            "ex_ample.com",
            "exam ple.com",
            "example.com #1",
            "example.com\n",
            "127.0.0.1",
            "[::1]",
            too_long.as_str(),
        ] {
            assert_eq!(
                LastLine::parse(Some(bad), None).unwrap_err().violations()[0].field,
                "web_otp_domain",
                "{bad:?}"
            );
        }
    }

    #[test]
    fn hashes_have_eleven_characters_of_base64() {
        for bad in ["", "FA+9qCX9VS", "FA+9qCX9VSuu", "FA-9qCX9VSu", "FA+9qCX9VS=", "FA+9qCX9VS ", "FA+9qCX9V\u{e9}"] {
            let error = LastLine::parse(Some("."), Some(bad)).unwrap_err();
            let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
            assert_eq!(fields, ["web_otp_domain", "android_app_hash"], "{bad:?}");
        }
    }

    #[test]
    fn codes_that_browsers_misread_are_refused_with_a_domain_only() {
        for code in ["12#4", "#234", "@234", "12@4", "12 4", "１２３４"] {
            let error = appended(Some("example.com"), None, "Code.", code).unwrap_err();
            assert_eq!(error.violations()[0].field, "web_otp_domain", "{code}");
            assert!(appended(None, Some(HASH), "Code.", code).is_ok(), "{code}");
        }
        assert_eq!(parse_web_otp("@example.com #12#4"), Some(("example.com", "12#4")));
        assert_eq!(first_web_otp("@example.com #12#4"), Some(("example.com", "12")));
    }

    #[test]
    fn a_text_that_would_be_read_first_is_never_sent() {
        for text in ["See @evil.example #0000 now.", "@evil.example #0000", "x\n@evil.example #0000\ny"] {
            assert_eq!(appended(Some("example.com"), None, text, "1234").unwrap_err().kind(), Kind::Internal, "{text}");
        }
        assert!(appended(Some("example.com"), None, "Mail ann@evil.example #0000.", "1234").is_ok());
    }

    #[test]
    fn texts_are_read_as_the_draft_says() {
        for (text, expected) in [
            ("747723 is your code.\n\n@example.com #747723", Some(("example.com", "747723"))),
            ("@example.com #747723", Some(("example.com", "747723"))),
            ("a\r\n@example.com #747723 %ecommerce.example $future", Some(("example.com", "747723"))),
            ("a\r@example.com #747723\tb", Some(("example.com", "747723"))),
            ("something @example.com #747723", None),
            ("#747723 %ecommerce.example @example.com", None),
            ("@example.com code #747723", None),
            ("@example.com  #747723", None),
            ("@example.com #", None),
            ("@ #747723", None),
            ("@example.com #747723\n", None),
            ("", None),
        ] {
            assert_eq!(parse_web_otp(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("Code 1.\nFA+9qCX9VSu", Some(HASH)),
            ("FA+9qCX9VSu", Some(HASH)),
            ("Code 1.FA+9qCX9VSu", None),
            ("FA+9qCX9VSu.", None),
            ("FA+9qCX9VSu\n", None),
        ] {
            assert_eq!(find_android_hash(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_last_line_survives_its_record() {
        let line = LastLine::parse(Some("example.com"), Some(HASH)).unwrap();
        let bytes = minicbor::to_vec(&line).unwrap();
        assert_eq!(minicbor::decode::<LastLine>(&bytes).unwrap(), line);
    }
}
