//! What must stay secret is looked for in everything that a run leaves behind: logs at their finest level, the metric
//! page, the health pages, what is exported, refusals, answers and the files of the store. Only the inbox shows messages; that is its
//! purpose.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use tonic::{Response, Status, Streaming};
use verigate::proto::messaging::v1::{
    CancelMessageRequest, GetMessageRequest, ListMessagesRequest, PreviewMessageRequest, SendMessagesRequest, Template,
    WatchMessageRequest, preview_message_request, recipient, send_messages_request,
};
use verigate::proto::verification::v1::{
    AlphabetClass, CheckOutcome, CheckVerificationRequest, CodePolicy, ListVerificationsRequest, OnExisting,
    StartVerificationRequest, WatchVerificationRequest,
};

use crate::support::collector::Collector;
use crate::support::gateway::{
    CONFIG, Gateway, Messages, Verifications, by_id, cancel, check, get_verification, phone, resend, start, start_now,
    text_to,
};
use crate::support::http::get;
use crate::support::log::Log;

const SECRET: &str = "acme-secret-of-some-length";
const WRONG_SECRET: &str = "wrong-secret-of-some-length";
const CUSTOM_CODE: &str = "Canary-Custom-Code-4711";
const WRONG_CODE: &str = "Canary-Wrong-Code-0815";
const TEXT: &str = "Canary text of a message";
const EMAIL: &str = "canary.person@example.com";
/// Delivered, failed, rejected and in doubt.
const PHONES: [&str; 4] = ["+60123451477", "+60123451002", "+60123451003", "+60123451008"];

/// What a run has told its callers.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) answers: Vec<u8>,
    refusals: Vec<u8>,
}

impl Told {
    /// As it is on the wire, and as a program that logs its answers would show it.
    pub(crate) fn hear<T: Message + std::fmt::Debug>(&mut self, answer: Result<T, Status>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.answers.extend(answer.encode_to_vec());
                self.answers.extend(format!("{answer:?}").into_bytes());
                Some(answer)
            }
            Err(refused) => {
                self.refusals.extend(format!("{refused} {refused:?} {:?}", refused.metadata()).into_bytes());
                self.refusals.extend(refused.details());
                None
            }
        }
    }

    /// Hears a stream up to an answer after which none is due.
    async fn follow<T: Message + std::fmt::Debug>(
        &mut self,
        stream: Result<Response<Streaming<T>>, Status>,
        last: impl Fn(&T) -> bool,
    ) {
        let mut stream = stream.unwrap().into_inner();
        while let Some(answer) = stream.message().await.unwrap() {
            if last(&self.hear(Ok(answer)).unwrap()) {
                return;
            }
        }
    }
}

/// What must be nowhere, and what more must be nowhere but in the answers to its callers.
struct Secrets {
    everywhere: Vec<String>,
    but_in_answers: Vec<String>,
}

/// Codes that occur nowhere by chance.
pub(crate) fn generated(phone: &str) -> StartVerificationRequest {
    let alphabet = vec![AlphabetClass::Upper.into(), AlphabetClass::Lower.into()];
    let policy = CodePolicy { length: 30, alphabet, ..CodePolicy::default() };
    StartVerificationRequest { policy: Some(policy), ..start(phone) }
}

/// The code in the newest message to a recipient: its longest run of letters.
async fn generated_code(gateway: &Gateway, phone: &str) -> String {
    let messages = gateway.inbox(phone).await;
    let text = messages[0]["text"].as_str().unwrap().to_owned();
    text.split(|c: char| !c.is_ascii_alphabetic()).max_by_key(|run| run.len()).unwrap().to_owned()
}

