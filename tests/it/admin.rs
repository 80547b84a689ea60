//! AdminService over gRPC: who may call it, and what it tells of vendors, one of which is a real adapter that calls a
//! server here.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, Status};
use verigate::clock::Clock;
use verigate::proto::admin::v1::{
    BreakerState, Conversion, FeedbackOutcome, GetVendorBalanceRequest, GetVendorBalanceResponse,
    ListConversionsRequest, ListConversionsResponse, ListVendorsRequest, SubmitFeedbackRequest, Vendor, VendorCalls,
};
use verigate::proto::messaging::v1::Channel as Medium;
use verigate::proto::messaging::v1::{Recipient, SendMessageRequest, recipient};
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest};

use crate::support::gateway::{
    Admin, CONFIG, Gateway, PHONE, email, eventually, judge, phone, reason, retry_after, start_now, text_to,
    wrong_fields,
};
use crate::support::vendor_server::{Answer, Fault, RETRY_AFTER, Recorded, VendorServer};

const TENANT: &str = "other.other-secret-of-some-length";
const PASS: &str = "admin-test-secret-7f3a";
const BREAKER_PAUSE: Duration = Duration::from_secs(40);

/// The vendor `carrier` behind the gateway's SMS, and a gateway whose tenant `acme` may look after it.
async fn start() -> (VendorServer, Gateway) {
    let server = VendorServer::start(script).await;
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true").replacen(
        "vendors = [\"inbox\"]",
        "vendors = [\"carrier\"]",
        1,
    );
    // Its own time is longer than ours, so that ours is what ends a call.
    let carrier = format!(
        "[vendors.carrier]\nkind = \"esms\"\nuser = \"key\"\npass = \"{PASS}\"\nbase_url = \"{}\"\ntimeout = \"90s\"\n\
         breaker = {{ share = 0, in_a_row = 2, pause = \"{}s\", probes = 1 }}\n",
        server.url(),
        BREAKER_PAUSE.as_secs(),
    );
    let messaging = "[messaging]\nattempt_timeout = \"20s\"\n";
    let gateway = Gateway::start_with(&format!("{config}\n{carrier}\n{messaging}")).await;
    (server, gateway)
}

fn script(request: &Recorded) -> Answer {
    match request.path() {
        "/sms/balance" => Answer::json(200, json!({"status": 0, "balance": 279_974, "message": "ok", "id": "1"})),
        _ => Answer::json(200, json!({"status": 0, "message": "ok", "id": "1", "parts": 1, "type": 0})),
    }
}

/// A refusal in the vendor's shape, which repeats what it was asked with.
fn refusal(status: u32) -> Fault {
    Fault::Answer(Answer::json(200, json!({"status": status, "message": format!("bad key {PASS}"), "id": "1"})))
}

async fn list(client: &mut Admin) -> Vec<Vendor> {
    client.list_vendors(ListVendorsRequest {}).await.unwrap().into_inner().vendors
}

async fn balance(client: &mut Admin, name: &str) -> Result<GetVendorBalanceResponse, Status> {
    let request = GetVendorBalanceRequest { name: name.to_owned() };
    client.get_vendor_balance(request).await.map(tonic::Response::into_inner)
}

/// Waits until the vendor `carrier` is as wanted.
async fn carrier_becomes(client: &mut Admin, wanted: impl Fn(&Vendor) -> bool) -> Vendor {
    eventually(async || list(client).await.into_iter().find(|vendor| vendor.name == "carrier" && wanted(vendor))).await
}

async fn send(gateway: &Gateway, request: SendMessageRequest) {
    gateway.messages().await.send_message(request).await.unwrap();
}

fn email_to(recipient: Recipient) -> SendMessageRequest {
    SendMessageRequest { recipient: Some(recipient), ..text_to(PHONE, "Your parcel has arrived.") }
}

