//! Checks that come again, because their answer was lost or because somebody recorded them: the same one is answered
//! alike and counted once, and any other gains nothing from its key.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::{Code, Status};
use verigate::event::history::EventKind;
use verigate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, CheckVerificationResponse, OnExisting, StartVerificationRequest,
    VerificationStatus,
};

use crate::support::gateway::{
    CONFIG, Gateway, PHONE, Verifications, by_id, by_recipient, cancel, get_verification, judge, reason, start,
    start_now, wrong,
};

type Answer = Result<CheckVerificationResponse, Status>;

/// A check by id with an idempotency key.
fn keyed(id: &str, code: &str, key: &str) -> CheckVerificationRequest {
    CheckVerificationRequest { idempotency_key: key.to_owned(), ..by_id(id, code) }
}

fn keyed_by_recipient(recipient: &str, code: &str, key: &str) -> CheckVerificationRequest {
    CheckVerificationRequest { idempotency_key: key.to_owned(), ..by_recipient(recipient, code) }
}

async fn send(client: &mut Verifications, request: CheckVerificationRequest) -> Answer {
    client.check_verification(request).await.map(tonic::Response::into_inner)
}

async fn outcome(client: &mut Verifications, request: CheckVerificationRequest) -> CheckOutcome {
    send(client, request).await.unwrap().outcome()
}

fn assert_mismatch(answer: Answer) {
    let refused = answer.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "IDEMPOTENCY_MISMATCH"));
}

/// What of an answer is told again, whatever has happened meanwhile.
fn told(answer: &CheckVerificationResponse) -> (CheckOutcome, i32, Option<prost_types::Timestamp>) {
    (answer.outcome(), answer.checks_left, answer.next_check_time)
}

#[tokio::test]
async fn the_check_that_approved_is_approved_again_and_no_other() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let first = send(&mut client, keyed(&id, &code, "k1")).await.unwrap();
    assert_eq!(first.outcome(), CheckOutcome::Approved);
    drop(client);

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    // Longer than the code lived.
    gateway.clock.advance(Duration::from_secs(1800));
    for again in
        [keyed(&id, &code, "k1"), keyed_by_recipient(PHONE, &code, "k1"), keyed(&id, &format!(" {code} "), "k1")]
    {
        assert_eq!(send(&mut client, again).await.unwrap(), first);
    }
    for other in [keyed(&id, &code, "k2"), keyed_by_recipient(PHONE, &code, "K1"), by_id(&id, &code)] {
        assert_eq!(outcome(&mut client, other).await, CheckOutcome::AlreadyApproved);
    }
    let mut stranger = gateway.verifications_as("other.other-secret-of-some-length").await;
    for request in [keyed(&id, &code, "k1"), keyed_by_recipient(PHONE, &code, "k1")] {
        assert_eq!(reason(&send(&mut stranger, request).await.unwrap_err()), "VERIFICATION_NOT_FOUND");
    }
    drop((client, stranger));
    let (_gateway, histories) = gateway.histories(&[id]).await;
    assert_eq!(histories[0].iter().filter(|event| **event == EventKind::Approved).count(), 1, "{histories:?}");
}

#[tokio::test]
async fn a_wrong_check_that_comes_again_is_counted_once() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let mut firsts = Vec::new();
    for turn in 0..5 {
        let request = || keyed(&id, &wrong(&code, turn), &format!("turn-{turn}"));
        let first = send(&mut client, request()).await.unwrap();
        for _ in 0..7 {
            assert_eq!(send(&mut client, request()).await.unwrap(), first);
        }
        assert_eq!(get_verification(&mut client, &id).await.checks_used, turn as i32 + 1);
        firsts.push(told(&first));
    }
    let wrong_codes = [4, 3, 2, 1].map(|left| (CheckOutcome::WrongCode, left, None));
    assert_eq!(firsts[..4], wrong_codes);
    assert_eq!(firsts[4], (CheckOutcome::ChecksExhausted, 0, None));
    drop(client);

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    for (turn, first) in (0..5).zip(firsts) {
        let again = send(&mut client, keyed_by_recipient(PHONE, &wrong(&code, turn), &format!("turn-{turn}"))).await;
        let again = again.unwrap();
        assert_eq!(told(&again), first);
        let verification = again.verification.unwrap();
        assert_eq!((verification.status(), verification.checks_used), (VerificationStatus::ChecksExhausted, 5));
    }
    assert_eq!(outcome(&mut client, keyed(&id, &code, "turn-5")).await, CheckOutcome::ChecksExhausted);
    // Of the ten failures that the recipient may have, five are left.
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(gateway.begin(&mut client, PHONE).await.checks_left, 5);
}

