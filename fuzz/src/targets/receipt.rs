//! Receipts as vendors send them. A letter for the vendor; then, in parts between `%%`, what follows in the path, the
//! query, headers one `NAME: VALUE` a line, and the body.

use std::sync::{Arc, LazyLock};

use verigate::clock::Timestamp;
use verigate::error::Kind;
use verigate::vendor::{ReceiptCall, ReportedMessage, Vendor};

use crate::targets::{choose, vendors};

const NOW: Timestamp = Timestamp::from_millis(1_795_324_560_125);

/// Those that report. They are built once: only what they are told changes.
static VENDORS: LazyLock<Vec<Arc<dyn Vendor>>> = LazyLock::new(|| {
    let all = vendors::all("http://127.0.0.1:9/");
    all.into_iter().filter(|vendor| vendor.receipts().is_some()).collect()
});

pub(crate) fn run(data: &[u8]) {
    let Some((vendor, rest)) = choose(data, VENDORS.len()) else { return };
    let reader = VENDORS[vendor].receipts().unwrap();
    let call = call(rest);
    match reader.read(&call, NOW) {
        Ok(reported) => {
            assert!(!reader.is_signed(), "a signature that was guessed");
            for report in &reported {
                assert!(report.at <= NOW, "a receipt from the future");
                match &report.of {
                    ReportedMessage::Ours(name) => assert!(!name.is_empty()),
                    // One vendor lets messages have any name, and nobody knows of an empty one.
                    ReportedMessage::Theirs(name) => assert!(!name.is_empty() || !call.body.is_empty()),
                }
            }
            assert_eq!(reader.read(&call, NOW).unwrap(), reported, "one call, two meanings");
        }
        Err(error) => assert!(matches!(error.kind(), Kind::Invalid | Kind::Unauthenticated), "{error:?}"),
    }
}

fn call(rest: &[u8]) -> ReceiptCall {
    let mut parts = Vec::new();
    let mut left = rest;
    while parts.len() < 3
        && let Some(at) = left.windows(4).position(|window| window == b"\n%%\n")
    {
        parts.push(String::from_utf8_lossy(&left[..at]).into_owned());
        left = &left[at + 4..];
    }
    parts.resize(3, String::new());
    let query = form_urlencoded::parse(parts[1].as_bytes()).into_owned().collect();
    let headers = parts[2].lines().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    ReceiptCall { rest: parts[0].trim_matches('/').to_owned(), query, headers, body: left.to_vec() }
}
