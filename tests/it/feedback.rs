//! What an operator says of whether something arrived, over gRPC, and what a vendor is told of it, which takes feedback
//! and is played by a server here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tonic::{Code, Status};
use verigate::clock::Clock;
use verigate::proto::admin::v1::submit_feedback_request::Subject;
use verigate::proto::admin::v1::{
    BreakerState, Conversion, FeedbackOutcome, ListConversionsRequest, ListVendorsRequest, SubmitFeedbackRequest,
    Vendor, VendorCalls,
};
use verigate::proto::messaging::v1::{GetMessageRequest, Message, MessageStatus, SendMessageRequest};
use verigate::proto::verification::v1::{CheckOutcome, VerificationStatus};

use crate::support::gateway::{
    Admin, CONFIG, Gateway, PHONE, Verifications, eventually, get_verification, judge, reason, resend, start,
    start_now, text_to, wrong, wrong_fields,
};
use crate::support::http::get;
use crate::support::log::Log;
use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};

const SECOND: Duration = Duration::from_secs(1);
const SECRET: &str = "feedback-test-secret-5c07";
const RECEIVED: FeedbackOutcome = FeedbackOutcome::Received;
const NOT_RECEIVED: FeedbackOutcome = FeedbackOutcome::NotReceived;

/// A gateway whose text messages a vendor carries that takes feedback.
struct House {
    server: VendorServer,
    gateway: Gateway,
    admin: Admin,
    client: Verifications,
    vendor: &'static str,
}

// === impl House ===

impl House {
    async fn new() -> Self {
        Self::with("carrier", "").await
    }

    /// The vendor under this name, for metrics are those of the process, and with more keys.
    async fn with(vendor: &'static str, keys: &str) -> Self {
        let sent = AtomicUsize::new(0);
        let server = VendorServer::start(move |request| match request.path() {
            "/send" => Answer::json(201, json!({"id": format!("m/{}", sent.fetch_add(1, Ordering::Relaxed))})),
            _ => Answer::new(204, ""),
        })
        .await;
        let url = server.url();
        let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true").replacen(
            "vendors = [\"inbox\"]",
            &format!("vendors = [\"{vendor}\"]"),
            1,
        );
        // The vendor's own time is longer than ours, so that ours is what ends a call.
        let described = format!(
            r#"
[vendors.{vendor}]
kind = "http"
channels = ["sms"]
url = "{url}/send"
secret = "{SECRET}"
headers = {{ authorization = "Bearer {{secret}}" }}
json = {{ to = "{{recipient}}", text = "{{text}}" }}
answer = {{ id = "/id" }}
timeout = "90s"
{keys}

[vendors.{vendor}.feedback]
url = "{url}/feedback/{{id}}"
headers = {{ authorization = "Bearer {{secret}}" }}
form = {{ came = "{{outcome}}" }}
received = "yes"
not_received = "no"
"#
        );
        let gateway =
            Gateway::start_with(&format!("{config}\n{described}\n[messaging]\nattempt_timeout = \"20s\"\n")).await;
        let (admin, client) = (gateway.admin().await, gateway.verifications().await);
        Self { server, gateway, admin, client, vendor }
    }

    async fn restart(self) -> Self {
        let gateway = self.gateway.restart().await;
        let (admin, client) = (gateway.admin().await, gateway.verifications().await);
        Self { gateway, admin, client, ..self }
    }

    /// Starts a verification; its id and its code.
    async fn start(&mut self, phone: &str) -> (String, String) {
        let id = start_now(&mut self.client, start(phone)).await.unwrap().id;
        (id, self.code_to(phone))
    }

    fn code_to(&self, phone: &str) -> String {
        let sends = self.server.requests().into_iter().map(|request| request.json());
        let text = sends.rev().find(|send| send["to"] == phone).unwrap()["text"].clone();
        let runs = text.as_str().unwrap().split(|c: char| !c.is_ascii_digit());
        runs.max_by_key(|run| run.len()).unwrap().to_owned()
    }

    async fn verification(&mut self, id: &str, outcome: FeedbackOutcome) -> Result<bool, (Code, String)> {
        self.say(Subject::VerificationId(id.to_owned()), outcome).await
    }

    async fn message(&mut self, id: &str, outcome: FeedbackOutcome) -> Result<bool, (Code, String)> {
        self.say(Subject::MessageId(id.to_owned()), outcome).await
    }

    /// Whether it counts.
    async fn say(&mut self, subject: Subject, outcome: FeedbackOutcome) -> Result<bool, (Code, String)> {
        let request = SubmitFeedbackRequest { subject: Some(subject), ..feedback(outcome) };
        let taken = self.admin.submit_feedback(request).await.map_err(|status| told(&status))?.into_inner();
        assert_eq!(taken.vendor, self.vendor);
        Ok(taken.counted)
    }

    /// What the vendor was told so far, in the order in which it came: of which message, and what.
    fn feedback(&self) -> Vec<(String, String)> {
        let requests = self.server.requests().into_iter();
        let tells =
            requests.filter_map(|request| Some((request.path().strip_prefix("/feedback/")?.to_owned(), request)));
        let read = |(id, request): (String, Recorded)| {
            assert_eq!(
                (request.method.as_str(), request.header("authorization")),
                ("POST", Some(&*format!("Bearer {SECRET}")))
            );
            (id, String::from_utf8(request.body).unwrap())
        };
        tells.map(read).collect()
    }

    /// Waits until the vendor was told so much.
    async fn until_told(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(id, said)| ((*id).to_owned(), (*said).to_owned())).collect();
        eventually(async || (self.feedback().len() >= expected.len()).then_some(())).await;
        assert_eq!(self.feedback(), expected);
    }

    /// Sends and approvals of the vendor.
    async fn conversion(&mut self) -> (i32, i32) {
        let rows = self.admin.list_conversions(ListConversionsRequest::default()).await.unwrap().into_inner();
        rows.conversions.first().map_or((0, 0), |Conversion { sends, approvals, .. }| (*sends, *approvals))
    }

    async fn carrier(&mut self) -> Vendor {
        let vendors = self.admin.list_vendors(ListVendorsRequest {}).await.unwrap().into_inner().vendors;
        vendors.into_iter().find(|vendor| vendor.name == self.vendor).unwrap()
    }

    async fn count(&self, result: &str) -> u64 {
        let admin = self.gateway.addresses.admin;
        let page = get(admin, "/metrics", &[&format!("Host: {admin}")]).await.body;
        let line = format!("verigate_feedback_total{{vendor=\"{}\",result=\"{result}\"}} ", self.vendor);
        page.lines().find_map(|text| text.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }

    async fn send(&self, request: SendMessageRequest) -> Message {
        self.gateway.messages().await.send_message(request).await.unwrap().into_inner().message.unwrap()
    }

    async fn until(&self, message: &Message, status: MessageStatus) {
        let mut messages = self.gateway.messages().await;
        eventually(async || {
            let request = GetMessageRequest { id: message.id.clone() };
            let message = messages.get_message(request).await.unwrap().into_inner().message.unwrap();
            (message.status() == status).then_some(())
        })
        .await;
    }
}

