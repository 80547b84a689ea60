//! Many calls at once, on every surface: whatever the order, one code is taken once, checks are counted exactly, and one
//! key sends one message.

use std::collections::BTreeSet;

use verigate::proto::verification::v1::VerificationStatus;

use crate::attacks::everywhere::{CHECKS, client, other_code, surfaces};
use crate::attacks::surfaces::{Begun, Client, Surface, Verdict, house, number};

/// How many call at once, in turn.
const WIDTHS: [usize; 8] = [2, 4, 8, 16, 32, 64, 128, 256];

/// How many call at once, round for round: 200 rounds. Over gRPC as many at each width; surfaces over HTTP, which open a
/// connection for every call and share everything behind their parsers with it, meet the wide ones less often.
fn rounds(surface: Surface) -> impl Iterator<Item = usize> {
    let each = if surface == Surface::Grpc { [25; 8] } else { [100, 50, 25, 12, 6, 4, 2, 1] };
    WIDTHS.into_iter().zip(each).flat_map(|(width, rounds)| std::iter::repeat_n(width, rounds))
}

/// Makes all of these checks at once.
async fn storm(client: &Client, begun: &Begun, candidates: impl Iterator<Item = String>) -> Vec<Verdict> {
    let checks = candidates.map(|candidate| {
        let (client, begun) = (client.clone(), begun.clone());
        tokio::spawn(async move { client.check(&begun, &candidate).await })
    });
    let mut verdicts = Vec::new();
    for check in checks.collect::<Vec<_>>() {
        verdicts.push(check.await.unwrap());
    }
    verdicts
}

fn times(verdicts: &[Verdict], verdict: &Verdict) -> usize {
    verdicts.iter().filter(|one| *one == verdict).count()
}

/// Attack 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_wrong_codes_at_once_as_many_as_allowed_are_judged() {
    let gateway = house().await;
    let mut turn = 0;
    for surface in surfaces([1]) {
        let client = client(&gateway, surface).await;
        for width in rounds(surface) {
            turn += 1;
            let begun = client.start(&number(turn), None).await.unwrap();
            let code = gateway.code(&begun.phone).await;
            let verdicts = storm(&client, &begun, (0..width).map(|turn| other_code(&code, turn))).await;
            assert_eq!(times(&verdicts, &Verdict::Right), 0, "{surface:?}, {width} at once");
            assert!(
                !verdicts.iter().any(|verdict| matches!(verdict, Verdict::Refused(_))),
                "{surface:?}: {verdicts:?}"
            );
            let verification = client.newest(&begun.phone).await.unwrap();
            assert_eq!(verification.checks_used, CHECKS.min(width as i32), "{surface:?}, {width} at once");
            let is_right = client.check(&begun, &code).await == Verdict::Right;
            assert_eq!(is_right, (width as i32) < CHECKS, "{surface:?}: the right code after {width} wrong ones");
        }
    }
}

/// Attack 2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_right_codes_at_once_one_is_taken() {
    let gateway = house().await;
    let mut turn = 0;
    for surface in surfaces([2]) {
        let client = client(&gateway, surface).await;
        for width in rounds(surface) {
            turn += 1;
            let begun = client.start(&number(turn), None).await.unwrap();
            let code = gateway.code(&begun.phone).await;
            let verdicts = storm(&client, &begun, (0..width).map(|_| code.clone())).await;
            assert_eq!(times(&verdicts, &Verdict::Right), 1, "{surface:?}, {width} at once: {verdicts:?}");
            let verification = client.newest(&begun.phone).await.unwrap();
            assert_eq!((verification.status(), verification.checks_used), (VerificationStatus::Approved, 0));
        }
    }
}

/// Attack 20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_starts_with_one_key_at_once_one_sends() {
    let gateway = house().await;
    let mut turn = 0;
    for surface in surfaces([20]) {
        let client = client(&gateway, surface).await;
        for (round, width) in rounds(surface).enumerate() {
            turn += 1;
            let (phone, key) = (number(turn), format!("{surface:?}-{width}-{round}"));
            let starts = (0..width).map(|_| {
                let (client, phone, key) = (client.clone(), phone.clone(), key.clone());
                tokio::spawn(async move { client.start(&phone, Some(&key)).await })
            });
            let mut names = BTreeSet::new();
            for start in starts.collect::<Vec<_>>() {
                // Who comes while the first is under way is told so, or waits for its answer.
                names.extend(start.await.unwrap().map(|begun| begun.name));
            }
            assert_eq!(names.len(), 1, "{surface:?}, {width} at once: {names:?}");
            assert_eq!(gateway.inbox(&phone).await.len(), 1, "{surface:?}, {width} at once");
            let again = client.start(&phone, Some(&key)).await.unwrap();
            assert!(names.contains(&again.name), "{surface:?}: the same answer later");
            let other = client.start(&number(2_999), Some(&key)).await;
            assert!(other.is_err(), "{surface:?}: the key for another number");
        }
    }
    assert_eq!(gateway.inbox(&number(2_999)).await.len(), 0);
}
