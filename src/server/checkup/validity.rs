//! From when until when a certificate is good: the one field of X.509 that is read here.
//!
//! Only that; whether a certificate is sound is for rustls, which has looked at it before.

use crate::clock::Timestamp;

/// RFC 5280 §4.1.2.5. Both ends count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which may be missing.
const VERSION: u8 = 0xa0;

// === impl Validity ===

impl Validity {
    /// `certificate`: in DER. `None` for what is none.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (tag, mut fields, _) = element(certificate)?;
        if tag != SEQUENCE {
            return None;
        }
        if fields.first() == Some(&VERSION) {
            fields = element(fields)?.2;
        }
        // Before it stand the serial number, the algorithm and the issuer.
        for _ in 0..3 {
            fields = element(fields)?.2;
        }
        let (SEQUENCE, times, _) = element(fields)? else { return None };
        let (from_tag, from, rest) = element(times)?;
        let (until_tag, until, _) = element(rest)?;
        Some(Self { from: parse_time(from_tag, from)?, until: parse_time(until_tag, until)? })
    }
}

/// The tag of the first element, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn parse_time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let year: i16 = text.get(..2)?.parse().ok()?;
    let text = match tag {
        UTC_TIME => format!("{}{text}", if year < 50 { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(time.timestamp().as_millisecond()).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_of_a_certificate_are_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |from, until| {
            let mut parameters = rcgen::CertificateParams::new(["sms.example.com".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from, 1, 31);
            parameters.not_after = rcgen::date_time_ymd(until, 12, 1);
            parameters.self_signed(&key).unwrap().der().to_vec()
        };
        let validity = Validity::of(&certificate(2026, 2027)).unwrap();
        assert_eq!(validity.from.to_string(), "2026-01-31T00:00:00.000Z");
        assert_eq!(validity.until.to_string(), "2027-12-01T00:00:00.000Z");
        // From 2050 on it is written otherwise.
        let validity = Validity::of(&certificate(1999, 2060)).unwrap();
        assert_eq!(validity.from.to_string(), "1999-01-31T00:00:00.000Z");
        assert_eq!(validity.until.to_string(), "2060-12-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let whole = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        for length in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..length]), None);
        }
        assert_eq!(Validity::of(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
