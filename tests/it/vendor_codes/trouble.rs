//! Vendors that are down, slow, or answer nothing that makes sense, when a code is made and when it is checked.

use std::time::Duration;

use tonic::{Code, Status};
use verigate::proto::messaging::v1::{FailureReason, MessageStatus};
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest, VerificationStatus};

use crate::support::code_maker::{CodeMaker, Kind, State};
use crate::support::gateway::{
    Gateway, check, eventually, get_verification, judge, reason, resend, retry_after, start,
};
use crate::support::vendor_server::{Fault, RETRY_AFTER};
use crate::vendor_codes::{config, each, house, wrong};

fn assert_away(refused: &Status, wait: Duration) {
    let told = (refused.code(), &*reason(refused), retry_after(refused));
    assert_eq!(told, (Code::Unavailable, "VENDOR_UNAVAILABLE", Some(wait)), "{refused:?}");
}

const SOON: Duration = Duration::from_secs(1);

// === at the start ===

#[tokio::test]
async fn a_vendor_that_is_down_is_passed_over_for_the_next() {
    for kind in Kind::ALL {
        let (first, second) = (CodeMaker::start(kind).await, CodeMaker::start(Kind::Octopush).await);
        let gateway = house(&[&first, &second]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        for (number, fault) in [(1, Fault::Refuse), (2, CodeMaker::too_often())] {
            first.set_fault(fault).await;
            let phone = kind.phone(number);
            let begun = gateway.begin(&mut client, &phone).await;
            assert_eq!((begun.sends[0].vendor.as_str(), begun.sends[0].attempts), ("maker1", 2), "{kind:?}");
            assert_eq!(judge(&mut client, &begun.id, &second.code(&phone)).await, CheckOutcome::Approved, "{kind:?}");
        }
        assert_eq!((first.checks(), first.made().len()), (0, 0));
        // The second may fail as well: then nothing can have reached the person.
        second
            .set_fault(Fault::Answer(crate::support::vendor_server::Answer::json(
                400,
                serde_json::json!({"code": 106, "message": "bad sender"}),
            )))
            .await;
        first.set_fault(Fault::Refuse).await;
        gateway.clock.advance(Duration::from_secs(3600));
        let request = StartVerificationRequest { scope: "again".to_owned(), ..start(&phone) };
        let begun = client.start_verification(request).await.unwrap().into_inner().verification.unwrap();
        let ended = eventually(async || {
            let seen = get_verification(&mut client, &begun.id).await;
            // While it waits for its next round: a call under way would time out.
            if seen.sends[0].status() == MessageStatus::Queued {
                gateway.clock.advance(Duration::from_secs(1));
            }
            (seen.status() != VerificationStatus::Pending).then_some(seen)
        })
        .await;
        assert_eq!(
            (ended.status(), ended.sends[0].status()),
            (VerificationStatus::Undeliverable, MessageStatus::Rejected)
        );
        assert_eq!(judge(&mut client, &begun.id, "123456").await, CheckOutcome::Undeliverable);
    }
}

/// It perhaps made the first code, surely the second, and only the newest counts.
#[tokio::test]
async fn a_start_in_doubt_is_made_once_more_and_the_newest_code_counts() {
    for kind in Kind::ALL {
        let other = if kind == Kind::Simpu { Kind::Octopush } else { Kind::Simpu };
        let (first, second) = (CodeMaker::start(kind).await, CodeMaker::start(other).await);
        let gateway = house(&[&first, &second]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        first.set_fault(Fault::ServerError).await;
        let begun = gateway.begin(&mut client, &phone).await;
        assert_eq!(
            (begun.sends[0].vendor.as_str(), begun.sends[0].status()),
            ("maker1", MessageStatus::Sent),
            "{kind:?}"
        );
        first.set_fault(None).await;
        assert_eq!((first.made().len(), second.made().len()), (1, 1));
        assert_eq!(judge(&mut client, &begun.id, &first.code(&phone)).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!(judge(&mut client, &begun.id, &second.code(&phone)).await, CheckOutcome::Approved, "{kind:?}");
        assert_eq!((first.checks(), second.checks()), (0, 2), "{kind:?}");
    }
}

#[tokio::test]
async fn a_code_of_which_nobody_knows_whether_it_was_made_is_checked_where_it_needs_no_name() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        maker.set_fault(Fault::ServerError).await;
        let begun = gateway.begin(&mut client, &phone).await;
        let send = &begun.sends[0];
        let doubt = (MessageStatus::Unknown, FailureReason::VendorNoClearAnswer, 2);
        assert_eq!((send.status(), send.reason(), send.attempts), doubt, "{kind:?}");
        maker.set_fault(None).await;
        let code = maker.code(&phone);
        if matches!(kind, Kind::Esms | Kind::Hasun) {
            assert_eq!(judge(&mut client, &begun.id, &wrong(&code, 0)).await, CheckOutcome::WrongCode, "{kind:?}");
            assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved, "{kind:?}");
            continue;
        }
        // The vendor's name for it got lost, so nobody can ask about it: no guess is free, and a new code helps.
        assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!((maker.checks(), get_verification(&mut client, &begun.id).await.checks_used), (0, 1), "{kind:?}");
        gateway.clock.advance(Duration::from_secs(30));
        resend(&mut client, &begun.id).await.unwrap();
        let right = eventually(async || {
            let seen = get_verification(&mut client, &begun.id).await;
            (seen.sends[1].status() == MessageStatus::Sent).then(|| maker.code(&phone))
        })
        .await;
        assert_eq!(judge(&mut client, &begun.id, &right).await, CheckOutcome::Approved, "{kind:?}");
    }
}

