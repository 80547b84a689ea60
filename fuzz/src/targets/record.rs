//! Records as they lie in the store. A letter says of which kind: `a` a verification, `b` what is known of a recipient, `c`
//! a message, `d` a table of contacts, `e` a row of it, `f` how a vendor has done.

use std::time::Duration;

use minicbor::{Decode, Encode};
use verigate::clock::Timestamp;
use verigate::contacts::row::Row;
use verigate::contacts::table::Table;
use verigate::messaging::conversion::{Conversion, Measured};
use verigate::messaging::message::Message;
use verigate::store::record;
use verigate::verification::code::Candidate;
use verigate::verification::policy::Limits;
use verigate::verification::recipient_state::RecipientState;
use verigate::verification::verification::Verification;

use crate::targets::choose;

pub(crate) fn run(data: &[u8]) {
    let Some((kind, bytes)) = choose(data, 6) else { return };
    let now = Timestamp::from_millis(1_795_324_560_125);
    match kind {
        0 => {
            if let Some(verification) = read::<Verification>(bytes) {
                used(verification, now);
            }
        }
        1 => {
            if let Some(mut state) = read::<RecipientState>(bytes) {
                let limits = limits();
                let _any = (state.locked_until(&limits, now), state.cool_down(now), state.ends_at(&limits));
                state.add_failure(&limits, now);
                assert!(record::encode(&state).is_ok());
            }
        }
        2 => {
            if let Some(message) = read::<Message>(bytes) {
                assert!(message.text.expose().len() < 8 || !format!("{message:?}").contains(message.text.expose()));
                let _any = (message.created_at(), message.sending.failed());
            }
        }
        3 => {
            if let Some(table) = read::<Table>(bytes) {
                for column in table.columns() {
                    assert!(column.options().count() <= bytes.len());
                }
            }
        }
        4 => drop(read::<Row>(bytes)),
        _ => {
            if let Some(measured) = read::<Measured>(bytes) {
                drop(Conversion::restore(vec![measured]).measured(now));
            }
        }
    }
}

fn limits() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits { cool_downs: vec![hour], cool_down_reset: hour, failures: 10, failure_window: hour, max_sends: 5 }
}

/// What reads can be written, and reads the same then.
fn read<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    let value = record::decode::<T>(bytes).ok()?;
    let written = record::encode(&value).unwrap();
    let again = record::encode(&record::decode::<T>(&written).expect("what we write reads")).unwrap();
    assert_eq!(written, again, "a record that changes by being read");
    Some(value)
}

/// A verification from anywhere can be judged, and cannot be judged for ever.
fn used(mut verification: Verification, now: Timestamp) {
    let code = verification.code().map(|code| code.expose().to_owned());
    if let Some(code) = code.filter(|code| code.len() > 9) {
        assert!(!format!("{verification:?}").contains(&code), "shown");
    }
    let _any = (verification.status(now), verification.decided_at(now), verification.checks_left());
    let wrong = Candidate::parse("~~~~").unwrap();
    let before = verification.checks_used;
    let left = verification.checks_left();
    for _ in 0..left.min(20).saturating_add(1) {
        let _any = verification.check(&wrong, now);
    }
    assert!(verification.checks_used.saturating_sub(before) <= left, "more checks than were left");
    let _any = (verification.next_step_at(), verification.workflow().is_some(), verification.carrier().is_some());
    verification.end_by_time(Timestamp::from_millis(u64::MAX));
    assert!(record::encode(&verification).is_ok());
}
