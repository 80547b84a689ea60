//! Attacks that are the same on every surface, each written once over [`Client`] and run on all that can express it. What
//! cannot says why in [`left_out`]. The numbers are those of the list of attacks in `matrix.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use verigate::proto::verification::v1::{StartVerificationRequest, VerificationStatus};

use crate::attacks::canary::{assert_clean, files};
use crate::attacks::matrix::left_out;
use crate::attacks::surfaces::{ACME, Begun, Client, OTHER, Surface, Verdict, house, number};
use crate::support::gateway::{Gateway, reason, start, start_now, wrong};
use crate::support::http::get;
use crate::support::log::Log;

/// Most checks of a verification, and most failures of a recipient.
pub(crate) const CHECKS: i32 = 5;
pub(crate) const FAILURES: i32 = 10;

/// The surfaces that can express these attacks.
pub(crate) fn surfaces<const N: usize>(attacks: [u32; N]) -> impl Iterator<Item = Surface> {
    let can = move |surface: &Surface| attacks.iter().all(|attack| left_out(*attack, *surface).is_none());
    Surface::ALL.into_iter().filter(can)
}

pub(crate) async fn client(gateway: &Gateway, surface: Surface) -> Client {
    Client::new(gateway, surface, ACME).await
}

/// A code of another tenant or turn, never the right one. Six digits without a zero at the beginning.
pub(crate) fn other_code(code: &str, turn: usize) -> String {
    let other = wrong(code, turn as u32);
    match other.strip_prefix('0') {
        Some(rest) => format!("9{rest}").replace(code, "111111"),
        None => other,
    }
}

/// Attacks 3, 4 and 5: whatever is started anew, a recipient has its ten failures and no more.
#[tokio::test]
async fn starting_again_brings_no_fresh_guesses() {
    for surface in surfaces([3, 4]) {
        let gateway = house().await;
        let client = client(&gateway, surface).await;
        let phone = number(1);
        let mut used = 0;
        for pause in [30, 60] {
            let begun = client.start(&phone, None).await.unwrap();
            let code = gateway.code(&phone).await;
            for turn in 0..7 {
                assert!(client.check(&begun, &other_code(&code, turn)).await != Verdict::Right);
            }
            used += client.newest(&phone).await.unwrap().checks_used;
            assert!(client.check(&begun, &code).await != Verdict::Right, "{surface:?}: after its last check");
            assert!(client.start(&phone, None).await.is_err(), "{surface:?}: within the cool-down");
            gateway.clock.advance(Duration::from_secs(pause));
        }
        assert_eq!(used, FAILURES, "{surface:?}");
        let sent = gateway.inbox(&phone).await.len();
        for other in Surface::ALL {
            assert!(client.at(other).start(&phone, None).await.is_err(), "{other:?} starts what {surface:?} locked");
        }
        let scoped = StartVerificationRequest { scope: "payment".to_owned(), ..start(&phone) };
        let refused = start_now(&mut gateway.verifications().await, scoped).await.unwrap_err();
        assert_eq!(reason(&refused), "RECIPIENT_LOCKED", "{surface:?}");
        assert_eq!(gateway.inbox(&phone).await.len(), sent, "{surface:?}");
    }
}

