//! Dates as RFC 3339 writes them (§5.6): a `full-date`, or a `date-time`, which is kept in UTC.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Either form in its canonical text: `2026-11-27` or `2026-11-27T08:00:00Z`. `None` for anything else, and for days
/// that no calendar has.
pub(crate) fn canonical(text: &str) -> Option<String> {
    match full_date(text) {
        Some(date) => Some(date.to_string()),
        None => date_time(text).map(|at| at.to_string()),
    }
}

/// What a date compares by: the civil time in UTC. A full-date counts as its midnight.
pub(crate) fn order(text: &str) -> Option<DateTime> {
    match full_date(text) {
        Some(date) => Some(date.at(0, 0, 0, 0)),
        None => date_time(text).map(|at| at.to_zoned(TimeZone::UTC).datetime()),
    }
}

/// The library reads more forms than the standard has, so the shape is looked at first.
fn full_date(text: &str) -> Option<Date> {
    if shape(text) == "0000-00-00" { text.parse().ok() } else { None }
}

fn date_time(text: &str) -> Option<jiff::Timestamp> {
    let shape = shape(text);
    let rest = shape.strip_prefix("0000-00-00T00:00:00")?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches('0');
            if (1..=9).contains(&(fraction.len() - offset.len())) { offset } else { return None }
        }
        None => rest,
    };
    if matches!(offset, "Z" | "+00:00" | "-00:00") { text.parse().ok() } else { None }
}

/// The text with a zero for each digit.
fn shape(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_standard_are_read_and_no_other() {
        for (text, kept) in [
            ("2026-11-27", "2026-11-27"),
            ("2024-02-29", "2024-02-29"),
            ("0000-01-01", "0000-01-01"),
            ("9999-12-31", "9999-12-31"),
            ("2026-11-27T10:00:00Z", "2026-11-27T10:00:00Z"),
            ("2026-11-27T01:00:00.250+02:00", "2026-11-26T23:00:00.25Z"),
            ("2026-11-27T10:00:00-00:00", "2026-11-27T10:00:00Z"),
            ("2024-06-28T23:56:38.128604+00:00", "2024-06-28T23:56:38.128604Z"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(kept), "{text}");
        }
        for text in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "20261127",
            "27.11.2026",
            "2026-11-27 ",
            " 2026-11-27",
            "2026-W48-5",
            "+002026-11-27",
            "2026-11-27T10:00:00",
            "2026-11-27 10:00:00Z",
            "2026-11-27T10:00Z",
            "2026-11-27T25:00:00Z",
            "2026-11-27T10:00:00.Z",
            "2026-11-27T10:00:00.1234567890Z",
            "2026-11-27T10:00:00+0200",
            "2026-11-27T10:00:00+25:99",
            "2026-11-27T10:00:00Z[UTC]",
            "２０２６-11-27",
        ] {
            assert_eq!(canonical(text), None, "{text}");
            assert_eq!(order(text), None, "{text}");
        }
    }

    #[test]
    fn dates_compare_as_points_in_time() {
        let order = |text| order(text).unwrap();
        assert_eq!(order("2026-11-27"), order("2026-11-27T02:00:00+02:00"));
        assert!(order("2026-11-27") < order("2026-11-27T00:00:01Z"));
        assert!(order("2026-11-27T23:00:00-02:00") > order("2026-11-28"));
        assert!(order("9999-12-31") > order("2026-11-28"));
    }
}
