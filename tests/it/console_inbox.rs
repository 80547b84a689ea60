//! The inbox page: its JSON, who may ask for it, and the page in a real browser.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{self, Next};
use secrecy::SecretString;
use serde_json::{Value, json};
use verigate::clock::{ManualClock, Timestamp};
use verigate::console;
use verigate::recipient::{Phone, Recipient};
use verigate::vendor::inbox::{self, InboxVendor};
use verigate::vendor::{Channel, Outgoing, Vendor};

use crate::support::http::{Answer, get, serve};

const START: Timestamp = Timestamp::from_millis(1_795_324_560_125);

fn inbox_vendor(name: &str, clock: &ManualClock) -> Arc<InboxVendor> {
    let (vendor, _receipts) = inbox::Config::default().build(name, Arc::new(clock.clone())).unwrap();
    Arc::new(vendor)
}

fn outgoing(reference: &str, phone: &str, text: &str) -> Outgoing {
    Outgoing {
        reference: Arc::from(reference),
        tenant: "acme".parse().unwrap(),
        channel: Channel::Sms,
        recipient: Recipient::Phone(Phone::parse(phone, None).unwrap()),
        sender: Some("Acme".to_owned()),
        text: SecretString::from(text),
        receipt_url: None,
        expires_at: START,
    }
}

fn router(vendors: &[&InboxVendor]) -> axum::Router {
    let inboxes = vendors.iter().map(|vendor| vendor.inbox()).collect();
    let config = console::Config { hosts: vec!["verigate.internal".to_owned()] };
    console::router(None, inboxes, config, &console::first_send_command("127.0.0.1:50051", "dev.dev-secret"))
}

async fn ask(address: SocketAddr, target: &str) -> Answer {
    get(address, target, &[&format!("Host: {address}")]).await
}

async fn ids(address: SocketAddr, target: &str) -> String {
    let messages: Value = serde_json::from_str(&ask(address, target).await.body).unwrap();
    messages.as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn messages_are_listed_newest_first_in_exactly_this_shape() {
    let clock = ManualClock::new(START);
    let (main, backup) = (inbox_vendor("main", &clock), inbox_vendor("backup", &clock));
    let address = serve(router(&[&main, &backup])).await;
    assert_eq!(ask(address, "/inbox/messages").await.body, "[]");

    let text = "</script><script>alert(1)</script> \u{202e} 480913";
    main.send(&outgoing("a", "+60123456789", text)).await.unwrap();
    clock.advance(Duration::from_millis(1));
    backup.send(&Outgoing { sender: None, ..outgoing("b", "+6598765432", "second") }).await.unwrap();
    clock.advance(Duration::from_millis(1));
    main.send(&outgoing("c", "+60123456789", "third")).await.unwrap();

    let answer = ask(address, "/inbox/messages").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let messages: Value = serde_json::from_str(&answer.body).unwrap();
    let third = json!({"id": "c", "tenant": "acme", "channel": "sms", "vendor": "main", "sender": "Acme",
        "recipient": "+60123456789", "text": "third", "sent_at": "2026-11-22T05:16:00.127Z"});
    let second = json!({"id": "b", "tenant": "acme", "channel": "sms", "vendor": "backup", "sender": null,
        "recipient": "+6598765432", "text": "second", "sent_at": "2026-11-22T05:16:00.126Z"});
    let first = json!({"id": "a", "tenant": "acme", "channel": "sms", "vendor": "main", "sender": "Acme",
        "recipient": "+60123456789", "text": text, "sent_at": "2026-11-22T05:16:00.125Z"});
    assert_eq!(messages, json!([third, second, first]));
}

#[tokio::test]
async fn a_recipient_is_found_as_a_query_mangles_it() {
    let clock = ManualClock::new(START);
    let vendor = inbox_vendor("main", &clock);
    let address = serve(router(&[&vendor])).await;
    vendor.send(&outgoing("a", "+60123456789", "x")).await.unwrap();
    vendor.send(&outgoing("b", "+6598765432", "x")).await.unwrap();
    for written in ["%2B60123456789", "+60123456789", "60123456789", "0060123456789", "+60%2012-345%206789"] {
        assert_eq!(ids(address, &format!("/inbox/messages?recipient={written}")).await, "a", "{written}");
    }
    assert_eq!(ids(address, "/inbox/messages?recipient=%2B6012345678").await, "");
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_a_problem() {
    let vendor = inbox_vendor("main", &ManualClock::new(START));
    let address = serve(router(&[&vendor])).await;
    for query in ["recipients=1", "recipient=1&recipient=2", "recipient=1&page=2", "recipient=", "recipient=+"] {
        let answer = ask(address, &format!("/inbox/messages?{query}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/problem+json")), "{query}");
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&problem["status"], &problem["reason"]), (&json!(400), &json!("INVALID_FIELD")));
        assert!(problem["detail"].as_str().unwrap().starts_with("recipient: "), "{problem}");
    }
}