/// The same code typed twice is two checks: whoever names them apart is taken at their word.
#[tokio::test]
async fn the_same_wrong_code_under_other_keys_or_none_is_counted_each_time() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let miss = wrong(&gateway.code(PHONE).await, 0);
    for (request, left) in
        [(keyed(&id, &miss, "a"), 4), (keyed(&id, &miss, "b"), 3), (by_id(&id, &miss), 2), (by_id(&id, &miss), 1)]
    {
        assert_eq!(send(&mut client, request).await.unwrap().checks_left, left);
    }
}

#[tokio::test]
async fn the_check_that_locked_the_recipient_hears_so_again_and_others_the_lock() {
    let limits = "[verification.limits]\nfailures = 2\nfailure_window = \"60s\"\n\n[[tenants]]\nname = \"acme\"";
    let gateway = Gateway::start_with(&CONFIG.replace("[[tenants]]\nname = \"acme\"", limits)).await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let first = send(&mut client, keyed(&id, &wrong(&code, 0), "first")).await.unwrap();
    let locking = send(&mut client, keyed(&id, &wrong(&code, 1), "locking")).await.unwrap();
    assert_eq!((locking.outcome(), locking.checks_left), (CheckOutcome::WrongCode, 0));
    let until = locking.next_check_time;
    assert!(until.is_some());
    // Not judged, and so not remembered.
    let refused = send(&mut client, keyed(&id, &code, "right")).await.unwrap();
    assert_eq!((refused.outcome(), refused.next_check_time), (CheckOutcome::RecipientLocked, until));
    for (known, code) in [(&first, wrong(&code, 0)), (&locking, wrong(&code, 1))] {
        let key = if known == &first { "first" } else { "locking" };
        assert_eq!(told(&send(&mut client, keyed(&id, &code, key)).await.unwrap()), told(known));
    }
    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(outcome(&mut client, keyed(&id, &code, "right")).await, CheckOutcome::Approved);
    assert_eq!(outcome(&mut client, keyed(&id, &code, "right")).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn a_key_with_another_code_is_refused_and_neither_compared_nor_counted() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    assert_eq!(outcome(&mut client, keyed(&id, &wrong(&code, 0), "k")).await, CheckOutcome::WrongCode);
    for turn in 1..20 {
        assert_mismatch(send(&mut client, keyed(&id, &wrong(&code, turn), "k")).await);
        assert_mismatch(send(&mut client, keyed_by_recipient(PHONE, &code, "k")).await);
    }
    let verification = get_verification(&mut client, &id).await;
    assert_eq!((verification.status(), verification.checks_used), (VerificationStatus::Pending, 1));
    assert_eq!(outcome(&mut client, keyed(&id, &wrong(&code, 0), "k")).await, CheckOutcome::WrongCode);
    assert_eq!(outcome(&mut client, keyed(&id, &code, "k2")).await, CheckOutcome::Approved);
}

/// A caller who gives all checks of a person one key would else let others guess at the approval, uncounted.
#[tokio::test]
async fn under_the_key_of_an_approval_nobody_guesses() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    assert_eq!(outcome(&mut client, keyed(&id, &wrong(&code, 0), "before")).await, CheckOutcome::WrongCode);
    assert_eq!(outcome(&mut client, keyed(&id, &code, "k")).await, CheckOutcome::Approved);
    assert_eq!(outcome(&mut client, keyed(&id, &code, "k")).await, CheckOutcome::Approved);
    assert_mismatch(send(&mut client, keyed(&id, &wrong(&code, 0), "k")).await);
    for candidate in [&code, &wrong(&code, 0), &wrong(&code, 1)] {
        assert_eq!(outcome(&mut client, keyed(&id, candidate, "k")).await, CheckOutcome::AlreadyApproved);
    }
    // What else was answered stays answered.
    assert_eq!(outcome(&mut client, keyed(&id, &wrong(&code, 0), "before")).await, CheckOutcome::WrongCode);
    drop(client);
    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    assert_eq!(outcome(&mut client, keyed(&id, &code, "k")).await, CheckOutcome::AlreadyApproved);
}

