//! The attacks that codes of ours withstand, on codes of vendors: a vendor is asked about no more candidates than we allow,
//! whatever the concurrency.

use std::collections::BTreeMap;
use std::time::Duration;

use verigate::event::history::EventKind;
use verigate::proto::messaging::v1::MessageStatus;
use verigate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, CodePolicy, OnExisting, StartVerificationRequest, VerificationStatus,
};

use crate::support::code_maker::{CodeMaker, Kind};
use crate::support::gateway::{
    Verifications, by_id, by_recipient, cancel, eventually, get_verification, judge, reason, resend, retry_after,
    start, start_now,
};
use crate::vendor_codes::{each, house, wrong};

const CONNECTIONS: usize = 4;

type Tally = BTreeMap<&'static str, usize>;

async fn storm(clients: &[Verifications], requests: Vec<CheckVerificationRequest>) -> Tally {
    let calls = requests.into_iter().enumerate().map(|(turn, request)| {
        let mut client = clients[turn % clients.len()].clone();
        tokio::spawn(async move { client.check_verification(request).await.unwrap().into_inner().outcome() })
    });
    let mut tally = Tally::new();
    for call in calls.collect::<Vec<_>>() {
        *tally.entry(call.await.unwrap().as_str_name()).or_default() += 1;
    }
    tally
}

fn tally(counts: &[(CheckOutcome, usize)]) -> Tally {
    counts.iter().map(|(outcome, count)| (outcome.as_str_name(), *count)).collect()
}

fn keyed(id: &str, code: &str, key: &str) -> CheckVerificationRequest {
    CheckVerificationRequest { idempotency_key: key.to_owned(), ..by_id(id, code) }
}

