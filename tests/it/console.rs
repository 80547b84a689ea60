//! The console: its pages and buttons over HTTP, who may press them, what they never show, and a tour in a real browser.

mod markup;
mod tour;

use std::net::SocketAddr;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest};

use crate::support::authority::Authority;
use crate::support::gateway::{CONFIG, Gateway, PHONE, judge, reason, seconds, start, text_to};
use crate::support::http::{Answer, call, get};
use crate::support::log::Log;

/// All that changes something or shows more, and a target that is there for each.
const POSTS: [&str; 6] = [
    "/search",
    "/records/verification/acme/x/reveal",
    "/records/verification/acme/x/feedback",
    "/vendors/inbox/balance",
    "/blocks/end",
    "/try",
];

/// A browser at the console of a gateway.
struct Browser {
    address: SocketAddr,
    authorization: Option<String>,
}

impl Browser {
    fn at(gateway: &Gateway) -> Self {
        Self { address: gateway.addresses.admin, authorization: None }
    }

    async fn get(&self, target: &str) -> Answer {
        let host = format!("Host: {}", self.address);
        let fields = [host.as_str()].into_iter().chain(self.authorization.as_deref()).collect::<Vec<_>>();
        get(self.address, target, &fields).await
    }

    async fn token(&self) -> String {
        token_of(&self.get("/search").await.body)
    }

    /// Presses a button of a page.
    async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token().await;
        let origin = format!("Origin: http://{}", self.address);
        self.post_as(target, &[&origin, "Sec-Fetch-Site: same-origin"], &[fields, &[("token", &token)]].concat()).await
    }

    async fn post_as(&self, target: &str, head: &[&str], fields: &[(&str, &str)]) -> Answer {
        let host = format!("Host: {}", self.address);
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let head: Vec<_> =
            head.iter().copied().chain([host.as_str(), kind]).chain(self.authorization.as_deref()).collect();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        call(self.address, "POST", target, &head, body).await
    }
}

/// What the forms of a page carry.
fn token_of(page: &str) -> String {
    page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// Where the page of a verification is.
fn record(id: &str) -> String {
    format!("/records/verification/acme/{id}")
}

#[tokio::test]
async fn a_form_from_another_site_or_without_its_token_changes_nothing() {
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    let token = browser.token().await;
    let ours = format!("Origin: http://{}", browser.address);
    for target in POSTS {
        for (head, token) in [
            (&["Origin: http://evil.example"][..], token.as_str()),
            (&["Origin: null"], &token),
            (&["Sec-Fetch-Site: cross-site"], &token),
            (&[ours.as_str(), "Sec-Fetch-Site: same-site"], &token),
            (&[], &token),
            (&[ours.as_str()], ""),
            (&[ours.as_str()], "AAAA"),
            (&[ours.as_str()], &token[1..]),
        ] {
            let fields = [("token", token), ("tenant", "acme"), ("recipient", PHONE), ("channel", "sms")];
            let answer = browser.post_as(target, head, &fields).await;
            assert_eq!(answer.status, 403, "{target} {head:?} {token}");
            assert!(answer.body.contains("Nothing was changed") && answer.body.contains("href=\"/overview\""));
        }
    }
    assert!(gateway.whole_inbox().await.is_empty());
    let long = "x".repeat(20_000);
    let answer = browser.post_as("/search", &[&ours], &[("token", &token), ("recipient", &long)]).await;
    assert_eq!(answer.status, 413);
}

/// A call over a connection of HTTP/2, which names the listener in its target alone.
async fn call_h2(
    client: &h2::client::SendRequest<Bytes>,
    request: http::request::Builder,
    body: String,
) -> (u16, String) {
    let (answer, mut sending) = client.clone().send_request(request.body(()).unwrap(), false).unwrap();
    sending.send_data(body.into(), true).unwrap();
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut page = Vec::new();
    while let Some(part) = body.data().await {
        page.extend_from_slice(&part.unwrap());
    }
    (head.status.as_u16(), String::from_utf8(page).unwrap())
}

#[tokio::test]
async fn buttons_work_over_tls_where_browsers_speak_http2() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.certify().write(folder.path());
    let place = folder.path().display();
    let files = format!("certificate_file = '{place}/certificate.pem'\nkey_file = '{place}/key.pem'");
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[server.tls.admin]\n{files}\n")).await;
    let stream = authority.connect(gateway.addresses.admin, &["h2", "http/1.1"], None).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let target = "https://localhost/search";
    let (status, page) = call_h2(&client, http::Request::get(target), String::new()).await;
    assert_eq!(status, 200, "{page}");
    let form = format!("token={}&tenant=acme&recipient=%2B6598765432", token_of(&page));
    for (origin, wanted) in [("https://localhost", 200), ("https://evil.example", 403), ("https://localhost:1", 403)] {
        let press = http::Request::post(target).header("origin", origin).header("sec-fetch-site", "same-origin");
        let (status, page) = call_h2(&client, press, form.clone()).await;
        assert_eq!(status, wanted, "{origin}: {page}");
    }
}

