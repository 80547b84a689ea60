//! Many calls at once, on one HTTP/2 connection and on several: whatever the order, the counters are exact.

use std::collections::BTreeMap;
use std::time::Duration;

use verigate::event::history::EventKind;
use verigate::proto::verification::v1::{CheckOutcome, CodePolicy, StartVerificationRequest, VerificationStatus};

use crate::support::gateway::{
    Gateway, Verifications, cancel, get_verification, judge, reason, start, start_now, wrong,
};

const ROUNDS: u32 = 20;
const CONNECTIONS: usize = 4;

/// How often each thing was answered.
type Tally<T> = BTreeMap<T, usize>;

/// A recipient of each round's own, to whom everything is delivered.
fn recipient(round: u32) -> String {
    format!("+6012345{:04}", 1100 + round)
}

/// Clients of the round: on one connection in even rounds, on several in odd ones.
async fn clients(gateway: &Gateway, round: u32) -> Vec<Verifications> {
    let mut clients = Vec::new();
    for _ in 0..if round.is_multiple_of(2) { 1 } else { CONNECTIONS } {
        clients.push(gateway.verifications().await);
    }
    clients
}

/// Checks all of `candidates` at once and counts the outcomes. An error of any call fails the test.
async fn storm(clients: &[Verifications], candidates: Vec<(String, String)>) -> Tally<&'static str> {
    let checks = candidates.into_iter().enumerate().map(|(turn, (id, code))| {
        let mut client = clients[turn % clients.len()].clone();
        tokio::spawn(async move { judge(&mut client, &id, &code).await })
    });
    let mut tally = Tally::new();
    for check in checks.collect::<Vec<_>>() {
        *tally.entry(check.await.unwrap().as_str_name()).or_default() += 1;
    }
    tally
}

fn times(tally: &Tally<&'static str>, outcome: CheckOutcome) -> usize {
    tally.get(outcome.as_str_name()).copied().unwrap_or_default()
}

/// A login form that counted attempts after comparing let a guesser make as many as fit in flight (CVE-2024-4629).
#[tokio::test(flavor = "multi_thread")]
async fn of_many_wrong_codes_at_once_only_as_many_as_allowed_are_judged() {
    let gateway = Gateway::start().await;
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let mut clients = clients(&gateway, round).await;
        let phone = recipient(round);
        let id = gateway.begin(&mut clients[0], &phone).await.id;
        let code = gateway.code(&phone).await;
        let candidates = (0..256).map(|turn| (id.clone(), wrong(&code, turn))).collect();
        let tally = storm(&clients, candidates).await;
        // The last of the five that are judged says that it was the last.
        assert_eq!(times(&tally, CheckOutcome::WrongCode), 4, "round {round}: {tally:?}");
        assert_eq!(times(&tally, CheckOutcome::ChecksExhausted), 252, "round {round}: {tally:?}");
        assert_eq!(judge(&mut clients[0], &id, &code).await, CheckOutcome::ChecksExhausted);
        let verification = get_verification(&mut clients[0], &id).await;
        assert_eq!(verification.status(), VerificationStatus::ChecksExhausted);
        assert_eq!((verification.checks_used, verification.checks_left), (5, 0));
        ids.push(id);
    }
    // Of ten failures that a recipient may have in the window, exactly five are left.
    gateway.clock.advance(Duration::from_secs(30));
    let mut client = gateway.verifications().await;
    for round in 0..ROUNDS {
        let policy = CodePolicy { max_checks: 10, ..CodePolicy::default() };
        let request = StartVerificationRequest { policy: Some(policy), ..start(&recipient(round)) };
        assert_eq!(start_now(&mut client, request).await.unwrap().checks_left, 5, "round {round}");
    }
    drop(client);
    let (_gateway, histories) = gateway.histories(&ids).await;
    for history in histories {
        let count = |kind| history.iter().filter(|event| **event == kind).count();
        assert_eq!((count(EventKind::CheckFailed), count(EventKind::ChecksExhausted)), (5, 1), "{history:?}");
    }
}

/// A login that took one code for several sessions, because each request saw it unused (CVE-2026-107276).
#[tokio::test(flavor = "multi_thread")]
async fn of_many_right_codes_at_once_one_succeeds() {
    let gateway = Gateway::start().await;
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let mut clients = clients(&gateway, round).await;
        let phone = recipient(round);
        let id = gateway.begin(&mut clients[0], &phone).await.id;
        let code = gateway.code(&phone).await;
        let tally = storm(&clients, vec![(id.clone(), code); 64]).await;
        assert_eq!(times(&tally, CheckOutcome::Approved), 1, "round {round}: {tally:?}");
        assert_eq!(times(&tally, CheckOutcome::AlreadyApproved), 63, "round {round}: {tally:?}");
        ids.push(id);
    }
    let (_gateway, histories) = gateway.histories(&ids).await;
    for history in histories {
        let approved = history.iter().filter(|event| **event == EventKind::Approved);
        assert_eq!(approved.count(), 1, "{history:?}");
    }
}