async fn miss(client: &mut Verifications, id: &str, code: &str, turns: std::ops::Range<u32>) -> Vec<CheckOutcome> {
    let mut outcomes = Vec::new();
    for turn in turns {
        outcomes.push(judge(client, id, &wrong(code, turn)).await);
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_wrong_codes_at_once_the_vendor_judges_as_many_as_allowed() {
    for (maker, gateway) in each().await {
        let kind = maker.kind;
        for round in 0..3 {
            let mut clients = Vec::new();
            for _ in 0..if round == 0 { 1 } else { CONNECTIONS } {
                clients.push(gateway.verifications().await);
            }
            let phone = kind.phone(100 + round);
            let id = gateway.begin(&mut clients[0], &phone).await.id;
            let code = maker.code(&phone);
            let before = maker.checks();
            let requests = (0..256).map(|turn| by_id(&id, &wrong(&code, turn))).collect();
            let came = storm(&clients, requests).await;
            let expected = tally(&[(CheckOutcome::WrongCode, 4), (CheckOutcome::ChecksExhausted, 252)]);
            assert_eq!(came, expected, "{kind:?} round {round}");
            assert_eq!(judge(&mut clients[0], &id, &code).await, CheckOutcome::ChecksExhausted);
            assert_eq!(maker.checks() - before, 5, "{kind:?} round {round}");
            let seen = get_verification(&mut clients[0], &id).await;
            assert_eq!((seen.status(), seen.checks_used), (VerificationStatus::ChecksExhausted, 5));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_right_codes_at_once_one_succeeds_and_the_vendor_is_asked_once() {
    let mut histories = Vec::new();
    for (maker, gateway) in each().await {
        let kind = maker.kind;
        let mut ids = Vec::new();
        for round in 0..5 {
            let mut clients = vec![gateway.verifications().await];
            let phone = kind.phone(100 + round);
            let id = gateway.begin(&mut clients[0], &phone).await.id;
            let (code, before) = (maker.code(&phone), maker.checks());
            let came = storm(&clients, vec![by_id(&id, &code); 64]).await;
            let expected = tally(&[(CheckOutcome::Approved, 1), (CheckOutcome::AlreadyApproved, 63)]);
            assert_eq!((came, maker.checks() - before), (expected, 1), "{kind:?} round {round}");
            assert_eq!(get_verification(&mut clients[0], &id).await.checks_used, 0);
            ids.push(id);
        }
        histories.extend(gateway.histories(&ids).await.1);
    }
    for history in histories {
        let count = |kind| history.iter().filter(|event| **event == kind).count();
        assert_eq!((count(EventKind::Approved), count(EventKind::CheckFailed)), (1, 0), "{history:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_among_wrong_ones_is_approved_within_the_allowance_or_not_at_all() {
    let maker = CodeMaker::start(Kind::Octopush).await;
    let gateway = house(&[&maker]).await;
    for round in 0..10 {
        let mut clients = vec![gateway.verifications().await];
        let phone = maker.kind.phone(100 + round);
        let id = gateway.begin(&mut clients[0], &phone).await.id;
        let (code, before) = (maker.code(&phone), maker.checks());
        let candidate = |turn: u32| if turn % 8 == 7 { code.clone() } else { wrong(&code, turn) };
        let came = storm(&clients, (0..64).map(|turn| by_id(&id, &candidate(turn))).collect()).await;
        let times = |outcome: CheckOutcome| came.get(outcome.as_str_name()).copied().unwrap_or_default();
        let asked = maker.checks() - before;
        match get_verification(&mut clients[0], &id).await.status() {
            VerificationStatus::Approved => {
                assert_eq!(times(CheckOutcome::Approved), 1, "{came:?}");
                assert!(times(CheckOutcome::WrongCode) + 1 == asked && asked <= 5, "{asked} {came:?}");
            }
            VerificationStatus::ChecksExhausted => {
                assert_eq!((times(CheckOutcome::Approved), asked), (0, 5), "{came:?}");
            }
            other => panic!("{other:?}: {came:?}"),
        }
    }
}

/// Three scopes allow fifteen checks, but the recipient allows ten, and no vendor is asked about more.
#[tokio::test(flavor = "multi_thread")]
async fn scopes_attacked_at_once_share_the_allowance_of_their_recipient() {
    let maker = CodeMaker::start(Kind::Simpu).await;
    let gateway = house(&[&maker]).await;
    let clients = vec![gateway.verifications().await];
    let mut client = clients[0].clone();
    let (phone, mut ids) = (maker.kind.phone(1), Vec::new());
    for (scope, pause) in [("login", 30), ("reset", 60), ("payment", 0)] {
        let request = StartVerificationRequest { scope: scope.to_owned(), ..start(&phone) };
        ids.push(start_now(&mut client, request).await.unwrap().id);
        gateway.clock.advance(Duration::from_secs(pause));
    }
    let requests = (0..192).map(|turn| by_id(&ids[turn % 3], "000000")).collect();
    let came = storm(&clients, requests).await;
    assert_eq!(maker.checks(), 10, "{came:?}");
    let mut used = 0;
    for id in &ids {
        used += get_verification(&mut client, id).await.checks_used;
        assert_eq!(judge(&mut client, id, "000000").await, CheckOutcome::RecipientLocked);
    }
    assert_eq!((used, came.get(CheckOutcome::Approved.as_str_name())), (10, None));
}

#[tokio::test]
async fn neither_a_resend_nor_a_cancel_nor_another_scope_brings_fresh_guesses() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        assert_eq!(miss(&mut client, &id, &maker.code(&phone), 0..4).await, [CheckOutcome::WrongCode; 4]);
        gateway.clock.advance(Duration::from_secs(30));
        let seen = resend(&mut client, &id).await.unwrap();
        assert_eq!((seen.checks_used, seen.checks_left), (4, 1), "{kind:?}");
        eventually(async || {
            let seen = get_verification(&mut client, &id).await;
            (seen.sends[1].status() == MessageStatus::Sent).then_some(())
        })
        .await;
        let code = maker.code(&phone);
        assert_eq!(miss(&mut client, &id, &code, 0..4).await, [CheckOutcome::ChecksExhausted; 4], "{kind:?}");
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::ChecksExhausted);
        let refused = start_now(&mut client, start(&phone)).await.unwrap_err();
        assert_eq!((&*reason(&refused), retry_after(&refused)), ("COOL_DOWN", Some(Duration::from_secs(60))));

        gateway.clock.advance(Duration::from_secs(60));
        let request = StartVerificationRequest { scope: "reset".to_owned(), ..start(&phone) };
        let id = start_now(&mut client, request).await.unwrap().id;
        miss(&mut client, &id, &maker.code(&phone), 0..4).await;
        cancel(&mut client, &id).await.unwrap();
        gateway.clock.advance(Duration::from_secs(120));
        let last = gateway.begin(&mut client, &phone).await;
        assert_eq!(last.checks_left, 1, "{kind:?}");
        let code = maker.code(&phone);
        miss(&mut client, &last.id, &code, 0..1).await;
        let asked = maker.checks();
        assert_eq!(judge(&mut client, &last.id, &code).await, CheckOutcome::RecipientLocked, "{kind:?}");
        drop(client);

        // The lock survives a restart, in every scope.
        let gateway = gateway.restart().await;
        let mut client = gateway.verifications().await;
        assert_eq!(judge(&mut client, &last.id, &code).await, CheckOutcome::RecipientLocked, "{kind:?}");
        for on_existing in [OnExisting::Resend, OnExisting::Replace] {
            let scope = "payment".to_owned();
            let request = StartVerificationRequest { on_existing: on_existing.into(), scope, ..start(&phone) };
            let refused = start_now(&mut client, request).await.unwrap_err();
            assert_eq!(reason(&refused), "RECIPIENT_LOCKED", "{kind:?}");
        }
        assert_eq!(maker.checks(), asked, "{kind:?}");
    }
}

#[tokio::test]
async fn a_check_that_comes_again_is_answered_alike_and_the_vendor_is_not_asked_again() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        let code = maker.code(&phone);
        let mut send = async |request| client.check_verification(request).await.map(tonic::Response::into_inner);
        let missed = send(keyed(&id, &wrong(&code, 0), "miss")).await.unwrap();
        assert_eq!((missed.outcome(), missed.checks_left), (CheckOutcome::WrongCode, 4), "{kind:?}");
        let right = send(keyed(&id, &code, "right")).await.unwrap();
        assert_eq!(right.outcome(), CheckOutcome::Approved, "{kind:?}");
        let again = send(keyed(&id, &wrong(&code, 0), "miss")).await.unwrap();
        assert_eq!((again.outcome(), again.checks_left), (CheckOutcome::WrongCode, 4), "{kind:?}");
        assert_eq!(send(keyed(&id, &code, "right")).await.unwrap(), right, "{kind:?}");
        assert_eq!(send(keyed(&id, &code, "other")).await.unwrap().outcome(), CheckOutcome::AlreadyApproved);
        for (candidate, key) in [(&code, "miss"), (&wrong(&code, 1), "right")] {
            let refused = send(keyed(&id, candidate, key)).await.unwrap_err();
            assert_eq!(reason(&refused), "IDEMPOTENCY_MISMATCH", "{kind:?}");
        }
        // Who guessed at the approval has ended it.
        assert_eq!(send(keyed(&id, &code, "right")).await.unwrap().outcome(), CheckOutcome::AlreadyApproved);
        assert_eq!(maker.checks(), 2, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_repeats_at_once_one_is_judged_and_all_are_answered_alike() {
    for (maker, gateway) in each().await {
        let (kind, client) = (maker.kind, gateway.verifications().await);
        let clients = [client];
        for round in 0..4 {
            let phone = kind.phone(100 + round);
            let id = gateway.begin(&mut clients[0].clone(), &phone).await.id;
            let (code, before) = (maker.code(&phone), maker.checks());
            let came = storm(&clients, vec![keyed(&id, &wrong(&code, 0), "miss"); 32]).await;
            assert_eq!(came, tally(&[(CheckOutcome::WrongCode, 32)]), "{kind:?}");
            let came = storm(&clients, vec![keyed(&id, &code, "right"); 32]).await;
            assert_eq!(came, tally(&[(CheckOutcome::Approved, 32)]), "{kind:?}");
            assert_eq!(maker.checks() - before, 2, "{kind:?}");
            assert_eq!(get_verification(&mut clients[0].clone(), &id).await.checks_used, 1);
        }
    }
}

#[tokio::test]
async fn another_tenants_verification_is_as_one_that_is_not_there() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        let code = maker.code(&phone);
        let mut stranger = gateway.verifications_as("other.other-secret-of-some-length").await;
        let mut told = Vec::new();
        for target in
            [by_id(&id, &code), by_id("0198c0de-0000-7000-8000-000000000000", &code), by_recipient(&phone, &code)]
        {
            let refused = stranger.check_verification(target).await.unwrap_err();
            told.push((refused.code(), reason(&refused), refused.message().to_owned()));
        }
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        assert_eq!((maker.checks(), get_verification(&mut client, &id).await.checks_used), (0, 0), "{kind:?}");
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved, "{kind:?}");
    }
}

/// Only the exact characters pass, and what can be no code reaches no vendor as a number that reads the same.
#[tokio::test]
async fn candidates_are_taken_as_they_are() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let policy = Some(CodePolicy { max_checks: 10, ..CodePolicy::default() });
        let begun = start_now(&mut client, StartVerificationRequest { policy, ..start(&phone) }).await.unwrap();
        let code = maker.code(&phone);
        for candidate in
            [format!("0{code}"), format!("{code}0"), code[1..].to_owned(), format!("+{code}"), format!("{code}.0")]
        {
            assert_eq!(
                judge(&mut client, &begun.id, &candidate).await,
                CheckOutcome::WrongCode,
                "{kind:?} {candidate}"
            );
        }
        let full_width: String = code.chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap()).collect();
        for candidate in [full_width.as_str(), "", "12 3456", &"1".repeat(65)] {
            let refused = client.check_verification(by_id(&begun.id, candidate)).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{kind:?}");
        }
        assert_eq!(get_verification(&mut client, &begun.id).await.checks_used, 5);
        assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved, "{kind:?}");
    }
}