/// Attack 6: one counter, whatever the way in.
#[tokio::test]
async fn guesses_over_all_surfaces_count_together() {
    let gateway = house().await;
    assert_eq!(surfaces([6]).count(), Surface::ALL.len(), "all of them stand in one of the orders below");
    for (turn, dialect) in [Surface::Esms, Surface::Hasun].into_iter().enumerate() {
        let phone = number(turn);
        let grpc = client(&gateway, Surface::Grpc).await;
        let request = StartVerificationRequest {
            scope: dialect.scope().to_owned(),
            custom_code: "480913".to_owned(),
            ..start(&phone)
        };
        let id = start_now(&mut gateway.verifications().await, request).await.unwrap().id;
        let order = [Surface::Grpc, dialect, Surface::Json, Surface::Octopush, Surface::Simpu];
        for (used, surface) in order.into_iter().enumerate() {
            let begun = Begun { phone: phone.clone(), name: surface.name_of(&id) };
            let verdict = grpc.at(surface).check(&begun, &other_code("480913", used)).await;
            assert!(matches!(verdict, Verdict::Wrong | Verdict::Over), "{surface:?}: {verdict:?}");
            assert_eq!(grpc.newest(&phone).await.unwrap().checks_used, used as i32 + 1, "{surface:?}");
        }
        for surface in order {
            let begun = Begun { phone: phone.clone(), name: surface.name_of(&id) };
            let verdict = grpc.at(surface).check(&begun, "480913").await;
            assert!(matches!(verdict, Verdict::Wrong | Verdict::Over), "{surface:?}: {verdict:?}");
        }
        assert_eq!(grpc.newest(&phone).await.unwrap().status(), VerificationStatus::ChecksExhausted);
    }
}

/// Attack 9.
#[tokio::test]
async fn a_code_works_once_and_again_under_its_key() {
    let gateway = house().await;
    for (turn, surface) in surfaces([9]).enumerate() {
        let client = client(&gateway, surface).await;
        for (place, key) in [None, Some("the-check")].into_iter().enumerate() {
            let begun = client.start(&number(2 * turn + place), None).await.unwrap();
            let code = json!(gateway.code(&begun.phone).await);
            assert_eq!(client.check_with(&begun, &code, key).await, Verdict::Right, "{surface:?}");
            if key.is_some() {
                assert_eq!(client.check_with(&begun, &code, key).await, Verdict::Right, "{surface:?}: the same check");
            }
            let again = client.check_with(&begun, &code, None).await;
            assert!(matches!(again, Verdict::Over | Verdict::Wrong), "{surface:?}: {again:?}");
            let other_key = client.check_with(&begun, &code, Some("another")).await;
            assert!(matches!(other_key, Verdict::Over | Verdict::Wrong), "{surface:?}: {other_key:?}");
        }
    }
}

/// Attacks 10 and 11: another tenant's code is as unknown as any, and costs its owner nothing.
#[tokio::test]
async fn tenants_know_nothing_of_each_other() {
    let gateway = house().await;
    for (turn, surface) in surfaces([10, 11]).enumerate() {
        let (ours, theirs) = (client(&gateway, surface).await, Client::new(&gateway, surface, OTHER).await);
        let (phone, nobodys) = (number(2 * turn), number(2 * turn + 1));
        let begun = ours.start(&phone, None).await.unwrap();
        let code = gateway.code(&phone).await;
        // An id of the same form that nobody has.
        let last = if begun.name.ends_with('0') { "1" } else { "0" };
        let strange = format!("{}{last}", &begun.name[..begun.name.len().saturating_sub(1)]);
        let unknown = theirs.check(&Begun { phone: nobodys, name: strange }, &code).await;
        for _ in 0..7 {
            assert_eq!(theirs.check(&begun, &code).await, unknown, "{surface:?}");
        }
        assert!(unknown != Verdict::Right, "{surface:?}");
        assert_eq!(ours.newest(&phone).await.unwrap().checks_used, 0, "{surface:?}");

        let their_begun = theirs.start(&phone, None).await.unwrap();
        let their_code = gateway.code(&phone).await;
        if their_code != code {
            assert!(ours.check(&begun, &their_code).await != Verdict::Right, "{surface:?}: codes swapped");
            assert!(theirs.check(&their_begun, &code).await != Verdict::Right, "{surface:?}: codes swapped");
        }
        assert_eq!(ours.check(&begun, &code).await, Verdict::Right, "{surface:?}");
        assert_eq!(theirs.check(&their_begun, &their_code).await, Verdict::Right, "{surface:?}");
    }
}

