//! Clients of a running gateway that do what clients do, until their connection is cut, and write down what they were
//! told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};
use verigate::clock::{Clock, SystemClock};
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::messaging::v1::{GetMessageRequest, Message, SendMessageRequest, send_message_request::Content};
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{
    CancelVerificationRequest, CheckOutcome, CheckVerificationRequest, CheckVerificationResponse, CodePolicy,
    GetVerificationRequest, OnExisting, ResendVerificationRequest, ScopedRecipient, StartVerificationRequest,
    Verification, VerificationStatus, check_verification_request,
};

use crate::support::gateway::{self, Credentials, Messages, Verifications, phone, seconds};
use crate::support::ledger::{Entry, FAILURES, Letter, Person};
use crate::support::process::{KEY, Process};

/// What the inbox does to a recipient, by the last digit.
const OUTCOMES: &str = r#"[
    { pattern = "*6", outcome = "throttled" },
    { pattern = "*7", outcome = "slow", delay = "150ms" },
    { pattern = "*8", outcome = "hang" },
    { pattern = "*9", outcome = "unknown" },
]"#;

/// What the load needs of a gateway, on top of the dev profile. The first cool-down is short, so that a resend can
/// happen in a test, and the second one outlives every test.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("VERIGATE__SERVER__DRAIN_DEADLINE", "10s"),
    ("VERIGATE__VENDORS__INBOX__KEEP", "100000"),
    ("VERIGATE__VENDORS__INBOX__OUTCOMES", OUTCOMES),
    ("VERIGATE__VERIFICATION__POLICY__LIFETIME", "24h"),
    ("VERIGATE__VERIFICATION__LIMITS__FAILURES", "3"),
    ("VERIGATE__VERIFICATION__LIMITS__FAILURE_WINDOW", "24h"),
    ("VERIGATE__VERIFICATION__LIMITS__COOL_DOWNS", r#"["20ms", "24h"]"#),
    ("VERIGATE__VERIFICATION__LIMITS__COOL_DOWN_RESET", "24h"),
    ("VERIGATE__MESSAGING__ATTEMPT_TIMEOUT", "300ms"),
];

/// Endings of numbers: everything goes well with those that no outcome names.
const ANY_OUTCOME: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
/// Without the one that no vendor takes, for it ends a verification.
const NO_REFUSAL: &[u32] = &[0, 1, 2, 3, 4, 5, 7, 8, 9];
/// The ending that hangs, so that the inbox never has the code.
const SHOWS_NO_CODE: char = '8';

/// The shortest lifetime of a code, in seconds, and the shortest validity of a message.
const SHORT_LIFE: i64 = 3;
const SHORT_VALIDITY: i64 = 60;

/// Checks of a verification that asks for nothing else.
pub(crate) const DEFAULT_CHECKS: u32 = 5;

/// Numbers that are repeatable: splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

/// Counts answers, and tells when there are enough of them.
#[derive(Debug)]
pub(crate) struct Progress {
    left: AtomicU32,
    enough: Notify,
}

/// One client; clones share its connection.
#[derive(Clone)]
pub(crate) struct Client {
    verifications: Verifications,
    messages: Messages,
    admin: SocketAddr,
    progress: Arc<Progress>,
}

/// The call was not answered, or with an answer that says nothing about what was done.
#[derive(Debug)]
pub(crate) struct Cut(#[expect(dead_code, reason = "read where a failure is shown")] String);

/// What a gateway decided: an answer, or the reason of a refusal.
pub(crate) type Decided<T> = Result<Result<T, String>, Cut>;

/// What one client has been told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) people: Vec<Person>,
    pub(crate) letters: Vec<Letter>,
}

/// Somebody who is met once.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) phone: String,
    pub(crate) code: String,
    /// Empty when nobody said that the verification was begun.
    pub(crate) id: String,
    pub(crate) approved: bool,
    /// Whether a check was not answered.
    pub(crate) in_doubt: bool,
}

// === impl Met ===

