//! A vendor that lies, through the whole gateway: it answers 200 with a page, another schema, broken bytes or megabytes,
//! sends us elsewhere, or gives back what it was given. Nobody is told that a message went out when nobody knows; codes
//! take the next vendor; and nothing that the vendor says comes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use tonic::Response;
use verigate::proto::messaging::v1::{FailureReason, GetMessageRequest, Message, MessageStatus};
use verigate::proto::verification::v1::CheckOutcome;

use crate::attacks::canary::{Told, assert_clean, files, generated};
use crate::support::gateway::{
    CONFIG, Gateway, Messages, Verifications, check, eventually, get_verification, start_now, text_to,
};
use crate::support::http::get;
use crate::support::log::Log;
use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};

const USER: &str = "Canary-Vendor-User";
const PASS: &str = "Canary-Vendor-Secret";
const TEXT: &str = "Canary text of a message";
/// In whatever the vendor says by itself.
const MARK: &str = "Canary-Of-The-Vendor";

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The vendor had it, and perhaps sent it.
    Doubt,
    /// Surely not sent, and the next vendor delivered it.
    Elsewhere,
    /// Nobody can send it.
    Refused,
    Sent,
}

/// A gateway whose first vendor lies, and whose second takes everything.
struct House {
    gateway: Gateway,
    verifications: Verifications,
    messages: Messages,
    liar: VendorServer,
    /// The status that the liar gives when it does not do worse.
    status: Arc<AtomicI64>,
    told: Told,
    /// Codes that the liar was given.
    codes: Vec<String>,
}

// === impl House ===

impl House {
    async fn new() -> Self {
        let status = Arc::new(AtomicI64::new(0));
        let said = status.clone();
        let liar = VendorServer::start(move |request| echo(request, said.load(Ordering::SeqCst))).await;
        let vendor = format!(
            "[vendors.liar]\nkind = \"esms\"\nbase_url = \"{}\"\nuser = \"{USER}\"\npass = \"{PASS}\"\n\
             # It must be asked in every case, however often it fails.\nbreaker = {{ in_a_row = 0, share = 0 }}\nretry_budget = 100\n",
            liar.url()
        );
        let config = CONFIG.replacen("vendors = [\"inbox\"]", "vendors = [\"liar\", \"inbox\"]", 1) + &vendor;
        let gateway = Gateway::start_with(&config).await;
        Self {
            verifications: gateway.verifications().await,
            messages: gateway.messages().await,
            gateway,
            liar,
            status,
            told: Told::default(),
            codes: Vec::new(),
        }
    }

    /// A text that the vendor was given last, without what it wants at its head.
    fn given(&self) -> String {
        let given = self.liar.requests().pop().unwrap().json()["msg"].as_str().unwrap().to_owned();
        given.strip_prefix("RM0.00 ").unwrap().to_owned()
    }

    async fn texts(&self, phone: &str) -> Vec<String> {
        let messages = self.gateway.inbox(phone).await;
        messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }

    async fn verify(&mut self, phone: &str, end: End, case: &str) {
        let before = self.liar.requests().len();
        let begun = start_now(&mut self.verifications, generated(phone)).await;
        let begun = self.told.hear(begun).unwrap();
        assert_eq!(self.liar.requests().len(), before + 1, "{case}: a code goes to a vendor in doubt once");
        let text = self.given();
        let code = code_in(&text);
        assert_eq!(code.len(), 30, "{case}");
        let went_on = matches!(end, End::Doubt | End::Elsewhere);
        let expected: &[String] = if went_on { &[text] } else { &[] };
        assert_eq!(self.texts(phone).await, expected, "{case}: the same code, by the next vendor");
        let seen = get_verification(&mut self.verifications, &begun.id).await;
        self.told.hear(Ok(seen));
        if end != End::Refused {
            let checked = check(&mut self.verifications, &begun.id, &code).await;
            assert_eq!(self.told.hear(checked).unwrap().outcome(), CheckOutcome::Approved, "{case}");
        }
        self.codes.push(code);
    }