/// Attacks 12 and 13: what is not exactly the code is not the code, whatever its type, and counts at most once.
#[tokio::test]
async fn only_its_own_characters_are_the_code() {
    let gateway = house().await;
    let mut turn = 0;
    for surface in surfaces([12]) {
        let client = client(&gateway, surface).await;
        let candidates = [
            json!("12345"),
            json!("+012345"),
            json!("1.2345e4"),
            json!("0x3039"),
            json!("0123450"),
            json!("０１２３４５"),
            json!("٠١٢٣٤٥"),
            json!("012 345"),
            json!("012345\u{0}"),
            json!("\u{202e}543210"),
            json!("012\u{200b}345"),
            json!(12345),
            json!(12345.0),
            json!(null),
            json!([]),
            json!(["012345"]),
            json!({"code": "012345"}),
            json!(["000000", "012345"]),
            json!(true),
            json!(""),
            json!("012345".repeat(10_000)),
            json!("012345,111111"),
        ];
        for candidate in candidates {
            turn += 1;
            let phone = number(turn);
            let scope = surface.scope().to_owned();
            let request = StartVerificationRequest { scope, custom_code: "012345".to_owned(), ..start(&phone) };
            let id = start_now(&mut gateway.verifications().await, request).await.unwrap().id;
            let begun = Begun { phone: phone.clone(), name: surface.name_of(&id) };
            let shown: String = candidate.to_string().chars().take(30).collect();
            let verdict = client.check_with(&begun, &candidate, None).await;
            assert!(verdict != Verdict::Right, "{surface:?} takes {shown}");
            if let Verdict::Refused(told) = &verdict {
                assert!(!told.contains("012345"), "{surface:?} repeats {shown}: {told}");
            }
            assert!(client.newest(&phone).await.unwrap().checks_used <= 1, "{surface:?} counts {shown} twice");
            assert_eq!(client.check(&begun, " 012345\r\n").await, Verdict::Right, "{surface:?} after {shown}");
        }
    }
}

/// Attack 13: checks that come one behind the other on a connection, before any is answered.
#[tokio::test]
async fn pipelined_guesses_are_each_counted() {
    let gateway = house().await;
    for (turn, surface) in surfaces([13]).enumerate() {
        let client = client(&gateway, surface).await;
        let begun = client.start(&number(turn), None).await.unwrap();
        let code = gateway.code(&begun.phone).await;
        let mut requests = String::new();
        for turn in 0..12 {
            let (method, path, body) = client.check_call(&begun, &json!(other_code(&code, turn)));
            let (body, last) = (body.to_string(), if turn == 11 { "Connection: close\r\n" } else { "" });
            let fields = client.fields(None).join("\r\n");
            let length = body.len();
            requests +=
                &format!("{method} {path} HTTP/1.1\r\n{fields}\r\n{last}Content-Length: {length}\r\n\r\n{body}");
        }
        let mut stream = TcpStream::connect(gateway.addresses.http).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 ").count(), 12, "{surface:?}");
        assert_eq!(client.newest(&begun.phone).await.unwrap().checks_used, CHECKS, "{surface:?}");
        assert!(client.check(&begun, &code).await != Verdict::Right, "{surface:?}");
    }
}

