//! Whoever can reach the receipt listener and says what became of messages: strangers, a vendor that speaks of what is
//! not its own, and calls that come twice, too early, out of order, or about nothing.

use std::time::Duration;

use secrecy::ExposeSecret;
use verigate::clock::Clock;
use verigate::messaging::sending::SendStatus;
use verigate::messaging::vendor_names::VendorNames;
use verigate::store::keys::AttemptRef;
use verigate::vendor::{Failure, ReceiptStatus};

use crate::support::gateway::eventually;
use crate::support::http::{Answer, call, get};
use crate::support::reporting::{BASE, House, SIGNATURE, Tells};

const HOST: &str = "Host: gateway.test";

async fn report(house: &House, target: &str) -> Answer {
    get(house.address, target, &[HOST]).await
}

/// Calls, and finds that it was taken and changed nothing at all.
async fn report_in_vain(house: &House, target: &str) {
    let before = house.work().commits;
    let answer = report(house, target).await;
    assert_eq!((answer.status, house.work().commits), (200, before), "{target} {answer:?}");
}

#[tokio::test]
async fn a_stranger_sees_a_page_that_is_not_there_and_changes_nothing() {
    let house = House::new(&[
        ("ours", Tells::Ours, 9),
        ("theirs", Tells::Theirs, 9),
        ("signed", Tells::Signed, 9),
        ("mute", Tells::Never, 9),
    ])
    .await;
    let message = house.sent(100).await;
    let reference = house.vendors["ours"].taken()[0].reference.to_string();
    let path = house.path("ours");
    let (without_token, token) = path.rsplit_once('/').unwrap();
    let unknown = report(&house, "/nothing/here").await;
    assert_eq!(unknown.status, 404);
    let before = house.work();
    let other = house.path("theirs").rsplit_once('/').unwrap().1.to_owned();
    let mut calls = vec![
        format!("/receipts/{token}/{reference}?s=delivered"),
        format!("/receipts//{token}/{reference}?s=delivered"),
        format!("/receipts/nobody/{token}/{reference}?s=delivered"),
        format!("/receipts/OURS/{token}/{reference}?s=delivered"),
        format!("{}?s=delivered&id={reference}", house.path("mute")),
        format!("/receipts/%FF/{token}/{reference}?s=delivered"),
        format!("{without_token}?s=delivered&token={token}"),
    ];
    for wrong in ["", "x", &reference, &other, &token[1..], &token.to_lowercase(), &format!("{token}A"), "%00"] {
        calls.push(format!("{without_token}/{wrong}/{reference}?s=delivered"));
    }
    // One that signs is asked for its signature.
    calls.push("/receipts/signed?s=delivered&id=x".to_owned());
    calls.push("/receipts/signed/some/where?s=delivered&id=x".to_owned());
    for target in calls {
        for (method, fields) in [("GET", vec![HOST]), ("POST", vec![HOST, "X-Signature: guessed"])] {
            let body = if method == "POST" { "s=delivered" } else { "" };
            let answer = call(house.address, method, &target, &fields, body).await;
            assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{method} {target}");
        }
    }
    for method in ["PUT", "DELETE", "OPTIONS"] {
        let target = format!("{path}/{reference}?s=delivered");
        assert_eq!(call(house.address, method, &target, &[HOST], "").await.status, 404, "{method}");
    }
    assert_eq!(house.work(), before, "a stranger costs the store nothing");
    assert_eq!(house.sending(&message).await.status, SendStatus::Sent);

    // All that was missing was the token.
    let answer = report(&house, &format!("{path}/{reference}?s=delivered")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(house.sending(&message).await.status, SendStatus::Delivered);
}

#[tokio::test]
async fn a_signature_stands_for_the_token() {
    let house = House::new(&[("signed", Tells::Signed, 9)]).await;
    let signed = [HOST, &format!("X-Signature: {SIGNATURE}")];
    for (number, path) in ["/receipts/signed", "/receipts/signed/any/where"].iter().enumerate() {
        let message = house.sent(100 + number).await;
        let outgoing = &house.vendors["signed"].taken()[number];
        let url = outgoing.receipt_url.as_ref().unwrap().expose_secret();
        assert_eq!(url, format!("{BASE}/receipts/signed/{}", outgoing.reference));
        let target = format!("{path}?s=delivered&id={}", house.vendors["signed"].name_of(number));
        assert_eq!(call(house.address, "POST", &target, &signed, "{}").await.status, 200, "{target}");
        assert_eq!(house.sending(&message).await.status, SendStatus::Delivered, "{target}");
    }
    // What makes no sense is told to who has signed, and to nobody else.
    for (fields, status) in [(&signed[..], 400), (&[HOST][..], 404)] {
        assert_eq!(get(house.address, "/receipts/signed?s=nonsense", fields).await.status, status);
    }
}

#[tokio::test]
async fn a_vendor_is_told_where_to_report_and_does() {
    let house = House::new(&[("ours", Tells::Ours, 9)]).await;
    let message = house.sent(100).await;
    let outgoing = &house.vendors["ours"].taken()[0];
    let url = outgoing.receipt_url.as_ref().unwrap().expose_secret();
    assert_eq!(url, format!("{BASE}{}/{}", house.path("ours"), outgoing.reference));
    let target = url.strip_prefix(BASE).unwrap();
    // Not final.
    report_in_vain(&house, &format!("{target}?s=buffered")).await;
    assert_eq!(report(&house, &format!("{target}/?s=undelivered")).await.status, 200);
    assert_eq!(house.sending(&message).await.status, SendStatus::Undelivered);

    let house = House::new(&[("mute", Tells::Never, 9), ("asked", Tells::Asked, 9)]).await;
    house.vendors["mute"].will_answer(Err(Failure::Unavailable));
    house.sent(100).await;
    for vendor in ["mute", "asked"] {
        assert!(house.vendors[vendor].taken()[0].receipt_url.is_none(), "{vendor}");
    }
}

#[tokio::test]
async fn repeated_and_contradicting_receipts_change_nothing() {
    for (tells, first, status) in [
        (Tells::Ours, "delivered", SendStatus::Delivered),
        (Tells::Theirs, "undelivered", SendStatus::Undelivered),
        (Tells::Theirs, "expired", SendStatus::Expired),
    ] {
        let house = House::new(&[("one", tells, 9)]).await;
        let message = house.sent(100).await;
        let reference = house.vendors["one"].taken()[0].reference.to_string();
        let target = |status: &str| {
            let name = house.vendors["one"].name_of(0);
            format!("{}/{reference}?s={status}&id={name}", house.path("one"))
        };
        assert_eq!(report(&house, &target(first)).await.status, 200);
        let settled = house.sending(&message).await;
        assert_eq!(settled.status, status);
        house.clock.advance(Duration::from_secs(5));
        for later in [first, "delivered", "undelivered", "expired", "buffered"] {
            report_in_vain(&house, &target(later)).await;
        }
        assert_eq!(house.sending(&message).await, settled);
    }
}

#[tokio::test]
async fn a_receipt_may_come_before_the_answer_to_its_send() {
    for tells in [Tells::Ours, Tells::Theirs] {
        let house = House::new(&[("one", tells, 9)]).await;
        let vendor = &house.vendors["one"];
        vendor.hold_back();
        let message = house.send(100).await;
        eventually(async || (vendor.taken().len() == 1).then_some(())).await;
        let target = format!("{}/{}?id={}", house.path("one"), vendor.taken()[0].reference, vendor.name_of(0));
        assert_eq!(report(&house, &format!("{target}&s=delivered")).await.status, 200);
        // Again, and something else: the first word counts.
        for later in ["delivered", "undelivered"] {
            report_in_vain(&house, &format!("{target}&s={later}")).await;
        }
        let parked = house.sending(&message).await.status == SendStatus::Sending;
        assert_eq!((parked, house.names().await), if tells == Tells::Theirs { (true, 1) } else { (false, 0) });
        vendor.let_go();
        let delivered = eventually(async || {
            let sending = house.sending(&message).await;
            (sending.vendor_reference.is_some() && house.is_idle()).then_some(sending)
        })
        .await;
        assert_eq!((delivered.status, delivered.attempts), (SendStatus::Delivered, 1), "{tells:?}");
        report_in_vain(&house, &format!("{target}&s=undelivered")).await;
    }
}

#[tokio::test]
async fn what_names_nothing_of_ours_creates_nothing_or_one_entry_that_expires() {
    let house = House::new(&[("ours", Tells::Ours, 9), ("theirs", Tells::Theirs, 9)]).await;
    let message = house.sent(100).await;
    let reference = house.vendors["ours"].taken()[0].reference.to_string();
    let attempt: AttemptRef = reference.parse().unwrap();
    let other_tenant = house.ground.keys.tenant(&"other".parse().unwrap());
    let mut send = attempt.send;
    send.tenant = other_tenant;
    let stolen = AttemptRef { send, ..attempt }.to_string();
    let mut send = attempt.send;
    send.number = 7;
    let no_send = AttemptRef { send, ..attempt }.to_string();
    let zeroth = AttemptRef { attempt: 0, ..attempt }.to_string();
    let next = AttemptRef { attempt: 2, ..attempt }.to_string();
    for unknown in ["", "x", &stolen, &no_send, &zeroth, &next, &reference[1..], &"A".repeat(36), &"A".repeat(5_000)] {
        report_in_vain(&house, &format!("{}/{unknown}?s=delivered", house.path("ours"))).await;
    }
    assert_eq!((house.sending(&message).await.status, house.names().await), (SendStatus::Sent, 0));

    let target = |name: &str| format!("{}?s=delivered&id={name}", house.path("theirs"));
    let before = house.work().commits;
    assert_eq!(report(&house, &target("nobody-knows")).await.status, 200);
    assert_eq!((house.work().commits - before, house.names().await), (1, 1));
    report_in_vain(&house, &target("nobody-knows")).await;
    report_in_vain(&house, &target("")).await;
    report_in_vain(&house, &target(&"x".repeat(129))).await;
    house.clock.advance(Duration::from_secs(72 * 3600));
    assert_eq!(house.names().await, 0);
}

#[tokio::test]
async fn of_receipts_that_nobody_asks_for_only_the_newest_are_kept() {
    let house = House::new(&[("one", Tells::Theirs, 9)]).await;
    let message = house.sent(100).await;
    let reference = house.vendors["one"].taken()[0].reference.parse().unwrap();
    let names = VendorNames::new(house.ground.clone(), 3);
    let at = house.clock.now();
    let already = house.names().await;
    for number in 0..20 {
        let name = format!("n{number}");
        assert!(names.find_or_park("one", &name, ReceiptStatus::Delivered, at).await.unwrap().is_none());
        assert!(house.names().await - already <= 3);
    }
    let parked = async |vendor: &str, name: &str| {
        names.learn(vendor, name, reference, message.sending.expires_at, None).await.unwrap().is_some()
    };
    assert!(parked("one", "n19").await && parked("one", "n17").await);
    assert!(!parked("two", "n19").await, "another vendor's name of the same spelling is another name");
    assert!(!parked("one", "n16").await);
    // What was learned is not given up with what was parked.
    let known = async || names.find_or_park("one", "n16", ReceiptStatus::Delivered, at).await.unwrap();
    for number in 20..30 {
        names.find_or_park("one", &format!("n{number}"), ReceiptStatus::Expired, at).await.unwrap();
    }
    assert_eq!(known().await, Some(reference));
}

#[tokio::test]
async fn a_vendor_cannot_speak_of_what_went_to_another() {
    // The first vendor's attempt ends in doubt, so the code goes to the second one; both have it then.
    let plan = [("first", Tells::Theirs, 9), ("second", Tells::Ours, 9), ("third", Tells::Theirs, 9)];
    let house = House::new(&plan).await;
    let message = house.sent(100).await;
    let (first, second) = (&house.vendors["first"], &house.vendors["second"]);
    let reference = first.taken()[0].reference.to_string();
    report_in_vain(&house, &format!("{}/{reference}?s=delivered", house.path("second"))).await;
    let name = first.name_of(0);
    let answer = report(&house, &format!("{}?s=delivered&id={name}", house.path("third"))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(house.sending(&message).await.status, SendStatus::Sent);

    first.will_answer(Err(Failure::Unavailable));
    let moved = house.sent(101).await;
    assert_eq!(house.sending(&moved).await.vendor.as_deref(), Some("second"));
    let (old, new) = (first.taken()[1].reference.to_string(), second.taken()[0].reference.to_string());
    let attempts = |reference: &str| reference.parse::<AttemptRef>().unwrap().attempt;
    assert_eq!((attempts(&old), attempts(&new)), (1, 2));
    report_in_vain(&house, &format!("{}/{old}?s=delivered", house.path("second"))).await;
    report(&house, &format!("{}?s=delivered&id={new}", house.path("first"))).await;
    assert_eq!(house.sending(&moved).await.status, SendStatus::Sent);
    assert_eq!(report(&house, &format!("{}/{new}?s=delivered", house.path("second"))).await.status, 200);
    assert_eq!(house.sending(&moved).await.status, SendStatus::Delivered);
}

#[tokio::test]
async fn a_call_is_bounded_in_size_and_time() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let house = House::new(&[("one", Tells::Theirs, 9)]).await;
    let target = format!("{}?s=delivered&id=x", house.path("one"));
    let post =
        async |target: &str, bytes| call(house.address, "POST", target, &[HOST], &"x".repeat(bytes)).await.status;
    assert_eq!(post(&target, 64 * 1024 + 1).await, 413);
    assert_eq!(post(&target, 64 * 1024).await, 200);
    assert_eq!(post(&house.path("one"), 10).await, 400);

    let mut stream = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let head = format!("POST {target} HTTP/1.1\r\n{HOST}\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut read = std::pin::pin!(stream.read_to_end(&mut answer));
    // Time passes until somebody has waited long enough.
    eventually(async || {
        house.clock.advance(Duration::from_secs(1));
        tokio::select! {
            biased;
            done = &mut read => Some(done),
            () = tokio::task::yield_now() => None,
        }
    })
    .await
    .unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
}
