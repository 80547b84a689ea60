//! Phone numbers and e-mail addresses. First a letter for the country that the number is dialled in, `a` for none.

use verigate::error::Kind;
use verigate::recipient::{Address, Country, Phone, Recipient};

use crate::targets::choose;

const COUNTRIES: [&str; 7] = ["MY", "FR", "DE", "LK", "NG", "US", "IT"];

pub(crate) fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, COUNTRIES.len() + 1) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let country = choice.checked_sub(1).map(|at| COUNTRIES[at].parse::<Country>().unwrap());
    for address in [Address::Phone(text.to_owned()), Address::Email(text.to_owned())] {
        match address.parse(country) {
            Ok(recipient) => accepted(&recipient, text, country),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Invalid);
                // Refusals show how to write one, and nothing else of the kind.
                let told = format!("{error:?}").replace("ann@example.com", "").replace("+60123456789", "");
                // What has an @ or so many digits is none of our own words.
                let telling = text.contains('@') || text.bytes().filter(u8::is_ascii_digit).count() > 4;
                assert!(!telling || text.len() < 6 || !told.contains(text), "the refusal repeats what was written");
            }
        }
    }
    if let Ok(recipient) = Recipient::parse_canonical(text, country) {
        assert_eq!(recipient.as_str(), text);
    }
    let _any = Phone::begins_with_calling_code(text);
}

/// A recipient has one form, which reads back as itself anywhere and is masked where it is shown.
fn accepted(recipient: &Recipient, text: &str, country: Option<Country>) {
    let canonical = recipient.as_str();
    let read_back = Recipient::parse_canonical(canonical, recipient.country()).unwrap();
    assert_eq!(&read_back, recipient, "the stored form");
    match recipient {
        Recipient::Phone(phone) => {
            for dialled_in in [None, country, Some("US".parse().unwrap())] {
                let again = Phone::parse(canonical, dialled_in).unwrap();
                assert_eq!(again.e164(), canonical, "{text:?} written in full");
                assert_eq!(again.country(), phone.country());
            }
            // Two people's ways to write it are one number.
            let (start, end) = canonical.split_at(canonical.len() / 2);
            for spelling in [format!("tel:{canonical}"), format!(" {start}-{end} "), format!("{start}\u{2011}({end})")]
            {
                assert_eq!(Phone::parse(&spelling, country).unwrap().e164(), canonical, "{spelling:?}");
            }
            assert!(phone.digits().len() <= 15 && phone.digits().bytes().all(|byte| byte.is_ascii_digit()));
            assert!(phone.national().bytes().all(|byte| byte.is_ascii_digit()));
        }
        Recipient::Email(_) => {
            assert_eq!(Address::Email(canonical.to_owned()).parse(None).unwrap(), *recipient);
            assert!(canonical.is_ascii() && canonical.len() <= 254);
        }
    }
    // A name of stars behind its first letter looks the same when it is hidden.
    if canonical.split('@').next().is_some_and(|name| name.chars().skip(1).all(|letter| letter == '*')) {
        return;
    }
    assert!(!recipient.masked().contains(canonical) && !format!("{recipient:?}").contains(canonical), "shown whole");
}