fn feedback(outcome: FeedbackOutcome) -> SubmitFeedbackRequest {
    SubmitFeedbackRequest { outcome: outcome.into(), ..SubmitFeedbackRequest::default() }
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn contradicts() -> Result<bool, (Code, String)> {
    Err((Code::FailedPrecondition, "FEEDBACK_CONTRADICTS".to_owned()))
}

fn not_sent() -> Result<bool, (Code, String)> {
    Err((Code::FailedPrecondition, "NOT_SENT".to_owned()))
}

// === codes ===

#[tokio::test]
async fn an_approval_is_told_once_to_the_vendor_that_carried_the_code() {
    let mut house = House::new().await;
    assert!(house.carrier().await.takes_feedback);
    let (id, code) = house.start(PHONE).await;
    assert_eq!(judge(&mut house.client, &id, &wrong(&code, 0)).await, CheckOutcome::WrongCode);
    assert_eq!(house.feedback(), []);
    assert_eq!(judge(&mut house.client, &id, &code).await, CheckOutcome::Approved);
    house.until_told(&[("m%2F0", "came=yes")]).await;
    assert_eq!(judge(&mut house.client, &id, &code).await, CheckOutcome::AlreadyApproved);
    assert_eq!(house.conversion().await, (1, 1));
    // What is known already is neither counted nor told again.
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(false));
    assert_eq!(house.verification(&id, NOT_RECEIVED).await, contradicts());
    let (other, code) = house.start("+60123456788").await;
    assert_eq!(judge(&mut house.client, &other, &code).await, CheckOutcome::Approved);
    house.until_told(&[("m%2F0", "came=yes"), ("m%2F1", "came=yes")]).await;
    assert_eq!(house.conversion().await, (2, 2));
}