/// Everything that can be asked of one recipient; returns the code that was made for it, if one arrived.
async fn run(gateway: &Gateway, client: &mut Verifications, phone: &str, told: &mut Told) -> Option<String> {
    let begun = told.hear(start_now(client, generated(phone)).await).unwrap();
    let code = if gateway.inbox(phone).await.is_empty() { None } else { Some(generated_code(gateway, phone).await) };
    told.hear(check(client, &begun.id, WRONG_CODE).await);
    told.hear(check(client, &begun.id, &format!("{WRONG_CODE} blank")).await);
    for candidate in [WRONG_CODE, WRONG_CODE, CUSTOM_CODE] {
        let keyed = CheckVerificationRequest { idempotency_key: "k".to_owned(), ..by_id(&begun.id, candidate) };
        told.hear(client.check_verification(keyed).await.map(Response::into_inner));
    }
    told.hear(resend(client, &begun.id).await);
    gateway.clock.advance(Duration::from_secs(30));
    told.hear(resend(client, &begun.id).await);
    gateway.clock.advance(Duration::from_secs(60));
    told.hear(Ok(get_verification(client, &begun.id).await));
    let custom = StartVerificationRequest { custom_code: CUSTOM_CODE.to_owned(), ..start(phone) };
    told.hear(start_now(client, custom.clone()).await);
    let replaced = StartVerificationRequest { on_existing: OnExisting::Replace.into(), ..custom.clone() };
    gateway.clock.advance(Duration::from_secs(120));
    if let Some(begun) = told.hear(start_now(client, replaced).await) {
        told.hear(check(client, &begun.id, code.as_deref().unwrap_or(WRONG_CODE)).await);
        told.hear(check(client, &begun.id, CUSTOM_CODE).await);
        told.hear(cancel(client, &begun.id).await);
    }
    told.hear(start_now(client, StartVerificationRequest { idempotency_key: "x".to_owned(), ..custom.clone() }).await);
    told.hear(start_now(client, StartVerificationRequest { return_code: true, ..custom.clone() }).await);
    told.hear(start_now(client, StartVerificationRequest { scope: "no scope".to_owned(), ..custom.clone() }).await);
    told.hear(start_now(client, StartVerificationRequest { custom_code: format!("{CUSTOM_CODE} "), ..custom }).await);
    told.hear(start_now(client, start(&format!("{phone};ext=1"))).await);
    let of = ListVerificationsRequest { recipient: Some(self::phone(phone)), ..ListVerificationsRequest::default() };
    for list in [ListVerificationsRequest::default(), of] {
        let page = told.hear(client.list_verifications(list).await.map(Response::into_inner)).unwrap();
        let newest = page.verifications.into_iter().next().unwrap();
        let watch = client.watch_verification(WatchVerificationRequest { id: newest.id }).await;
        told.follow(watch, |_| true).await;
    }
    let watch = client.watch_verification(WatchVerificationRequest { id: begun.id }).await;
    told.follow(watch, |_| false).await;
    code
}

/// Everything that can be asked about messages to one recipient.
async fn write_to(client: &mut Messages, phone: &str, told: &mut Told) {
    let preview = PreviewMessageRequest {
        recipient: Some(self::phone(phone)),
        content: Some(preview_message_request::Content::Text(TEXT.to_owned())),
        ..PreviewMessageRequest::default()
    };
    told.hear(client.preview_message(preview.clone()).await.map(Response::into_inner)).unwrap();
    let unknown = preview_message_request::Content::Template(Template { name: TEXT.to_owned(), ..Template::default() });
    let preview = PreviewMessageRequest { content: Some(unknown), ..preview };
    assert!(told.hear(client.preview_message(preview).await.map(Response::into_inner)).is_none());
    let sent = client.send_message(text_to(phone, TEXT)).await.map(Response::into_inner);
    let id = told.hear(sent).unwrap().message.unwrap().id;
    let batch = SendMessagesRequest {
        recipients: vec![self::phone(phone), self::phone("12")],
        content: Some(send_messages_request::Content::Text(TEXT.to_owned())),
        ..SendMessagesRequest::default()
    };
    told.hear(client.send_messages(batch).await.map(Response::into_inner)).unwrap();
    let of = ListMessagesRequest { recipient: Some(self::phone(phone)), ..ListMessagesRequest::default() };
    told.hear(client.list_messages(of).await.map(Response::into_inner)).unwrap();
    told.hear(client.get_message(GetMessageRequest { id: id.clone() }).await.map(Response::into_inner)).unwrap();
    told.follow(client.watch_message(WatchMessageRequest { id: id.clone() }).await, |_| true).await;
    told.hear(client.cancel_message(CancelMessageRequest { id }).await.map(Response::into_inner));
}