/// Attack 17: a number is one recipient however it is written, or is refused; limits find it either way.
#[tokio::test]
async fn a_number_is_one_recipient_or_none() {
    let gateway = house().await;
    let mut turn = 0;
    for surface in surfaces([17]) {
        let client = client(&gateway, surface).await;
        for spelling in [
            "N",
            "+N",
            "00N",
            "+94 77-L",
            "tel:+N",
            "+N;ext=5",
            "+94\u{2010}77\u{2011}L",
            "+N\0",
            "\u{202e}+N",
            "0094 (77) L",
            "+N ",
            "＋N",
            "+N,+94771000101",
            "+94770L",
            "\u{200f}N",
            "+N#",
        ] {
            turn += 1;
            let phone = number(turn);
            let written = spelling.replace('N', &phone[1..]).replace('L', &phone[5..]);
            let started = client.start(&written, None).await;
            let sent = gateway.inbox(&phone).await.len();
            assert_eq!(sent, usize::from(started.is_ok()), "{surface:?} and {spelling:?}: {started:?}");
            let after = start_now(&mut gateway.verifications().await, start(&phone)).await;
            match (started, after) {
                (Ok(_), Err(refused)) => assert_eq!(reason(&refused), "COOL_DOWN", "{surface:?} and {spelling:?}"),
                (Ok(_), Ok(_)) => panic!("{surface:?} and {spelling:?}: another recipient"),
                (Err(_), after) => assert!(after.is_ok(), "{surface:?} and {spelling:?}: refused, and counted"),
            }
        }
    }
}

/// Attacks 14 and 15: what was sent and tried is in no answer, log, metric or file, whichever way it came in.
#[tokio::test]
async fn codes_are_told_to_nobody_on_any_surface() {
    const TRIED: &str = "CanaryWrongCode0815";
    let log = Log::start("trace");
    let gateway = house().await;
    let mut codes = vec![TRIED.to_owned(), "acme-secret-of-some-length".to_owned()];
    for (turn, surface) in surfaces([14, 15]).enumerate() {
        let client = client(&gateway, surface).await;
        let (phone, mut told) = (number(turn), String::new());
        if surface == Surface::Grpc {
            told += &format!("{:?}", client.start(&phone, None).await);
        } else {
            let answer = client.send_start(&phone, None).await;
            told += &format!("{} {}", answer.head, if surface == Surface::Hasun { "" } else { &answer.body });
        }
        let id = client.newest(&phone).await.unwrap().id;
        let code = gateway.code(&phone).await;
        let begun = Begun { phone: phone.clone(), name: surface.name_of(&id) };
        for candidate in [
            json!(TRIED),
            json!(other_code(&code, 3)),
            json!([&code]),
            json!({"code": &code}),
            json!(&code),
            json!(&code),
        ] {
            told += &match surface {
                Surface::Grpc => format!("{:?}", client.check_with(&begun, &candidate, None).await),
                _ => {
                    let (method, path, body) = client.check_call(&begun, &candidate);
                    let answer = client.post(method, &path, None, &body).await;
                    format!("{} {}", answer.head, answer.body)
                }
            };
        }
        told += &format!("{:?}", client.newest(&phone).await);
        // Six digits may stand in a longer run of digits by chance.
        let runs: BTreeSet<_> = told.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        assert!(!runs.contains(code.as_str()), "{surface:?} tells the code: {told}");
        assert_clean(&format!("an answer of {surface:?}"), told.as_bytes(), &codes);
        // In texts a code stands beside words, and so it does where a text is logged. Where it is all of the text, as on one
        // surface, its digits stand in any long run of digits by chance.
        let text = gateway.inbox(&phone).await[0]["text"].as_str().unwrap().to_owned();
        codes.extend(Some(text).filter(|text| text.contains(char::is_alphabetic)));
    }
    let metrics = get(gateway.addresses.admin, "/metrics", &[&format!("Host: {}", gateway.addresses.admin)]).await;
    let gateway = gateway.restart().await;
    assert_clean("the log", &log.bytes(), &codes);
    assert_clean("the metrics", metrics.body.as_bytes(), &codes);
    assert_clean("the store", &files(&gateway.data()), &codes);
}

/// Values that are no value of a candidate's type must not become one by being written differently.
#[test]
fn wrong_codes_are_never_the_right_one() {
    for code in ["000000", "111111", "999999", "012345", "899999", "099999"] {
        let others: Vec<Value> = (0..256).map(|turn| json!(other_code(code, turn))).collect();
        assert!(!others.contains(&json!(code)), "{code}");
    }
}