#[tokio::test]
async fn a_code_that_is_said_to_be_received_counts_as_an_approval_does_and_once() {
    let mut house = House::new().await;
    let (id, code) = house.start(PHONE).await;
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(true));
    house.until_told(&[("m%2F0", "came=yes")]).await;
    assert_eq!(house.conversion().await, (1, 1));
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(false));
    assert_eq!(house.verification(&id, NOT_RECEIVED).await, contradicts());
    let mut house = house.restart().await;
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(false));
    // The code is good as before, and its approval is no news.
    assert_eq!(get_verification(&mut house.client, &id).await.status(), VerificationStatus::Pending);
    assert_eq!(judge(&mut house.client, &id, &code).await, CheckOutcome::Approved);
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(false));
    assert_eq!(house.conversion().await, (1, 1));
    // What was told at once would have come before what comes later.
    house.start("+60123456788").await;
    assert_eq!(house.feedback().len(), 1);
}

#[tokio::test]
async fn an_ended_verification_can_be_spoken_of_as_long_as_it_is_kept() {
    let mut house = House::new().await;
    let (id, _) = house.start(PHONE).await;
    house.gateway.clock.advance(700 * SECOND);
    assert_eq!(get_verification(&mut house.client, &id).await.status(), VerificationStatus::Expired);
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(true));
    assert_eq!(house.conversion().await, (1, 1));
    house.until_told(&[("m%2F0", "came=yes")]).await;
    house.gateway.clock.advance(48 * 3600 * SECOND);
    let gone = Err((Code::NotFound, "VERIFICATION_NOT_FOUND".to_owned()));
    assert_eq!(house.verification(&id, RECEIVED).await, gone);
}

#[tokio::test]
async fn what_was_not_received_counts_for_nobody_and_a_resend_can_be_received_after_all() {
    let mut house = House::new().await;
    let (id, _) = house.start(PHONE).await;
    assert_eq!(house.verification(&id, NOT_RECEIVED).await, Ok(false));
    house.until_told(&[("m%2F0", "came=no")]).await;
    assert_eq!(house.verification(&id, NOT_RECEIVED).await, Ok(false));
    assert_eq!(house.verification(&id, RECEIVED).await, contradicts());
    assert_eq!(house.conversion().await, (1, 0));
    house.gateway.clock.advance(30 * SECOND);
    resend(&mut house.client, &id).await.unwrap();
    eventually(async || (house.conversion().await == (2, 0)).then_some(())).await;
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(true));
    house.until_told(&[("m%2F0", "came=no"), ("m%2F1", "came=yes")]).await;
    assert_eq!(house.verification(&id, NOT_RECEIVED).await, contradicts());
    assert_eq!(house.conversion().await, (2, 1));
    assert_eq!(house.feedback().len(), 2);
}

#[tokio::test]
async fn who_gives_the_code_back_shows_that_it_came_whatever_was_said() {
    let mut house = House::new().await;
    let (id, code) = house.start(PHONE).await;
    assert_eq!(house.verification(&id, NOT_RECEIVED).await, Ok(false));
    house.until_told(&[("m%2F0", "came=no")]).await;
    assert_eq!(judge(&mut house.client, &id, &code).await, CheckOutcome::Approved);
    house.until_told(&[("m%2F0", "came=no"), ("m%2F0", "came=yes")]).await;
    assert_eq!(house.conversion().await, (1, 1));
    assert_eq!(house.verification(&id, RECEIVED).await, Ok(false));
}

#[tokio::test]
async fn of_many_at_once_and_an_approval_one_counts() {
    let mut house = House::new().await;
    for last in 0..5 {
        let (id, code) = house.start(&format!("+6012345691{last}")).await;
        let says = (0..20).map(|_| {
            let mut admin = house.admin.clone();
            let subject = Some(Subject::VerificationId(id.clone()));
            async move {
                let request = SubmitFeedbackRequest { subject, ..feedback(RECEIVED) };
                admin.submit_feedback(request).await.unwrap().into_inner().counted
            }
        });
        let mut client = house.client.clone();
        let check = async { judge(&mut client, &id, &code).await };
        let (counted, outcome) = tokio::join!(futures_util::future::join_all(says), check);
        assert_eq!(outcome, CheckOutcome::Approved);
        assert!(counted.into_iter().filter(|counted| *counted).count() <= 1);
        assert_eq!(house.conversion().await, (last + 1, last + 1));
    }
}

