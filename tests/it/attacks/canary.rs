//! What must stay secret is looked for in everything that a run leaves behind: logs at their finest level, the metric
//! page, the health pages, refusals, answers and the files of the store. Only the inbox shows messages; that is its
//! purpose.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use tonic::Status;
use tracing_subscriber::EnvFilter;
use verigate::proto::messaging::v1::{SendMessageRequest, recipient, send_message_request};
use verigate::proto::verification::v1::{
    AlphabetClass, CheckOutcome, CodePolicy, ListVerificationsRequest, OnExisting, StartVerificationRequest,
    WatchVerificationRequest,
};

use crate::support::gateway::{
    CONFIG, Gateway, Verifications, cancel, check, get_verification, phone, resend, start, start_now,
};
use crate::support::http::get;

const SECRET: &str = "acme-secret-of-some-length";
const WRONG_SECRET: &str = "wrong-secret-of-some-length";
const CUSTOM_CODE: &str = "Canary-Custom-Code-4711";
const WRONG_CODE: &str = "Canary-Wrong-Code-0815";
const TEXT: &str = "Canary text of a message";
const EMAIL: &str = "canary.person@example.com";
/// Delivered, failed, rejected and in doubt.
const PHONES: [&str; 4] = ["+60123451477", "+60123451002", "+60123451003", "+60123451008"];

/// A log in memory.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a run has told its callers.
#[derive(Default)]
struct Told {
    answers: Vec<u8>,
    refusals: Vec<u8>,
}

impl Told {
    fn hear<T: std::fmt::Debug>(&mut self, answer: Result<T, Status>) -> Option<T> {
        match answer {
            Ok(answer) => {
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
}

fn generated(phone: &str) -> StartVerificationRequest {
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
    told.hear(resend(client, &begun.id).await);
    gateway.clock.advance(Duration::from_secs(30));
    told.hear(resend(client, &begun.id).await);
    gateway.clock.advance(Duration::from_secs(60));
    told.hear::<_>(Ok(get_verification(client, &begun.id).await));
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
    told.hear(client.list_verifications(ListVerificationsRequest::default()).await);
    told.hear(client.watch_verification(WatchVerificationRequest { id: begun.id }).await.map(|_| ()));
    code
}

/// All files below a folder, one after the other.
fn files(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { files(&path) } else { std::fs::read(&path).unwrap() });
    }
    bytes
}

/// Asserts that no secret is in `bytes`.
fn assert_clean(place: &str, bytes: &[u8], secrets: &[String]) {
    for secret in secrets {
        let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(300)..(at + 100).min(bytes.len())];
            panic!("{place} shows {secret:?}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// On one thread, whose log is taken down; the store's own thread logs nothing but its end.
#[tokio::test]
async fn secrets_are_in_nothing_that_a_run_leaves_behind() {
    let log = Page::default();
    let writer = log.clone();
    // The library that reads phone numbers writes them at its finest level, so the server keeps it from logging.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("trace,rlibphonenumber=off"))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    // While there is only one subscriber, places in the code that another test's thread comes by first are taken for
    // silent on all threads. A second one, which nobody logs to, keeps them open.
    let silent = tracing::Dispatch::new(tracing_subscriber::registry());

    let gateway = Gateway::start_with(CONFIG).await;
    let mut client = gateway.verifications().await;
    let mut told = Told::default();
    let mut codes = Vec::new();
    for phone in PHONES {
        codes.extend(run(&gateway, &mut client, phone, &mut told).await);
    }
    assert!(codes.iter().all(|code| code.len() == 30) && codes.len() == 3, "{}", codes.len());
    let mut mail = generated("");
    mail.recipient.as_mut().unwrap().address = Some(recipient::Address::Email(EMAIL.to_owned()));
    let mailed = told.hear(start_now(&mut client, mail).await).unwrap();
    codes.push(generated_code(&gateway, EMAIL).await);
    let approved = told.hear(check(&mut client, &mailed.id, codes.last().unwrap()).await).unwrap();
    assert_eq!(approved.outcome(), CheckOutcome::Approved);
    let mut stranger = gateway.verifications_as(&format!("acme.{WRONG_SECRET}")).await;
    told.hear(start_now(&mut stranger, start(PHONES[0])).await);
    let mut messages = gateway.messages().await;
    for number in PHONES {
        let content = Some(send_message_request::Content::Text(TEXT.to_owned()));
        let request = SendMessageRequest { recipient: Some(phone(number)), content, ..SendMessageRequest::default() };
        told.hear(messages.send_message(request).await.map(|answer| answer.into_inner().encode_to_vec()));
    }
    let mut pages = Vec::new();
    for page in ["/metrics", "/healthz", "/readyz", "/inbox/nothing"] {
        let answer = get(gateway.addresses.admin, page, &[&format!("Host: {}", gateway.addresses.admin)]).await;
        pages.extend(format!("{}{}", answer.head, answer.body).into_bytes());
    }
    drop((client, stranger, messages));
    let gateway = gateway.restart().await;
    drop((logging, silent));

    let mut secrets: Vec<String> = codes;
    secrets.extend([SECRET, WRONG_SECRET, CUSTOM_CODE, WRONG_CODE].map(str::to_owned));
    assert_clean("an answer", &told.answers, &secrets);
    // Its own recipient is told to a caller, but shown nowhere else: neither whole nor without its country.
    let numbers = PHONES.iter().flat_map(|phone| [phone.to_owned(), &phone[1..], &phone[3..]]);
    secrets.extend(numbers.chain([EMAIL, TEXT]).map(str::to_owned));
    let log = log.0.lock().unwrap().clone();
    let lines = String::from_utf8_lossy(&log);
    assert!(lines.contains("TRACE") && lines.contains("a vendor did not take a message"), "this is not the whole log");
    assert!(!told.refusals.is_empty() && !pages.is_empty());
    assert_clean("a refusal", &told.refusals, &secrets);
    assert_clean("a page", &pages, &secrets);
    assert_clean("the log", &log, &secrets);
    let stored = files(&gateway.data());
    assert!(stored.len() > 10_000, "{} bytes are stored", stored.len());
    assert_clean("the store", &stored, &secrets);
}