impl Met {
    pub(crate) fn new(phone: &str) -> Self {
        Self { phone: phone.to_owned(), ..Self::default() }
    }
}

// === impl Dice ===

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(end)).unwrap()
    }

    pub(crate) fn fork(&mut self) -> Self {
        Self((u64::from(self.below(u32::MAX)) << 32) | u64::from(self.below(u32::MAX)))
    }
}

// === impl Progress ===

impl Progress {
    /// Enough is `answers` of them.
    pub(crate) fn until(answers: u32) -> Arc<Self> {
        Arc::new(Self { left: AtomicU32::new(answers), enough: Notify::new() })
    }

    pub(crate) async fn enough(&self) {
        self.enough.notified().await;
    }

    fn add(&self) {
        let counted = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if counted == Ok(1) {
            self.enough.notify_one();
        }
    }
}

// === impl Client ===

impl Client {
    /// `count` clients with a connection each.
    pub(crate) async fn connect(process: &Process, count: usize, progress: &Arc<Progress>) -> Vec<Self> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let channel = Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
            let verifications = VerificationServiceClient::with_interceptor(channel.clone(), Credentials::new(KEY));
            let messages = MessagingServiceClient::with_interceptor(channel, Credentials::new(KEY));
            clients.push(Self { verifications, messages, admin: process.admin, progress: Arc::clone(progress) });
        }
        clients
    }

    /// Meets one person after the other, or writes to them, until its connection is cut.
    pub(crate) async fn work(mut self, numbers: Arc<AtomicU32>, mut dice: Dice) -> Told {
        let mut told = Told::default();
        loop {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let done = if dice.below(4) == 0 {
                self.write(&number_of(number, ANY_OUTCOME, &mut dice), &mut dice, &mut told.letters).await
            } else {
                let mut person = Person::new(number_of(number, NO_REFUSAL, &mut dice));
                let done = self.meet(&mut person, &mut dice).await;
                told.people.push(person);
                done
            };
            if done.is_err() {
                return told;
            }
        }
    }

    /// A verification whose code its person may keep, or checks at once; returns whether every call was answered.
    pub(crate) async fn meet_once(&mut self, met: &mut Met, keep: bool, dice: &mut Dice) -> bool {
        met.code = six_digits(dice);
        let request = StartVerificationRequest { custom_code: met.code.clone(), ..gateway::start(&met.phone) };
        let response = self.verifications.start_verification(request).await;
        let Ok(started) = self.decided(response) else { return false };
        met.id = started.unwrap().verification.unwrap().id;
        if keep {
            return true;
        }
        met.in_doubt = true;
        let Ok(checked) = self.check(&met.id, &met.code).await else { return false };
        assert_eq!(checked.unwrap().outcome(), CheckOutcome::Approved);
        (met.approved, met.in_doubt) = (true, false);
        true
    }

    /// A verification and what its person does with it.
    async fn meet(&mut self, person: &mut Person, dice: &mut Dice) -> Result<(), Cut> {
        match dice.below(8) {
            0 | 1 => {
                self.begin(person, DEFAULT_CHECKS, None, dice).await?;
                for _ in 0..dice.below(FAILURES) {
                    self.check_wrong(&mut person.verifications[0]).await?;
                }
                self.check_right_at_once(&mut person.verifications[0]).await
            }
            2 => {
                self.begin(person, 2, None, dice).await?;
                for _ in 0..2 {
                    self.check_wrong(&mut person.verifications[0]).await?;
                }
                Ok(())
            }
            3 => {
                self.begin(person, DEFAULT_CHECKS, None, dice).await?;
                for _ in 0..FAILURES {
                    self.check_wrong(&mut person.verifications[0]).await?;
                }
                Ok(())
            }
            4 => {
                self.begin(person, DEFAULT_CHECKS, None, dice).await?;
                self.cancel_at_once(&mut person.verifications[0]).await
            }
            5 => {
                self.begin(person, DEFAULT_CHECKS, None, dice).await?;
                self.resend(person).await
            }
            6 => {
                self.begin(person, DEFAULT_CHECKS, None, dice).await?;
                self.check_wrong(&mut person.verifications[0]).await?;
                self.replace(person, dice).await
            }
            _ => {
                let short = policy(DEFAULT_CHECKS, seconds(SHORT_LIFE));
                self.begin(person, DEFAULT_CHECKS, Some(short), dice).await
            }
        }
    }

    /// Starts a verification and learns its code: from the inbox, or because it chose it.
    async fn begin(
        &mut self,
        person: &mut Person,
        max_checks: u32,
        asked: Option<CodePolicy>,
        dice: &mut Dice,
    ) -> Result<(), Cut> {
        let chosen = (person.phone.ends_with(SHOWS_NO_CODE) || dice.below(2) == 0).then(|| six_digits(dice));
        let request = StartVerificationRequest {
            policy: asked.or_else(|| Some(policy(max_checks, None))),
            custom_code: chosen.clone().unwrap_or_default(),
            delivery_wait: seconds(i64::from(dice.below(2))),
            ..gateway::start(&person.phone)
        };
        let response = self.verifications.start_verification(request).await;
        let verification = match self.decided(response) {
            Ok(decided) => decided.unwrap().verification.unwrap(),
            Err(cut) => {
                person.open_start = chosen;
                return Err(cut);
            }
        };
        person.note_send(&verification);
        person.verifications.push(Entry::new(&verification, chosen, max_checks));
        let entry = person.verifications.last_mut().unwrap();
        if entry.code.is_none() {
            entry.code = Some(self.read_code(&person.phone).await?);
        }
        Ok(())
    }

    /// Cancels what was begun and starts another with a chosen code.
    async fn replace(&mut self, person: &mut Person, dice: &mut Dice) -> Result<(), Cut> {
        self.cool_down(person).await?;
        let code = six_digits(dice);
        let request = StartVerificationRequest {
            policy: Some(policy(DEFAULT_CHECKS, None)),
            custom_code: code.clone(),
            on_existing: OnExisting::Replace.into(),
            ..gateway::start(&person.phone)
        };
        let response = self.verifications.start_verification(request).await;
        let old = person.verifications.last_mut().unwrap();
        match self.decided(response) {
            Ok(decided) => {
                let verification = decided.unwrap().verification.unwrap();
                old.ended = Some(VerificationStatus::Canceled);
                person.note_send(&verification);
                person.verifications.push(Entry::new(&verification, Some(code), DEFAULT_CHECKS));
                Ok(())
            }
            Err(cut) => {
                old.cancel_open = true;
                person.open_start = Some(code);
                Err(cut)
            }
        }
    }

    async fn resend(&mut self, person: &mut Person) -> Result<(), Cut> {
        self.cool_down(person).await?;
        let id = person.verifications[0].id.clone();
        let response = self.verifications.resend_verification(ResendVerificationRequest { id, channel: 0 }).await;
        let sends = &mut person.verifications[0].sends;
        match self.decided(response) {
            Ok(decided) => {
                sends.acknowledged += 1;
                person.note_send(&decided.unwrap().verification.unwrap());
                Ok(())
            }
            Err(cut) => {
                sends.open += 1;
                Err(cut)
            }
        }
    }

    /// Cancels a verification twice at the same time; both may hear that it is canceled.
    async fn cancel_at_once(&mut self, entry: &mut Entry) -> Result<(), Cut> {
        let mut other = self.clone();
        let (first, second) = tokio::join!(self.cancel(&entry.id), other.cancel(&entry.id));
        let mut done = Ok(());
        for decided in [first, second] {
            match decided {
                Ok(decided) => {
                    assert_eq!(decided.unwrap().status(), VerificationStatus::Canceled);
                    entry.ended = Some(VerificationStatus::Canceled);
                }
                Err(cut) => {
                    entry.cancel_open = true;
                    done = Err(cut);
                }
            }
        }
        done
    }

    async fn cancel(&mut self, id: &str) -> Decided<Verification> {
        let request = CancelVerificationRequest { id: id.to_owned() };
        let response = self.verifications.cancel_verification(request).await;
        Ok(self.decided(response)?.map(|canceled| canceled.verification.unwrap()))
    }

    /// Looks at a person's verification until another send is allowed.
    async fn cool_down(&mut self, person: &Person) -> Result<(), Cut> {
        while SystemClock.now() < person.next_send_at {
            self.get(&person.verifications[0].id).await?.unwrap();
        }
        Ok(())
    }

    async fn check_wrong(&mut self, entry: &mut Entry) -> Result<(), Cut> {
        let code = gateway::wrong(entry.code.as_ref().unwrap(), entry.wrong.acknowledged);
        let response = self.check(&entry.id, &code).await;
        note_check(entry, false, response)
    }

    /// Gives the right code twice at the same time: one may be approved.
    pub(crate) async fn check_right_at_once(&mut self, entry: &mut Entry) -> Result<(), Cut> {
        let code = entry.code.clone().unwrap();
        let mut other = self.clone();
        let (first, second) = tokio::join!(self.check(&entry.id, &code), other.check(&entry.id, &code));
        let (mut done, mut seen) = (Ok(()), false);
        for response in [first, second] {
            let too_late = matches!(&response, Ok(Ok(it)) if it.outcome() == CheckOutcome::AlreadyApproved);
            if too_late {
                seen = true;
            } else {
                done = note_check(entry, true, response).and(done);
            }
        }
        if seen {
            // Told to somebody, so it holds, even when the answer to the one that was approved was cut off.
            assert!(
                done.is_err() || entry.ended == Some(VerificationStatus::Approved),
                "nobody was approved: {entry:?}"
            );
            entry.ended = Some(VerificationStatus::Approved);
        }
        done
    }

    pub(crate) async fn check(&mut self, id: &str, code: &str) -> Decided<CheckVerificationResponse> {
        self.check_target(check_verification_request::Target::Id(id.to_owned()), code).await
    }

    /// Checks the newest verification of a number.
    pub(crate) async fn check_newest(&mut self, number: &str, code: &str) -> Decided<CheckVerificationResponse> {
        let target = ScopedRecipient { scope: String::new(), recipient: Some(phone(number)) };
        self.check_target(check_verification_request::Target::ScopedRecipient(target), code).await
    }

    async fn check_target(
        &mut self,
        target: check_verification_request::Target,
        code: &str,
    ) -> Decided<CheckVerificationResponse> {
        let request = CheckVerificationRequest {
            target: Some(target),
            code: code.to_owned(),
            ..CheckVerificationRequest::default()
        };
        let response = self.verifications.check_verification(request).await;
        self.decided(response)
    }

    pub(crate) async fn get(&mut self, id: &str) -> Decided<Verification> {
        let response = self.verifications.get_verification(GetVerificationRequest { id: id.to_owned() }).await;
        Ok(self.decided(response)?.map(|got| got.verification.unwrap()))
    }

    /// A start with nothing but the number, on top of whatever it has.
    pub(crate) async fn start_again(&mut self, number: &str) -> Decided<Verification> {
        let response = self.verifications.start_verification(gateway::start(number)).await;
        Ok(self.decided(response)?.map(|started| started.verification.unwrap()))
    }

    pub(crate) async fn resend_again(&mut self, id: &str) -> Decided<Verification> {
        let request = ResendVerificationRequest { id: id.to_owned(), channel: 0 };
        let response = self.verifications.resend_verification(request).await;
        Ok(self.decided(response)?.map(|resent| resent.verification.unwrap()))
    }

    /// Sends a message, and looks at it.
    async fn write(&mut self, number: &str, dice: &mut Dice, letters: &mut Vec<Letter>) -> Result<(), Cut> {
        let text = format!("Your parcel {number} is there, and so is number {}.", dice.below(1_000_000));
        let request = SendMessageRequest {
            recipient: Some(phone(number)),
            content: Some(Content::Text(text)),
            validity: (dice.below(2) == 0).then(|| seconds(SHORT_VALIDITY)).flatten(),
            ..SendMessageRequest::default()
        };
        let response = self.messages.send_message(request).await;
        let letter = Letter::new(&self.decided(response)?.unwrap().message.unwrap());
        let id = letter.id.clone();
        letters.push(letter);
        self.get_message(&id).await?.unwrap();
        Ok(())
    }

    pub(crate) async fn get_message(&mut self, id: &str) -> Decided<Message> {
        let response = self.messages.get_message(GetMessageRequest { id: id.to_owned() }).await;
        Ok(self.decided(response)?.map(|got| got.message.unwrap()))
    }

    /// The code in the newest message to a number, once there is one.
    async fn read_code(&self, number: &str) -> Result<String, Cut> {
        loop {
            let messages = self.read_inbox(&format!("?recipient={}", number.replace('+', "%2B"))).await?;
            if let Some(newest) = messages.first() {
                let text = newest["text"].as_str().unwrap();
                let runs = text.split(|c: char| !c.is_ascii_digit());
                return Ok(runs.max_by_key(|run| run.len()).unwrap().to_owned());
            }
        }
    }

    /// What the inbox holds, newest first.
    pub(crate) async fn read_inbox(&self, query: &str) -> Result<Vec<Value>, Cut> {
        let cut = |error: std::io::Error| Cut(error.to_string());
        let mut stream = TcpStream::connect(self.admin).await.map_err(cut)?;
        if stream.local_addr().map_err(cut)? == self.admin {
            return Err(Cut("the port is free, and so was given to this connection itself".to_owned()));
        }
        let host = self.admin;
        let request = format!("GET /inbox/messages{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(cut)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(cut)?;
        let cut_off = || Cut("an answer of the inbox was cut off".to_owned());
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut_off)?;
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).map_err(|_| cut_off())
    }

    /// Sorts answers and refusals from calls of which nothing is known.
    fn decided<T>(&self, response: Result<Response<T>, Status>) -> Decided<T> {
        let status = match response {
            Ok(response) => {
                self.progress.add();
                return Ok(Ok(response.into_inner()));
            }
            Err(status) => status,
        };
        let reason = gateway::reason(&status);
        match status.code() {
            Code::NotFound | Code::FailedPrecondition | Code::ResourceExhausted if !reason.is_empty() => {
                self.progress.add();
                Ok(Err(reason))
            }
            Code::Unavailable | Code::Unknown | Code::Cancelled => Err(Cut(format!("{status:?}"))),
            // What breaks off in the middle of an answer is told as internal, too, but by our own side.
            Code::Internal if reason.is_empty() => Err(Cut(format!("{status:?}"))),
            _ => panic!("the gateway answered {status:?}"),
        }
    }
}

fn note_check(entry: &mut Entry, right: bool, response: Decided<CheckVerificationResponse>) -> Result<(), Cut> {
    match response {
        Ok(decided) => {
            entry.note_check(right, Some(decided.unwrap().outcome()));
            Ok(())
        }
        Err(cut) => {
            entry.note_check(right, None);
            Err(cut)
        }
    }
}

fn policy(max_checks: u32, lifetime: Option<prost_types::Duration>) -> CodePolicy {
    CodePolicy { max_checks: i32::try_from(max_checks).unwrap(), lifetime, ..CodePolicy::default() }
}

fn six_digits(dice: &mut Dice) -> String {
    format!("{:06}", dice.below(1_000_000))
}

/// A valid Malaysian mobile number of its own for each `number`, with an ending that decides what becomes of it.
fn number_of(number: u32, endings: &[u32], dice: &mut Dice) -> String {
    let ending = endings[usize::try_from(dice.below(u32::try_from(endings.len()).unwrap())).unwrap()];
    format!("+6012{}{ending}", 200_000 + number)
}