    async fn write_to(&mut self, phone: &str, end: End, case: &str) {
        let before = self.liar.requests().len();
        let sent = self.messages.send_message(text_to(phone, TEXT)).await.map(Response::into_inner);
        let id = self.told.hear(sent).unwrap().message.unwrap().id;
        let message = self.settled(&id).await;
        let (status, reason, copies) = match end {
            End::Doubt => (MessageStatus::Unknown, FailureReason::VendorNoClearAnswer, 0),
            End::Elsewhere => (MessageStatus::Delivered, FailureReason::Unspecified, 1),
            End::Refused => (MessageStatus::Rejected, FailureReason::InvalidRecipient, 0),
            End::Sent => (MessageStatus::Sent, FailureReason::Unspecified, 0),
        };
        assert_eq!((message.status(), message.reason()), (status, reason), "{case}");
        assert_eq!(self.texts(phone).await.len(), copies, "{case}: no second copy of what perhaps went out");
        assert_eq!(self.liar.requests().len(), before + 1, "{case}: asked once");
        self.told.hear(Ok(message));
    }

    /// Where the message rests. What the second vendor takes is delivered at once.
    async fn settled(&mut self, id: &str) -> Message {
        eventually(async || {
            let request = GetMessageRequest { id: id.to_owned() };
            let message = self.messages.get_message(request).await.unwrap().into_inner().message.unwrap();
            let moving = matches!(message.status(), MessageStatus::Queued | MessageStatus::Sending)
                || (message.status() == MessageStatus::Sent && message.vendor == "inbox");
            (!moving).then_some(message)
        })
        .await
    }
}

/// Gives back what it was given, in every place that has room.
fn echo(request: &Recorded, status: i64) -> Answer {
    let msg = request.json()["msg"].as_str().unwrap_or_default().to_owned();
    let id = format!("sms-{}-1", code_in(&msg));
    let said = json!({"status": status, "message": format!("{MARK}: {msg}"), "id": id, "seen": request.json()});
    Answer::json(200, said).with_header("x-said", MARK)
}

/// The longest run of letters.
fn code_in(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphabetic()).max_by_key(|run| run.len()).unwrap().to_owned()
}

fn other_schema(body: Value) -> Fault {
    Fault::Answer(Answer::json(200, body))
}

#[tokio::test]
async fn a_vendor_that_lies_is_not_believed_and_not_repeated() {
    let log = Log::start("trace");
    let mut house = House::new().await;
    let elsewhere = VendorServer::start(|request| echo(request, 0)).await;
    let to = format!("{}/sms/send?{MARK}", elsewhere.url());
    let worse = [
        (Fault::Html, End::Doubt),
        (other_schema(json!({"result": "ok", "note": MARK})), End::Doubt),
        (other_schema(json!({"status": "0", "id": MARK})), End::Doubt),
        (other_schema(json!([{"status": 0}])), End::Doubt),
        (Fault::Redirect(to), End::Doubt),
        (Fault::NotUtf8, End::Doubt),
        (Fault::Huge, End::Doubt),
        (Fault::Echo(200), End::Doubt),
        (Fault::Echo(500), End::Doubt),
        (Fault::ServerError, End::Doubt),
        (Fault::BreakOff, End::Doubt),
        (Fault::Reset, End::Doubt),
        (Fault::Echo(400), End::Elsewhere),
        (Fault::Echo(401), End::Elsewhere),
    ];
    let answers = [(6, End::Doubt), (99, End::Doubt), (1, End::Elsewhere), (9, End::Refused), (0, End::Sent)];
    let worse = worse.map(|(fault, end)| (Some(fault), 0, end));
    let cases = worse.into_iter().chain(answers.map(|(status, end)| (None, status, end)));
    for (i, (fault, status, end)) in cases.enumerate() {
        let case = format!("{fault:?}, status {status}");
        house.status.store(status, Ordering::SeqCst);
        house.liar.set_fault(fault).await;
        house.verify(&format!("+60123451{:03}", 100 + i), end, &case).await;
        house.write_to(&format!("+60123452{:03}", 100 + i), end, &case).await;
    }
    assert_eq!(elsewhere.requests(), [], "credentials and texts go nowhere else");

    let House { gateway, codes, told, .. } = house;
    let host = format!("Host: {}", gateway.addresses.admin);
    let metrics = get(gateway.addresses.admin, "/metrics", &[&host]).await.body;
    let gateway = gateway.restart().await;
    let logged = log.bytes();
    assert!(String::from_utf8_lossy(&logged).contains("vendor's answer makes no sense"));
    let secrets: Vec<_> = codes.into_iter().chain([USER, PASS, MARK].map(str::to_owned)).collect();
    assert_clean("an answer", &told.answers, &secrets);
    let secrets = [secrets, vec![TEXT.to_owned()]].concat();
    assert_clean("the log", &logged, &secrets);
    assert_clean("the metrics", metrics.as_bytes(), &secrets);
    assert_clean("the store", &files(&gateway.data()), &secrets);
}