/// Right and wrong codes mixed: approved at most once, and never after the checks were used up.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_among_wrong_ones_is_approved_within_the_allowance_or_not_at_all() {
    let gateway = Gateway::start().await;
    for round in 0..ROUNDS {
        let mut clients = clients(&gateway, round).await;
        let phone = recipient(round);
        let id = gateway.begin(&mut clients[0], &phone).await.id;
        let code = gateway.code(&phone).await;
        let candidate = |turn: u32| if turn % 8 == 7 { code.clone() } else { wrong(&code, turn) };
        let tally = storm(&clients, (0..64).map(|turn| (id.clone(), candidate(turn))).collect()).await;
        let judged_wrong = times(&tally, CheckOutcome::WrongCode);
        let verification = get_verification(&mut clients[0], &id).await;
        match verification.status() {
            VerificationStatus::Approved => {
                assert_eq!(times(&tally, CheckOutcome::Approved), 1, "{tally:?}");
                assert!(judged_wrong <= 4, "{tally:?}");
                assert_eq!(times(&tally, CheckOutcome::AlreadyApproved), 63 - judged_wrong, "{tally:?}");
            }
            VerificationStatus::ChecksExhausted => {
                assert_eq!(times(&tally, CheckOutcome::Approved), 0, "{tally:?}");
                assert_eq!(times(&tally, CheckOutcome::ChecksExhausted), 60, "{tally:?}");
            }
            other => panic!("round {round}: {other:?}: {tally:?}"),
        }
    }
}

/// Three scopes of one recipient allow fifteen checks, but the recipient allows ten.
#[tokio::test(flavor = "multi_thread")]
async fn scopes_attacked_at_once_share_the_allowance_of_their_recipient() {
    let gateway = Gateway::start().await;
    for round in 0..ROUNDS {
        let mut clients = clients(&gateway, round).await;
        let phone = recipient(round);
        let mut ids = Vec::new();
        for (scope, pause) in [("login", 30), ("reset", 60), ("payment", 0)] {
            let request =
                StartVerificationRequest { scope: scope.to_owned(), custom_code: "012345".to_owned(), ..start(&phone) };
            ids.push(start_now(&mut clients[0], request).await.unwrap().id);
            gateway.clock.advance(Duration::from_secs(pause));
        }
        let candidates = (0..192).map(|turn| (ids[turn as usize % 3].clone(), wrong("012345", turn))).collect();
        let tally = storm(&clients, candidates).await;
        let mut used = 0;
        for id in &ids {
            used += get_verification(&mut clients[0], id).await.checks_used;
            assert_eq!(judge(&mut clients[0], id, "012345").await, CheckOutcome::RecipientLocked);
        }
        assert_eq!(used, 10, "round {round}: {tally:?}");
        let refused = times(&tally, CheckOutcome::ChecksExhausted) + times(&tally, CheckOutcome::RecipientLocked);
        assert_eq!(times(&tally, CheckOutcome::WrongCode) + refused, 192, "round {round}: {tally:?}");
    }
}

/// A person who presses twice, and a pumper who presses a hundred times, cause one message.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_starts_at_once_one_sends() {
    let gateway = Gateway::start().await;
    for round in 0..ROUNDS {
        let clients = clients(&gateway, round).await;
        let phone = recipient(round);
        let starts = (0..48).map(|turn| {
            let mut client = clients[turn % clients.len()].clone();
            let request = start(&phone);
            tokio::spawn(async move { start_now(&mut client, request).await })
        });
        let mut tally = Tally::<String>::new();
        for start in starts.collect::<Vec<_>>() {
            let answer = start.await.unwrap();
            *tally.entry(answer.map_or_else(|refused| reason(&refused), |_| "started".to_owned())).or_default() += 1;
        }
        assert_eq!(tally, Tally::from([("started".to_owned(), 1), ("COOL_DOWN".to_owned(), 47)]), "round {round}");
        assert_eq!(gateway.inbox(&phone).await.len(), 1);
    }
}

/// Giving up and proving at the same time: one of them wins, and both callers hear the same.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_cancel_and_a_right_code_one_wins() {
    let gateway = Gateway::start().await;
    for round in 0..ROUNDS {
        let mut clients = clients(&gateway, round).await;
        let phone = recipient(round);
        let id = gateway.begin(&mut clients[0], &phone).await.id;
        let code = gateway.code(&phone).await;
        let (mut one, mut other) = (clients[0].clone(), clients[clients.len() - 1].clone());
        let checking = tokio::spawn({
            let id = id.clone();
            async move { judge(&mut one, &id, &code).await }
        });
        let canceling = tokio::spawn({
            let id = id.clone();
            async move { cancel(&mut other, &id).await }
        });
        let (checked, canceled) = (checking.await.unwrap(), canceling.await.unwrap());
        let status = get_verification(&mut clients[0], &id).await.status();
        match canceled {
            Ok(_) => {
                assert_eq!((checked, status), (CheckOutcome::Canceled, VerificationStatus::Canceled));
            }
            Err(refused) => {
                assert_eq!(reason(&refused), "VERIFICATION_NOT_PENDING");
                assert_eq!((checked, status), (CheckOutcome::Approved, VerificationStatus::Approved));
            }
        }
    }
}