#[tokio::test]
async fn a_code_that_no_vendor_has_cannot_have_arrived() {
    let mut house = House::new().await;
    house.server.set_fault(Fault::Refuse).await;
    let started = house.client.start_verification(start(PHONE)).await.unwrap().into_inner();
    let id = started.verification.unwrap().id;
    // The attempt is over, and surely sent nothing; another one is to follow.
    eventually(async || {
        let send = get_verification(&mut house.client, &id).await.sends.pop().unwrap();
        (send.attempts == 1 && send.status() == MessageStatus::Queued).then_some(())
    })
    .await;
    for outcome in [RECEIVED, NOT_RECEIVED] {
        assert_eq!(house.verification(&id, outcome).await, not_sent());
    }
    assert_eq!(house.conversion().await, (0, 0));
}

// === messages ===

#[tokio::test]
async fn feedback_on_a_message_is_kept_and_told_and_counts_for_no_conversion() {
    let mut house = House::new().await;
    let (one, two) = (house.send(text_to(PHONE, "one")).await, house.send(text_to(PHONE, "two")).await);
    house.until(&one, MessageStatus::Sent).await;
    house.until(&two, MessageStatus::Sent).await;
    assert_eq!(house.message(&one.id, RECEIVED).await, Ok(false));
    eventually(async || (house.feedback().len() == 1).then_some(())).await;
    assert_eq!(house.message(&two.id, NOT_RECEIVED).await, Ok(false));
    eventually(async || (house.feedback().len() == 2).then_some(())).await;
    let mut house = house.restart().await;
    assert_eq!(house.message(&one.id, RECEIVED).await, Ok(false));
    assert_eq!(house.message(&two.id, NOT_RECEIVED).await, Ok(false));
    assert_eq!(house.message(&one.id, NOT_RECEIVED).await, contradicts());
    assert_eq!(house.message(&two.id, RECEIVED).await, contradicts());
    let words: Vec<_> = house.feedback().into_iter().map(|(_, said)| said).collect();
    assert_eq!(words, ["came=yes", "came=no"]);
    assert_eq!(house.conversion().await, (0, 0));
}

#[tokio::test]
async fn a_message_that_no_vendor_has_cannot_have_arrived() {
    let mut house = House::new().await;
    let at = (house.gateway.clock.now() + 3600 * SECOND).as_millis() / 1000;
    let send_at = Some(prost_types::Timestamp { seconds: i64::try_from(at).unwrap(), nanos: 0 });
    let waiting = house.send(SendMessageRequest { send_at, ..text_to(PHONE, "later") }).await;
    let refusal = Answer::new(400, "");
    house.server.set_fault(Fault::Answer(refusal)).await;
    let refused = house.send(text_to(PHONE, "now")).await;
    house.until(&refused, MessageStatus::Rejected).await;
    for message in [&waiting, &refused] {
        for outcome in [RECEIVED, NOT_RECEIVED] {
            assert_eq!(house.message(&message.id, outcome).await, not_sent());
        }
    }
    assert_eq!(house.feedback(), []);
}

// === who may say what of whom ===

#[tokio::test]
async fn an_id_is_looked_for_in_the_tenant_that_is_named() {
    let mut house = House::new().await;
    let mut other = house.gateway.verifications_as("other.other-secret-of-some-length").await;
    let theirs = start_now(&mut other, start(PHONE)).await.unwrap().id;
    let (ours, _) = house.start(PHONE).await;
    let say = async |tenant: &str, subject: Subject| {
        let tenant = tenant.to_owned();
        let request = SubmitFeedbackRequest { tenant, subject: Some(subject), ..feedback(RECEIVED) };
        house.gateway.admin().await.submit_feedback(request).await.map(|taken| taken.into_inner().counted)
    };
    let verification = |id: &str| Subject::VerificationId(id.to_owned());
    let message = |id: &str| Subject::MessageId(id.to_owned());
    for (tenant, subject, missing) in [
        ("", verification(&theirs), "VERIFICATION_NOT_FOUND"),
        ("acme", verification(&theirs), "VERIFICATION_NOT_FOUND"),
        ("other", verification(&ours), "VERIFICATION_NOT_FOUND"),
        ("nobody", verification(&ours), "VERIFICATION_NOT_FOUND"),
        ("", message(&ours), "MESSAGE_NOT_FOUND"),
        ("other", message(&theirs), "MESSAGE_NOT_FOUND"),
    ] {
        let refused = say(tenant, subject.clone()).await.unwrap_err();
        assert_eq!(told(&refused), (Code::NotFound, missing.to_owned()), "{tenant} {subject:?}");
    }
    assert!(say("other", verification(&theirs)).await.unwrap());
    assert!(say("acme", verification(&ours)).await.unwrap());
    assert!(!say("", verification(&ours)).await.unwrap());
    assert_eq!(house.conversion().await, (2, 2));
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let mut house = House::new().await;
    let id = || Some(Subject::VerificationId("01a20aac-558b-807e-b71c-60eaf9dc4490".to_owned()));
    let bad = |subject: fn(String) -> Subject| Some(subject("4711".to_owned()));
    for (tenant, subject, outcome, fields) in [
        ("A b", None, 0, &["tenant", "subject", "outcome"][..]),
        ("", bad(Subject::VerificationId), 1, &["verification_id"]),
        ("", bad(Subject::MessageId), 3, &["message_id", "outcome"]),
        ("", id(), -1, &["outcome"]),
    ] {
        let request = SubmitFeedbackRequest { tenant: tenant.to_owned(), subject, outcome };
        let refused = house.admin.submit_feedback(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), wrong_fields(&refused)),
            (Code::InvalidArgument, fields.iter().map(|it| (*it).to_owned()).collect())
        );
    }
}