#[tokio::test]
async fn every_answer_is_locked_down() {
    let vendor = inbox_vendor("main", &ManualClock::new(START));
    let address = serve(router(&[&vendor])).await;
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
    for (target, status, kind) in [
        ("/", 307, None),
        ("/inbox", 200, Some("text/html; charset=utf-8")),
        ("/inbox/messages", 200, Some("application/json")),
        ("/inbox/messages?x=1", 400, Some("application/problem+json")),
        ("/assets/console.css", 200, Some("text/css; charset=utf-8")),
        ("/assets/console.js", 200, Some("text/javascript; charset=utf-8")),
        ("/assets/inbox.css", 200, Some("text/css; charset=utf-8")),
        ("/assets/inbox.js", 200, Some("text/javascript; charset=utf-8")),
        ("/assets/icon.svg", 200, Some("image/svg+xml")),
    ] {
        let answer = ask(address, target).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, kind), "{target}");
        for (name, value) in [
            ("content-security-policy", policy),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{target}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(ask(address, "/").await.header("location"), Some("/inbox"));
    // The policy would stop them; the page does not try.
    let page = ask(address, "/inbox").await.body;
    assert!(!page.contains(" style=") && !page.contains(" onclick=") && !page.contains("<style"), "{page}");
    assert!(page.contains("verigate.verification.v1.VerificationService/StartVerification"), "{page}");
}