fn told(status: &Status) -> (Code, String) {
    assert!(!format!("{status:?}").contains(PASS), "{status:?}");
    (status.code(), reason(status))
}

#[tokio::test]
async fn who_is_no_administrator_learns_nothing() {
    let (server, gateway) = start().await;
    let mut client = gateway.admin_as(TENANT).await;
    let mut refusals = vec![client.list_vendors(ListVendorsRequest {}).await.unwrap_err()];
    for name in ["carrier", "inbox", "nobody", ""] {
        refusals.push(balance(&mut client, name).await.unwrap_err());
    }
    refusals.push(client.list_conversions(ListConversionsRequest::default()).await.unwrap_err());
    // Not even of what is their own, nor with fields that make no sense.
    let tenants = ["other", "acme", "", "A b"].map(str::to_owned);
    for tenant in tenants {
        let request = SubmitFeedbackRequest { tenant, outcome: FeedbackOutcome::Received.into(), subject: None };
        refusals.push(client.submit_feedback(request).await.unwrap_err());
    }
    for status in &refusals {
        assert_eq!(told(status), (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
        let one = (refusals[0].message(), refusals[0].details());
        assert_eq!((status.message(), status.details()), one, "all are refused in the same words");
        assert!(!status.message().contains("carrier"), "{status:?}");
    }

    for key in ["acme.wrong", "nobody.acme-secret-of-some-length"] {
        let mut client = gateway.admin_as(key).await;
        let status = client.list_vendors(ListVendorsRequest {}).await.unwrap_err();
        assert_eq!(told(&status), (Code::Unauthenticated, "CREDENTIALS_INVALID".to_owned()));
        let status = balance(&mut client, "carrier").await.unwrap_err();
        assert_eq!(told(&status), (Code::Unauthenticated, "CREDENTIALS_INVALID".to_owned()));
    }
    assert!(server.requests().is_empty(), "no vendor was asked");
}

#[tokio::test]
async fn vendors_are_listed_by_name_with_what_they_offer() {
    let (server, gateway) = start().await;
    let vendors = list(&mut gateway.admin().await).await;
    let quiet = || Vendor {
        reports_delivery: true,
        breaker: BreakerState::Closed.into(),
        calls: Some(VendorCalls::default()),
        ..Vendor::default()
    };
    let carrier =
        Vendor { name: "carrier".to_owned(), channels: vec![Medium::Sms.into()], tells_balance: true, ..quiet() };
    let all = [Medium::Sms, Medium::Whatsapp, Medium::Voice, Medium::Email];
    let inbox = Vendor { name: "inbox".to_owned(), channels: all.map(i32::from).to_vec(), ..quiet() };
    assert_eq!(vendors, [carrier, inbox]);
    assert!(server.requests().is_empty(), "no vendor was asked");
}

#[tokio::test]
async fn what_happens_to_a_vendor_is_seen() {
    let (server, gateway) = start().await;
    let mut client = gateway.admin().await;
    server.set_fault(Fault::Refuse).await;
    send(&gateway, text_to(PHONE, "one")).await;
    let once = carrier_becomes(&mut client, |vendor| vendor.calls.unwrap().unavailable == 1).await;
    assert_eq!((once.breaker(), once.free_time), (BreakerState::Closed, None));
    assert!(once.latency_p50.is_some() && once.latency_p99.is_some(), "{once:?}");
    send(&gateway, text_to(PHONE, "two")).await;
    let broken = carrier_becomes(&mut client, |vendor| vendor.breaker() == BreakerState::Open).await;
    assert_eq!(broken.calls, Some(VendorCalls { unavailable: 2, ..VendorCalls::default() }));
    let free_at = (gateway.clock.now() + BREAKER_PAUSE).as_millis();
    let free_time = broken.free_time.unwrap();
    assert_eq!(
        (free_time.seconds, free_time.nanos),
        (i64::try_from(free_at / 1000).unwrap(), i32::try_from(free_at % 1000).unwrap() * 1_000_000,)
    );
    send(&gateway, text_to(PHONE, "three")).await;
    carrier_becomes(&mut client, |vendor| vendor.waiting > 0).await;

    // It answers again, and what waited goes out; the first call after the pause is a probe, held here under way.
    server.set_fault(Fault::Silence).await;
    gateway.clock.advance(BREAKER_PAUSE);
    let probed = carrier_becomes(&mut client, |vendor| vendor.under_way > 0).await;
    assert_eq!((probed.breaker(), probed.under_way), (BreakerState::HalfOpen, 1));
    eventually(async || (server.requests().len() == 1).then_some(())).await;
    gateway.clock.advance(Duration::from_secs(20));
    let again = carrier_becomes(&mut client, |vendor| vendor.breaker() == BreakerState::Open).await;
    assert_eq!(again.calls.unwrap().unknown, 1);
    server.set_fault(None).await;
    gateway.clock.advance(2 * BREAKER_PAUSE);
    let mended = carrier_becomes(&mut client, |vendor| {
        vendor.breaker() == BreakerState::Closed && vendor.waiting == 0 && vendor.calls.unwrap().accepted >= 1
    })
    .await;
    assert_eq!(mended.free_time, None);

    // Its neighbour has had nothing to do with that.
    send(&gateway, email_to(email("ann@example.com"))).await;
    let inbox = eventually(async || {
        let vendors = list(&mut client).await;
        vendors.into_iter().find(|vendor| vendor.name == "inbox" && vendor.calls.unwrap().accepted == 1)
    })
    .await;
    assert_eq!(inbox.calls, Some(VendorCalls { accepted: 1, ..VendorCalls::default() }));
    assert_eq!(inbox.breaker(), BreakerState::Closed);

    gateway.clock.advance(Duration::from_secs(301));
    let later = carrier_becomes(&mut client, |vendor| vendor.calls == Some(VendorCalls::default())).await;
    assert_eq!((later.latency_p50, later.latency_p99), (None, None));
}

#[tokio::test]
async fn a_balance_is_what_the_vendor_says() {
    let (server, gateway) = start().await;
    let mut client = gateway.admin().await;
    let told_balance = balance(&mut client, "carrier").await.unwrap();
    let expected = GetVendorBalanceResponse { amount: "279974".to_owned(), unit: "credits".to_owned() };
    assert_eq!(told_balance, expected);
    let requests = server.requests();
    assert_eq!(requests.iter().map(Recorded::path).collect::<Vec<_>>(), ["/sms/balance"]);
    assert_eq!(requests[0].json()["pass"], PASS);
}

#[tokio::test]
async fn a_balance_that_cannot_be_had_says_why() {
    let (server, gateway) = start().await;
    let mut client = gateway.admin().await;
    for (name, code, reason) in [
        ("inbox", Code::FailedPrecondition, "NOT_OFFERED"),
        ("nobody", Code::NotFound, "VENDOR_NOT_FOUND"),
        ("Carrier", Code::NotFound, "VENDOR_NOT_FOUND"),
        ("", Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        let status = balance(&mut client, name).await.unwrap_err();
        assert_eq!(told(&status), (code, reason.to_owned()), "{name:?}");
        assert_eq!(wrong_fields(&status), if name.is_empty() { vec!["name"] } else { vec![] });
    }
    assert!(server.requests().is_empty(), "no vendor was asked");

    let refused = (Code::FailedPrecondition, "VENDOR_REFUSED");
    let away = (Code::Unavailable, "VENDOR_UNAVAILABLE");
    for (fault, (code, reason), wait) in [
        (refusal(3), refused, None),
        (refusal(5), refused, None),
        (Fault::TooMany, away, Some(RETRY_AFTER)),
        (Fault::Refuse, away, None),
        (Fault::Reset, away, None),
        (Fault::ServerError, away, None),
        (Fault::Html, away, None),
        (Fault::Echo(200), away, None),
    ] {
        server.set_fault(fault.clone()).await;
        let status = balance(&mut client, "carrier").await.unwrap_err();
        assert_eq!(told(&status), (code, reason.to_owned()), "{fault:?}");
        assert_eq!(retry_after(&status), wait, "{fault:?}");
    }
    let vendor = carrier_becomes(&mut client, |_| true).await;
    assert_eq!(vendor.calls, Some(VendorCalls::default()), "only sends count");
    assert_eq!(vendor.breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_is_not_waited_for_long() {
    let (server, gateway) = start().await;
    server.set_fault(Fault::Silence).await;
    let mut client = gateway.admin().await;
    let mut asking = client.clone();
    let call = tokio::spawn(async move { balance(&mut asking, "carrier").await });
    eventually(async || (server.requests().len() == 1).then_some(())).await;
    gateway.clock.advance(Duration::from_millis(19_999));
    // Others are answered meanwhile.
    assert_eq!(list(&mut client).await.len(), 2);
    assert!(!call.is_finished());
    gateway.clock.advance(Duration::from_millis(1));
    let ended = tokio::time::timeout(Duration::from_secs(60), call).await.expect("an end").unwrap();
    assert_eq!(told(&ended.unwrap_err()), (Code::Unavailable, "VENDOR_UNAVAILABLE".to_owned()));
}

// === conversion ===

/// Text messages to Singapore go to a vendor of their own.
async fn start_measured() -> Gateway {
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true").replacen(
        "[[routes]]",
        "[vendors.second]\nkind = \"inbox\"\n\n[[routes]]\nchannel = \"sms\"\ncountries = [\"SG\"]\n\
         vendors = [\"second\"]\n\n[[routes]]",
        1,
    );
    Gateway::start_with(&config).await
}

/// Starts a verification, and gives the code back or does not.
async fn verify(gateway: &Gateway, recipient: Recipient, gives_back: bool) {
    let mut client = gateway.verifications().await;
    let Some(recipient::Address::Phone(text) | recipient::Address::Email(text)) = recipient.address.clone() else {
        unreachable!("a recipient has an address")
    };
    let request = StartVerificationRequest { recipient: Some(recipient), ..StartVerificationRequest::default() };
    let id = start_now(&mut client, request).await.unwrap().id;
    if gives_back {
        assert_eq!(judge(&mut client, &id, &gateway.code(&text).await).await, CheckOutcome::Approved);
    }
}

async fn conversions(client: &mut Admin, request: ListConversionsRequest) -> Result<ListConversionsResponse, Status> {
    client.list_conversions(request).await.map(tonic::Response::into_inner)
}

async fn rows(client: &mut Admin, request: ListConversionsRequest) -> Vec<Conversion> {
    let all = conversions(client, request).await.unwrap();
    assert_eq!(all.next_page_token, "");
    all.conversions
}

fn row(vendor: &str, channel: Medium, country: &str, (sends, approvals): (i32, i32), rate: i32) -> Conversion {
    let (vendor, channel, country) = (vendor.to_owned(), channel.into(), country.to_owned());
    Conversion { vendor, channel, country, sends, approvals, rate, enough: false }
}

#[tokio::test]
async fn conversion_is_listed_by_vendor_channel_and_country() {
    let gateway = start_measured().await;
    let mut client = gateway.admin().await;
    assert_eq!(rows(&mut client, ListConversionsRequest::default()).await, []);
    for (recipient, gives_back) in [
        (phone("+6581234567"), true),
        (phone("+60123456781"), false),
        (email("ann@example.com"), false),
        (phone("+60123456782"), true),
        (phone("+6581234568"), true),
        (phone("+60123456783"), false),
    ] {
        verify(&gateway, recipient, gives_back).await;
    }
    // Messages without codes are not counted.
    send(&gateway, text_to(PHONE, "Hello")).await;
    let all = [
        row("inbox", Medium::Sms, "MY", (3, 1), 400),
        row("inbox", Medium::Email, "", (1, 0), 333),
        row("second", Medium::Sms, "SG", (2, 2), 750),
    ];
    assert_eq!(rows(&mut client, ListConversionsRequest::default()).await, all);
    let of = |vendor: &str, channel: Medium, country: &str| ListConversionsRequest {
        vendor: vendor.to_owned(),
        channel: channel.into(),
        country: country.to_owned(),
        ..ListConversionsRequest::default()
    };
    let any = Medium::Unspecified;
    for (request, expected) in [
        (of("inbox", any, ""), &all[..2]),
        (of("second", any, ""), &all[2..]),
        (of("", Medium::Email, ""), &all[1..2]),
        (of("", any, "SG"), &all[2..]),
        (of("inbox", Medium::Sms, "MY"), &all[..1]),
        (of("inbox", any, "SG"), &[]),
        (of("nobody", any, ""), &[]),
    ] {
        assert_eq!(rows(&mut client, request.clone()).await, expected, "{request:?}");
    }

    // It outlives the process, fades, and is forgotten.
    let gateway = gateway.restart().await;
    let mut client = gateway.admin().await;
    assert_eq!(rows(&mut client, ListConversionsRequest::default()).await, all);
    let day = Duration::from_secs(24 * 3600);
    gateway.clock.advance(6 * day);
    let faded = [
        row("inbox", Medium::Sms, "MY", (1, 0), 455),
        row("inbox", Medium::Email, "", (0, 0), 444),
        row("second", Medium::Sms, "SG", (1, 1), 600),
    ];
    assert_eq!(rows(&mut client, ListConversionsRequest::default()).await, faded);
    gateway.clock.advance(20 * day);
    assert_eq!(rows(&mut client, ListConversionsRequest::default()).await, []);
}

#[tokio::test]
async fn conversion_comes_in_pages_that_neither_repeat_nor_hide() {
    let gateway = start_measured().await;
    let mut client = gateway.admin().await;
    for recipient in [phone("+60123456781"), email("ann@example.com"), phone("+6581234567")] {
        verify(&gateway, recipient, false).await;
    }
    let page = |page_size, page_token: &str| ListConversionsRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..ListConversionsRequest::default()
    };
    let all = rows(&mut client, page(500, "")).await;
    assert_eq!(all.len(), 3);
    let first = conversions(&mut client, page(1, "")).await.unwrap();
    assert_eq!(first.conversions, all[..1]);
    // What is counted meanwhile before the place where the list goes on.
    verify(&gateway, phone("+14155552671"), false).await;
    verify(&gateway, phone("+61412345678"), false).await;
    let token = first.next_page_token;
    let second = conversions(&mut client, page(2, &token)).await.unwrap();
    assert_eq!(second.conversions.iter().map(|row| row.country.as_str()).collect::<Vec<_>>(), ["US", ""]);
    let third = conversions(&mut client, page(2, &second.next_page_token)).await.unwrap();
    assert_eq!((third.conversions.as_slice(), third.next_page_token.as_str()), (&all[2..], ""));

    let refused = |request: ListConversionsRequest| {
        let mut client = client.clone();
        async move {
            let status = conversions(&mut client, request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            wrong_fields(&status)
        }
    };
    let vendor = "inbox".to_owned();
    assert_eq!(refused(ListConversionsRequest { vendor, ..page(1, &token) }).await, ["page_token"]);
    for other in ["x", "!", &token[1..], &format!("{token}AA"), &"A".repeat(43)] {
        assert_eq!(refused(page(1, other)).await, ["page_token"], "{other}");
    }
    let country = "Malaysia".to_owned();
    let wrong = ListConversionsRequest { country, channel: 99, page_size: -1, ..page(1, "~") };
    assert_eq!(refused(wrong).await, ["channel", "country", "page_size", "page_token"]);
}