/// A start that stays without an answer may have made a code, but we do not know its name yet.
#[tokio::test]
async fn a_check_that_comes_before_the_vendor_has_answered_is_not_counted() {
    let maker = CodeMaker::start(Kind::Octopush).await;
    let gateway = house(&[&maker]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    maker.set_fault(Fault::Silence).await;
    let begun = client.start_verification(start(&phone)).await.unwrap().into_inner().verification.unwrap();
    eventually(async || (maker.server.requests().len() == 1).then_some(())).await;
    assert_away(&check(&mut client, &begun.id, "123456").await.unwrap_err(), SOON);
    assert_eq!(get_verification(&mut client, &begun.id).await.checks_used, 0);
}

// === at the check ===

#[tokio::test]
async fn a_vendor_that_was_surely_not_asked_costs_no_check() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        let code = maker.code(&phone);
        for _ in 0..12 {
            for (fault, wait) in [(Fault::Refuse, SOON), (CodeMaker::too_often(), RETRY_AFTER)] {
                maker.set_fault(fault).await;
                for candidate in [&code, &wrong(&code, 0)] {
                    assert_away(&check(&mut client, &id, candidate).await.unwrap_err(), wait);
                }
            }
        }
        maker.set_fault(None).await;
        let seen = get_verification(&mut client, &id).await;
        assert_eq!(
            (seen.status(), seen.checks_used, seen.checks_left),
            (VerificationStatus::Pending, 0, 5),
            "{kind:?}"
        );
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved, "{kind:?}");
    }
}

/// Whatever it looks like, and also when the candidate is right.
#[tokio::test]
async fn an_answer_that_is_not_clear_is_no_approval_and_stays_counted() {
    let elsewhere = CodeMaker::start(Kind::Simpu).await;
    for kind in Kind::ALL {
        for (number, fault) in [
            Fault::ServerError,
            Fault::Reset,
            Fault::BreakOff,
            Fault::Html,
            Fault::NotUtf8,
            Fault::Huge,
            Fault::Redirect(elsewhere.server.url()),
            Fault::Echo(200),
            Fault::Echo(404),
            Fault::Echo(401),
        ]
        .into_iter()
        .enumerate()
        {
            let maker = CodeMaker::start(kind).await;
            let gateway = house(&[&maker]).await;
            let (phone, mut client) = (kind.phone(number as u32), gateway.verifications().await);
            let id = gateway.begin(&mut client, &phone).await.id;
            let code = maker.code(&phone);
            maker.set_fault(fault.clone()).await;
            let case = format!("{kind:?} {fault:?}");
            assert_away(&check(&mut client, &id, &code).await.unwrap_err(), SOON);
            let seen = get_verification(&mut client, &id).await;
            assert_eq!((seen.status(), seen.checks_used), (VerificationStatus::Pending, 1), "{case}");
            for turn in 0..4 {
                assert!(check(&mut client, &id, &wrong(&code, turn)).await.is_err(), "{case}");
            }
            // All were used up so, and no vendor is asked any more.
            maker.set_fault(None).await;
            maker.set_all(State::Live);
            let asked = maker.server.requests().len();
            assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::ChecksExhausted, "{case}");
            assert_eq!(maker.server.requests().len(), asked, "{case}");
        }
    }
    assert_eq!(elsewhere.server.requests(), [], "nothing goes elsewhere");
}

/// Of which nobody can tell, because the vendor never answered.
#[tokio::test]
async fn a_check_without_an_answer_ends_in_time_and_stays_counted() {
    let maker = CodeMaker::start(Kind::Hasun).await;
    let gateway = house(&[&maker]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let id = gateway.begin(&mut client, &phone).await.id;
    let code = maker.code(&phone);
    maker.set_fault(Fault::Silence).await;
    let asked = maker.server.requests().len();
    let checking = tokio::spawn({
        let (mut client, id, code) = (client.clone(), id.clone(), code.clone());
        async move { check(&mut client, &id, &code).await }
    });
    eventually(async || (maker.server.requests().len() > asked).then_some(())).await;
    assert_eq!(get_verification(&mut client, &id).await.checks_used, 1, "counted before it is asked about");
    gateway.clock.advance(Duration::from_secs(10));
    assert_away(&checking.await.unwrap().unwrap_err(), SOON);
    maker.set_fault(None).await;
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved);
    assert_eq!(get_verification(&mut client, &id).await.checks_used, 1);
}

/// While its breaker is open nothing is written at all.
#[tokio::test]
async fn a_vendor_that_is_given_a_rest_is_not_asked_and_nothing_is_counted() {
    let maker = CodeMaker::start(Kind::Octopush).await;
    let text = config(&[&maker], "")
        .replace("breaker = { in_a_row = 0, share = 0 }", "breaker = { in_a_row = 3, pause = \"20s\" }");
    let gateway = Gateway::start_with(&text).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let id = gateway.begin(&mut client, &phone).await.id;
    let code = maker.code(&phone);
    maker.set_fault(Fault::Refuse).await;
    for _ in 0..3 {
        assert_away(&check(&mut client, &id, &code).await.unwrap_err(), SOON);
    }
    maker.set_fault(None).await;
    let asked = maker.server.requests().len();
    assert_away(&check(&mut client, &id, &code).await.unwrap_err(), Duration::from_secs(20));
    assert_eq!(maker.server.requests().len(), asked);
    gateway.clock.advance(Duration::from_secs(20));
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved);
}