#[tokio::test]
async fn foreign_host_names_are_refused() {
    let vendor = inbox_vendor("main", &ManualClock::new(START));
    vendor.send(&outgoing("a", "+60123456789", "480913")).await.unwrap();
    let address = serve(router(&[&vendor])).await;
    for fields in [
        &["Host: evil.example"][..],
        &["Host: 127.0.0.1.evil.example"],
        &["Host: localhost@evil.example"],
        &["Host: "],
        &["Host: localhost", "Host: evil.example"],
        &["Host: evil.example", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"],
    ] {
        for target in ["/", "/inbox", "/inbox/messages", "/assets/inbox.js"] {
            let answer = get(address, target, fields).await;
            assert_eq!(answer.status, 421, "{target} {fields:?}");
            assert!(answer.body.contains("localhost") && !answer.body.contains("480913"), "{}", answer.body);
        }
    }
    assert_eq!(get(address, "http://evil.example/inbox/messages", &["Host: localhost"]).await.status, 421);
    for host in ["localhost", "LOCALHOST:9090", "[::1]:9090", "10.1.2.3", "verigate.internal:9090"] {
        assert_eq!(get(address, "/inbox/messages", &[&format!("Host: {host}")]).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn without_an_inbox_there_is_no_page() {
    let address = serve(router(&[])).await;
    for target in ["/", "/inbox", "/inbox/messages", "/assets/inbox.js"] {
        assert_eq!(ask(address, target).await.status, 404, "{target}");
    }
}

/// The page after `seconds` of the browser's time, as its scripts left it.
pub(crate) async fn browse(url: String, seconds: u32) -> String {
    tokio::task::spawn_blocking(move || {
        let profile = tempfile::tempdir().unwrap();
        let output = Command::new("timeout")
            .args(["--kill-after=5", "90", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--virtual-time-budget={}", seconds * 1000))
            .args(["--dump-dom", &url])
            .output()
            .expect("the page is tested in a real browser, started by `timeout` (coreutils)");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(127), "the page is tested in Chromium; install the package `chromium`");
        assert!(output.status.success(), "Chromium failed: {} {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    })
    .await
    .unwrap()
}

/// What stands between the first `start` after `from` and the next `end`.
fn between<'a>(page: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    page.split(start).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

#[tokio::test]
async fn a_browser_shows_messages_as_they_arrive_and_markup_in_them_as_text() {
    let vendor = inbox_vendor("main", &ManualClock::new(START));
    let first = "RM0.00 Your code is 480913. <img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    vendor.send(&outgoing("first", "+60123456789", first)).await.unwrap();
    // The second arrives when the page asks for the second time, with no reload between.
    let (asked, late) = (Arc::new(AtomicUsize::new(0)), vendor.clone());
    let router = router(&[&vendor]).layer(middleware::from_fn(move |request: Request, next: Next| {
        let (asked, late) = (asked.clone(), late.clone());
        async move {
            if request.uri().path() == "/inbox/messages" && asked.fetch_add(1, Ordering::SeqCst) == 1 {
                late.send(&outgoing("second", "+6598765432", "G-735512 is your code")).await.unwrap();
            }
            next.run(request).await
        }
    }));
    let address = serve(router).await;
    let page = browse(format!("http://{address}/inbox"), 5).await;

    // The template that is cloned comes after the list.
    let list = page.split("<template").next().unwrap();
    assert_eq!(between(list, "class=\"recipient\">", "<"), ["+6598765432", "+60123456789"], "{page}");
    assert_eq!(between(list, "class=\"code-text\">", "<"), ["735512", "480913"], "{page}");
    assert_eq!(between(list, "datetime=\"", "\""), ["2026-11-22T05:16:00.125Z"; 2], "{page}");
    assert!(list.contains("New message to +6598765432"), "{page}");
    assert!(list.contains("data-state=\"live\"") && list.contains("2 messages"), "{page}");
    assert!(list.contains("<mark>480913</mark>. &lt;img src=x onerror="), "{page}");
    assert!(!list.contains("<img src=\"x\"") && !page.contains("<script>"), "{page}");
    assert!(page.contains("<title>Inbox · Verigate</title>"), "{page}");
}

#[tokio::test]
async fn a_browser_finds_the_code_in_a_text_and_filters_by_recipient() {
    let clock = ManualClock::new(START);
    let vendor = inbox_vendor("main", &clock);
    for (number, (text, _)) in CODES.iter().enumerate() {
        vendor.send(&outgoing(&format!("m-{number}"), "+60123456789", text)).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    vendor.send(&outgoing("other", "+6598765432", "nothing")).await.unwrap();
    let address = serve(router(&[&vendor])).await;
    let page = browse(format!("http://{address}/inbox?recipient=012-345"), 2).await;
    let list = page.split("<template").next().unwrap();

    let cards = between(list, "<li class=\"message", "</li>");
    assert_eq!(cards.len(), CODES.len() + 1);
    assert!(cards[0].contains("+6598765432") && cards[0].starts_with("\" hidden"), "{}", cards[0]);
    for (card, (text, code)) in cards[1..].iter().rev().zip(CODES) {
        assert!(card.starts_with("\">"), "hidden: {card}");
        let found = between(card, "class=\"code-text\">", "<")[0].replace("&amp;", "&");
        assert_eq!(found, code.unwrap_or_default(), "{text}");
    }
    assert!(list.contains(&format!("{} of {} messages", CODES.len(), CODES.len() + 1)), "{page}");
}

/// Texts, and the code that a person would see in them.
const CODES: [(&str, Option<&str>); 10] = [
    ("RM0.00 Acme - Your OTP code is 112233. This is valid for the next 3 minutes.", Some("112233")),
    ("您的验证码是480913。有效期为10分钟。", Some("480913")),
    ("code:0042, sent 2026", Some("0042")),
    ("Call +60312345678 if this was not you. Code: 4711", Some("4711")),
    ("Your code is aB3$k9. Pay RM1200.50 at https://example.com/12345678", Some("aB3$k9")),
    ("Your code is 1234.\n\n@example.com #QWERTY", Some("QWERTY")),
    ("Your code is aB3k9.\nFA9qCX9VSu1", Some("aB3k9")),
    ("Use \"Z7&9@x\" to sign in", Some("Z7&9@x")),
    ("Your parcel has arrived.", None),
    ("", None),
];