// === a vendor that does not listen ===

#[tokio::test]
async fn a_vendor_that_does_not_listen_keeps_nobody_waiting_and_is_not_thought_worse_of() {
    let log = Log::start("trace");
    let mut house = House::with("deaf", "breaker = { in_a_row = 1, samples = 1, share = 1, pause = \"1h\" }").await;
    for (last, fault) in [(1, Fault::Silence), (2, Fault::ServerError), (3, Fault::Refuse), (4, Fault::Echo(401))] {
        house.server.set_fault(None).await;
        let phone = format!("+6012345671{last}");
        let (id, code) = house.start(&phone).await;
        let so_far = house.feedback().len();
        house.server.set_fault(fault.clone()).await;
        // The clock stands still, so whoever waited for the vendor would wait for ever.
        assert_eq!(judge(&mut house.client, &id, &code).await, CheckOutcome::Approved, "{fault:?}");
        if !matches!(fault, Fault::Refuse) {
            eventually(async || (house.feedback().len() > so_far).then_some(())).await;
        }
        if matches!(fault, Fault::Silence) {
            assert_eq!((house.count("failed").await, house.carrier().await.under_way), (0, 1));
            house.gateway.clock.advance(20 * SECOND);
        }
        eventually(async || (house.count("failed").await == last).then_some(())).await;
        let vendor = house.carrier().await;
        let calls = VendorCalls { accepted: i32::try_from(last).unwrap(), ..VendorCalls::default() };
        assert_eq!((vendor.breaker(), vendor.calls), (BreakerState::Closed, Some(calls)));
    }
    assert_eq!((house.conversion().await, house.count("told").await), ((4, 4), 0));
    let logged = String::from_utf8(log.bytes()).unwrap();
    assert!(logged.contains("did not take what came of a message"), "failures are logged");
    for secret in [SECRET, &house.code_to("+60123456711"), &house.code_to("+60123456714")] {
        assert!(!logged.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn feedback_takes_half_of_a_vendors_room_at_most() {
    let mut house = House::with("small", "concurrency = 2").await;
    let mut codes = Vec::new();
    for last in 1..=3 {
        codes.push(house.start(&format!("+6012345681{last}")).await);
    }
    house.server.set_fault(Fault::Silence).await;
    for (id, code) in &codes {
        assert_eq!(judge(&mut house.client, id, code).await, CheckOutcome::Approved);
    }
    eventually(async || (house.feedback().len() == 1).then_some(())).await;
    assert_eq!(house.count("no_room").await, 2);
    // Messages still pass.
    house.server.set_fault(None).await;
    let message = house.send(text_to(PHONE, "Hello")).await;
    house.until(&message, MessageStatus::Sent).await;
    house.gateway.clock.advance(20 * SECOND);
    eventually(async || (house.carrier().await.under_way == 0).then_some(())).await;
    let (id, code) = house.start("+60123456814").await;
    assert_eq!(judge(&mut house.client, &id, &code).await, CheckOutcome::Approved);
    eventually(async || (house.count("told").await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_vendor_that_takes_no_feedback_is_told_nothing() {
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true");
    let gateway = Gateway::start_with(&config).await;
    let (mut admin, mut client) = (gateway.admin().await, gateway.verifications().await);
    let id = start_now(&mut client, start(PHONE)).await.unwrap().id;
    let request = SubmitFeedbackRequest { subject: Some(Subject::VerificationId(id)), ..feedback(RECEIVED) };
    let taken = admin.submit_feedback(request).await.unwrap().into_inner();
    assert_eq!((taken.vendor.as_str(), taken.counted), ("inbox", true));
    assert!(!admin.list_vendors(ListVendorsRequest {}).await.unwrap().into_inner().vendors[0].takes_feedback);
}