/// A key is good for its verification: what follows in the same scope has answers of its own.
#[tokio::test]
async fn a_key_means_nothing_to_the_next_verification() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let begin = |on_existing: OnExisting| StartVerificationRequest {
        custom_code: "012345".to_owned(),
        on_existing: on_existing.into(),
        ..start(PHONE)
    };
    let first = start_now(&mut client, begin(OnExisting::Resend)).await.unwrap().id;
    assert_eq!(outcome(&mut client, keyed(&first, "012345", "k")).await, CheckOutcome::Approved);
    let second = start_now(&mut client, begin(OnExisting::Resend)).await.unwrap().id;
    assert_ne!(first, second);
    assert_eq!(outcome(&mut client, keyed_by_recipient(PHONE, "543210", "k")).await, CheckOutcome::WrongCode);
    assert_eq!(get_verification(&mut client, &second).await.checks_used, 1);
    cancel(&mut client, &second).await.unwrap();
    assert_eq!(outcome(&mut client, keyed(&second, "543210", "k")).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut client, &second, "012345").await, CheckOutcome::Canceled);
    assert_eq!(outcome(&mut client, keyed(&first, "012345", "k")).await, CheckOutcome::Approved);
}

/// Sends all at once and counts what they came to.
async fn storm(client: &Verifications, requests: Vec<CheckVerificationRequest>) -> BTreeMap<&'static str, usize> {
    let calls = requests.into_iter().map(|request| {
        let mut client = client.clone();
        tokio::spawn(async move { outcome(&mut client, request).await })
    });
    let mut tally = BTreeMap::new();
    for call in calls.collect::<Vec<_>>() {
        *tally.entry(call.await.unwrap().as_str_name()).or_default() += 1;
    }
    tally
}

/// A client that does not wait for the answer to its first try before it tries again.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_repeats_at_once_one_is_judged_and_all_are_answered_alike() {
    const APPROVED: &str = "CHECK_OUTCOME_APPROVED";
    const ALREADY: &str = "CHECK_OUTCOME_ALREADY_APPROVED";
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let mut ids = Vec::new();
    for round in 0..20 {
        let phone = format!("+6012345{:04}", 1100 + round);
        let id = gateway.begin(&mut client, &phone).await.id;
        let code = gateway.code(&phone).await;
        let miss = vec![keyed(&id, &wrong(&code, 0), "miss"); 64];
        assert_eq!(storm(&client, miss).await, BTreeMap::from([("CHECK_OUTCOME_WRONG_CODE", 64)]), "round {round}");
        assert_eq!(get_verification(&mut client, &id).await.checks_used, 1, "round {round}");
        let (requests, expected) = if round % 2 == 0 {
            (vec![keyed(&id, &code, "k"); 64], BTreeMap::from([(APPROVED, 64)]))
        } else {
            let apart = (0..64).map(|turn| keyed(&id, &code, &format!("k{turn}")));
            (apart.collect(), BTreeMap::from([(APPROVED, 1), (ALREADY, 63)]))
        };
        assert_eq!(storm(&client, requests).await, expected, "round {round}");
        ids.push(id);
    }
    drop(client);
    let (_gateway, histories) = gateway.histories(&ids).await;
    for history in histories {
        let count = |kind| history.iter().filter(|event| **event == kind).count();
        assert_eq!((count(EventKind::Approved), count(EventKind::CheckFailed)), (1, 1), "{history:?}");
    }
}