#[tokio::test]
async fn nothing_is_changed_by_looking() {
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    for target in POSTS.into_iter().filter(|target| !["/search", "/try"].contains(target)) {
        assert_eq!(browser.get(target).await.status, 405, "{target}");
    }
    assert_eq!(browser.get("/try?tenant=acme&recipient=%2B60123456789&channel=sms").await.status, 200);
    assert!(gateway.whole_inbox().await.is_empty());
}

#[tokio::test]
async fn every_page_is_locked_down_and_for_known_hosts_only() {
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    assert_eq!(browser.get("/").await.header("location"), Some("/overview"));
    for target in
        ["/overview", "/overview/live", "/search", "/vendors", "/blocks", "/try", "/inbox", "/records/x/acme/y"]
    {
        let answer = browser.get(target).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (answer.header("cache-control"), answer.header("x-frame-options")),
            (Some("no-store"), Some("DENY"))
        );
        let page = answer.body;
        assert!(!page.contains(" style=") && !page.contains(" onclick=") && !page.contains("<style"), "{page}");
        assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/assets/").count(), "{page}");
        assert_eq!(get(browser.address, target, &["Host: evil.example"]).await.status, 421, "{target}");
    }
}

#[tokio::test]
async fn what_a_recipient_was_sent_is_found_and_shown_masked_until_somebody_presses_a_button() {
    let log = Log::start("info");
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    let request = StartVerificationRequest {
        metadata: [("order<b>".to_owned(), "secret-order".to_owned())].into(),
        delivery_wait: seconds(5),
        ..start(PHONE)
    };
    let mut client = gateway.verifications().await;
    let started = client.start_verification(request).await.unwrap().into_inner().verification.unwrap();
    let code = gateway.code(PHONE).await;
    gateway.messages().await.send_message(text_to(PHONE, "Your parcel 778899 is here")).await.unwrap();

    let found = browser.post("/search", &[("tenant", "acme"), ("recipient", "012-345 6789")]).await;
    assert_eq!(found.status, 200);
    assert!(
        found.body.contains(&record(&started.id)) && found.body.contains("/records/message/acme/"),
        "{}",
        found.body
    );
    assert!(found.body.contains("PENDING") && found.body.contains("+60*****6789"), "{}", found.body);
    let other = browser.post("/search", &[("tenant", "other"), ("recipient", PHONE)]).await;
    assert!(!other.body.contains(&started.id), "nothing crosses tenants");

    let page = browser.get(&record(&started.id)).await.body;
    let live = browser.get(&format!("{}/live", record(&started.id))).await.body;
    for text in
        ["+60*****6789", "order&lt;b&gt;", "verification.send.delivered", "first in the route that fits", "inbox"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    let shown = [&found.body, &page, &live];
    assert!(shown.iter().all(|page| !page.contains(&code) && !page.contains("778899")), "neither code nor text");
    assert!([&page, &live].iter().all(|page| !page.contains(PHONE) && !page.contains("secret-order")));
    assert!(!String::from_utf8_lossy(&log.bytes()).contains("was revealed"));

    let revealed = browser.post(&format!("{}/reveal", record(&started.id)), &[]).await;
    assert!(revealed.body.contains(PHONE) && revealed.body.contains("secret-order"), "{}", revealed.body);
    assert!(!revealed.body.contains(&code));
    let log = String::from_utf8_lossy(&log.bytes()).into_owned();
    let line = log.lines().find(|line| line.contains("was revealed")).expect("who saw it is logged");
    assert!(line.contains(&started.id) && line.contains("local") && line.contains("acme"), "{line}");
    assert!(!line.contains(PHONE) && !line.contains(&code), "{line}");
}

#[tokio::test]
async fn the_log_names_the_operator_and_a_token_is_theirs_alone() {
    let log = Log::start("info");
    let config = format!("{CONFIG}\n[server.admin_access]\nuser = 'ops'\npassword = 'password-of-admin'\n");
    let gateway = Gateway::start_with(&config).await;
    let basic = format!("Authorization: Basic {}", STANDARD.encode("ops:password-of-admin"));
    let browser = Browser { authorization: Some(basic), ..Browser::at(&gateway) };
    let started = gateway.begin(&mut gateway.verifications().await, PHONE).await;
    let revealed = browser.post(&format!("{}/reveal", record(&started.id)), &[]).await;
    assert_eq!(revealed.status, 200);
    let log = String::from_utf8_lossy(&log.bytes()).into_owned();
    let line = log.lines().find(|line| line.contains("was revealed")).unwrap();
    assert!(line.contains("by=\"ops\"") && line.contains(&started.id), "{line}");
    let stranger = Browser::at(&gateway);
    for target in ["/overview", "/search", "/vendors", "/blocks", "/try", &record(&started.id)] {
        assert_eq!(stranger.get(target).await.status, 401, "{target}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_written_wrongly_gets_a_page_with_a_way_out() {
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    let started = gateway.begin(&mut gateway.verifications().await, PHONE).await;
    let script = "<script>alert(1)</script>";
    for (tenant, recipient, status) in [
        ("nobody", PHONE, 404),
        (script, PHONE, 400),
        ("", PHONE, 400),
        ("acme", "", 400),
        ("acme", "12", 400),
        ("acme", script, 400),
        ("acme", "a@", 400),
    ] {
        let answer = browser.post("/search", &[("tenant", tenant), ("recipient", recipient)]).await;
        assert_eq!(answer.status, status, "{tenant} {recipient}: {}", answer.body);
        assert!(answer.body.contains("That did not work") && answer.body.contains("<nav"), "{}", answer.body);
        assert!(!answer.body.contains("<script>"), "{}", answer.body);
    }
    for (target, status) in [
        ("/records/verification/acme/%3Cscript%3E".to_owned(), 400),
        (format!("/records/contact/acme/{}", started.id), 400),
        (format!("/records/verification/other/{}", started.id), 404),
        (format!("/records/verification/nobody/{}", started.id), 404),
        (format!("/records/message/acme/{}", started.id), 404),
    ] {
        let answer = browser.get(&target).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.body.contains("That did not work") && answer.body.contains("<nav"), "{}", answer.body);
    }
    let none = browser.post("/search", &[("tenant", "acme"), ("recipient", "+6598765432")]).await;
    assert_eq!(none.body.matches("None is kept for this recipient.").count(), 2);
    for (target, field) in
        [("/blocks/end", ("area", "x")), ("/blocks/end", ("area", "MY")), ("/vendors/x/balance", ("x", ""))]
    {
        let answer = browser.post(target, &[("tenant", "acme"), field]).await;
        assert!([400, 404].contains(&answer.status) && answer.body.contains("That did not work"), "{target} {field:?}");
    }
    let wrong = browser.post(&format!("{}/feedback", record(&started.id)), &[("outcome", "perhaps")]).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn feedback_is_taken_and_a_word_that_contradicts_it_is_not() {
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    let started = gateway.begin(&mut gateway.verifications().await, PHONE).await;
    let target = format!("{}/feedback", record(&started.id));
    let taken = browser.post(&target, &[("outcome", "not_received")]).await;
    assert_eq!((taken.status, taken.header("location")), (303, Some(record(&started.id).as_str())));
    let page = browser.get(&record(&started.id)).await.body;
    assert!(page.contains("verification.send.denied") && page.contains("it was not received"), "{page}");
    let contradicts = browser.post(&target, &[("outcome", "received")]).await;
    assert_eq!(contradicts.status, 400, "{}", contradicts.body);
    assert!(contradicts.body.contains("FEEDBACK_CONTRADICTS"));
}

#[tokio::test]
async fn a_try_goes_to_an_inbox_and_to_nothing_else() {
    let vendor = "[vendors.paid]\nkind = \"http\"\nurl = \"https://paid.example/send?text={text}&to={recipient}\"\nchannels = [\"voice\", \"whatsapp\"]\n        [[routes]]\nchannel = \"voice\"\nvendors = [\"inbox\", \"paid\"]\n        [[routes]]\nchannel = \"whatsapp\"\nvendors = [\"paid\"]\n";
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{vendor}")).await;
    let browser = Browser::at(&gateway);
    let form =
        |channel: &'static str| [("tenant", "acme"), ("recipient", PHONE), ("channel", channel), ("locale", "ms")];
    for channel in ["voice", "whatsapp"] {
        let refused = browser.post("/try", &form(channel)).await;
        assert!(refused.body.contains("goes through paid, which is no dev inbox"), "{}", refused.body);
    }
    assert_eq!(browser.post("/try", &form("pigeon")).await.status, 400);
    assert!(gateway.whole_inbox().await.is_empty());

    // Beside what the tenant's own people wait for.
    let mut client = gateway.verifications().await;
    let own = gateway.begin(&mut client, "+60123456780").await;
    let begun = browser.post("/try", &form("sms")).await;
    assert_eq!(begun.status, 303, "{}", begun.body);
    let target = begun.header("location").unwrap().to_owned();
    let id = target.rsplit('/').next().unwrap();
    assert_ne!(id, own.id);
    assert!(browser.get(&target).await.body.contains("console"), "its scope");
    let again = browser.post("/try", &form("sms")).await;
    assert_eq!(again.status, 429, "the cool-down holds here too: {}", again.body);
    assert!(again.body.contains("COOL_DOWN") && again.body.contains("Try again in"), "{}", again.body);
    let code = gateway.code(PHONE).await;
    assert_eq!(judge(&mut client, id, &code).await, CheckOutcome::Approved);
    assert!(browser.get(&format!("{target}/live")).await.body.contains("verification.approved"));
    let overview = browser.get("/overview/live").await.body;
    assert!(overview.contains("Conversion") && overview.contains(" of ") && overview.contains("MY"), "{overview}");
}

#[tokio::test]
async fn a_blocked_area_is_shown_and_opened_by_its_button() {
    let gateway = Gateway::start_with(&CONFIG.replace("[guard.conversion]\nmode = \"off\"", "")).await;
    let browser = Browser::at(&gateway);
    let mut client = gateway.verifications().await;
    let number = |turn: u32| start(&format!("+6012345{:04}", 100 + turn * 97));
    for turn in 0..20 {
        client.start_verification(number(turn)).await.unwrap();
    }
    gateway.clock.advance(std::time::Duration::from_secs(12 * 60));
    let refused = client.start_verification(number(50)).await.unwrap_err();
    assert_eq!(reason(&refused), "CONVERSION_TOO_LOW");
    assert!(browser.get("/overview").await.body.contains("CONVERSION_TOO_LOW"));
    let page = browser.get("/blocks").await.body;
    let area = page.split("name=\"area\" value=\"").nth(1).expect("a block").split('"').next().unwrap().to_owned();
    let opened = browser.post("/blocks/end", &[("tenant", "acme"), ("area", &area)]).await;
    assert_eq!((opened.status, opened.header("location")), (303, Some("/blocks")), "{}", opened.body);
    assert!(browser.get("/blocks").await.body.contains("No area is blocked."));
    client.start_verification(number(50)).await.unwrap();
}

#[tokio::test]
async fn vendors_are_shown_as_they_fare() {
    let gateway = Gateway::start().await;
    let browser = Browser::at(&gateway);
    gateway.begin(&mut gateway.verifications().await, PHONE).await;
    let page = browser.get("/vendors").await.body;
    assert!(page.contains("breaker closed") && page.contains("1 of 1, 100 %"), "{page}");
    assert!(page.contains("This vendor tells no balance."), "{page}");
    let refused = browser.post("/vendors/inbox/balance", &[]).await;
    assert!(refused.body.contains("NOT_OFFERED"), "{}", refused.body);
}