/// All files below a folder, one after the other.
pub(crate) fn files(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { files(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

/// Asserts that no secret is in `bytes`.
pub(crate) fn assert_clean(place: &str, bytes: &[u8], secrets: &[String]) {
    // Secrets are ASCII, which this leaves alone; and the search of strings is fast.
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        if let Some(at) = text.find(secret) {
            let (start, end) = (text.floor_char_boundary(at.saturating_sub(300)), text.len().min(at + 100));
            panic!("{place} shows {secret:?}: {}", &text[start..text.ceil_char_boundary(end)]);
        }
    }
}

/// Does everything with verifications and messages that can be done, and returns what must be nowhere.
async fn everything(gateway: &Gateway, told: &mut Told) -> Secrets {
    let mut client = gateway.verifications().await;
    let mut codes = Vec::new();
    for phone in PHONES {
        codes.extend(run(gateway, &mut client, phone, told).await);
    }
    assert!(codes.iter().all(|code| code.len() == 30) && codes.len() == 3, "{}", codes.len());
    let mut mail = generated("");
    mail.recipient.as_mut().unwrap().address = Some(recipient::Address::Email(EMAIL.to_owned()));
    let mailed = told.hear(start_now(&mut client, mail).await).unwrap();
    codes.push(generated_code(gateway, EMAIL).await);
    for _ in 0..2 {
        let right = by_id(&mailed.id, codes.last().unwrap());
        let right = CheckVerificationRequest { idempotency_key: "right".to_owned(), ..right };
        let approved = told.hear(client.check_verification(right).await.map(Response::into_inner)).unwrap();
        assert_eq!(approved.outcome(), CheckOutcome::Approved);
    }
    let mut stranger = gateway.verifications_as(&format!("acme.{WRONG_SECRET}")).await;
    told.hear(start_now(&mut stranger, start(PHONES[0])).await);
    let mut messages = gateway.messages().await;
    for phone in PHONES {
        write_to(&mut messages, phone, told).await;
    }
    let mut everywhere = codes;
    everywhere.extend([SECRET, WRONG_SECRET, CUSTOM_CODE, WRONG_CODE].map(str::to_owned));
    // Its own recipient is told to a caller, but shown nowhere else: neither whole nor without its country.
    let numbers = PHONES.iter().flat_map(|phone| [phone.to_owned(), &phone[1..], &phone[3..]]);
    let but_in_answers = numbers.chain([EMAIL, TEXT]).map(str::to_owned).chain(everywhere.clone()).collect();
    Secrets { everywhere, but_in_answers }
}

/// On one thread, whose log is taken down; the store's own thread logs nothing but its end.
#[tokio::test]
async fn secrets_are_in_nothing_that_a_run_leaves_behind() {
    let log = Log::start("trace");
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(CONFIG, "")).await;
    let mut told = Told::default();
    let secrets = everything(&gateway, &mut told).await;
    let mut pages = Vec::new();
    for page in ["/metrics", "/healthz", "/readyz", "/inbox/nothing"] {
        let answer = get(gateway.addresses.admin, page, &[&format!("Host: {}", gateway.addresses.admin)]).await;
        pages.extend(format!("{}{}", answer.head, answer.body).into_bytes());
    }
    let gateway = gateway.restart().await;
    let log = log.bytes();

    assert_clean("an answer", &told.answers, &secrets.everywhere);
    let secrets = &secrets.but_in_answers;
    let lines = String::from_utf8_lossy(&log);
    assert!(lines.contains("TRACE") && lines.contains("a vendor did not take a message"), "this is not the whole log");
    assert!(!told.refusals.is_empty() && !pages.is_empty());
    assert_clean("a refusal", &told.refusals, secrets);
    assert_clean("a page", &pages, secrets);
    assert_clean("the log", &log, secrets);
    let spans: BTreeSet<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(spans.contains("vendor.send") && spans.len() > 8, "{spans:?}");
    assert!(!collector.metrics().is_empty());
    assert_clean("what is exported", &collector.look(|kept| kept.bytes.clone()), secrets);
    let stored = files(&gateway.data());
    assert!(stored.len() > 10_000, "{} bytes are stored", stored.len());
    assert_clean("the store", &stored, secrets);
}
