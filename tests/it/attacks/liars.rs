//! Attack 25 on every surface: the first vendor answers with a page, another schema, broken bytes, megabytes, another
//! address or our own code. Callers hear in the words of their surface what is known, and nothing that the vendor said.
//!
//! What becomes of the record of each lie, and that codes take the next vendor, is tried at length in `vendors.rs`.

use std::collections::BTreeSet;

use verigate::proto::messaging::v1::MessageStatus;

use crate::attacks::canary::{assert_clean, files};
use crate::attacks::everywhere::{client, surfaces};
use crate::attacks::liar::{End, Liar, MARK, PASS, TEXT, USER};
use crate::attacks::surfaces::letters::Fate;
use crate::attacks::surfaces::{Begun, Client, Surface, Verdict, number, open_house};
use crate::support::gateway::{Gateway, eventually, start, start_now};
use crate::support::http::get;
use crate::support::log::Log;

/// A gateway whose first vendor lies, and whose second takes everything.
struct House {
    gateway: Gateway,
    liar: Liar,
}

/// What was heard on a surface, and what must not be in it.
struct Heard<'a> {
    house: &'a House,
    client: &'a Client,
    told: String,
}

/// The longest run of digits.
fn code_in(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).unwrap().to_owned()
}

// === impl House ===

impl House {
    async fn new() -> Self {
        let liar = Liar::start(code_in).await;
        Self { gateway: Gateway::start_with(&liar.before_the_inbox(&open_house())).await, liar }
    }
}

// === impl Heard ===

impl Heard<'_> {
    /// A code whose first vendor lies is a good code, if it can be sent at all. Returns the text that it was in.
    async fn verify(&mut self, phone: &str, end: End, case: &str) -> String {
        let (surface, before) = (self.client.surface, self.house.liar.asked());
        let is_ok = if surface == Surface::Grpc {
            let started = start_now(&mut self.house.gateway.verifications().await, start(phone)).await;
            self.told += &format!("{started:?}");
            started.is_ok()
        } else {
            let answer = self.client.send_start(phone, None).await;
            // One surface tells the code to callers, as it was made, and that is all it tells.
            let code = code_in(&self.house.liar.given());
            let is_code = surface == Surface::Hasun && answer.body == format!("{{\"otp_code\":{code}}}");
            self.told += &format!("{}{}", answer.head, if is_code { "" } else { &answer.body });
            self.client.read_begun(phone, &answer).is_ok()
        };
        let expected = end != End::Refused || matches!(surface, Surface::Grpc | Surface::Json);
        assert_eq!(is_ok, expected, "{case}: {}", self.told);
        assert_eq!(self.house.liar.asked(), before + 1, "{case}: it has the code once");
        let text = self.house.liar.given();
        let copies = usize::from(matches!(end, End::Doubt | End::Elsewhere));
        assert_eq!(self.house.gateway.inbox(phone).await.len(), copies, "{case}");
        let verification = self.client.newest(phone).await.unwrap();
        self.told += &format!("{verification:?}");
        if end != End::Refused {
            let begun = Begun { phone: phone.to_owned(), name: surface.name_of(&verification.id) };
            let verdict = self.client.check(&begun, &code_in(&text)).await;
            assert_eq!(verdict, Verdict::Right, "{case}");
        }
        self.assert_keeps(&code_in(&text), case);
        text
    }

    /// Nobody is told that a text arrived when nobody knows, or that it failed.
    async fn write(&mut self, phone: &str, end: End, case: &str) {
        let (surface, before) = (self.client.surface, self.house.liar.asked());
        let name = match self.client.send_text(phone, TEXT, "").await {
            Ok(name) => Some(name),
            Err(refused) => {
                self.told += &refused;
                None
            }
        };
        let at_once = !matches!(surface, Surface::Grpc | Surface::Json);
        assert_eq!(name.is_none(), end == End::Refused && at_once, "{case}: {}", self.told);
        let message = eventually(async || {
            let message = self.client.newest_text(phone).await?;
            let moving = match message.status() {
                MessageStatus::Queued | MessageStatus::Sending => true,
                // What the second vendor takes is delivered at once.
                MessageStatus::Sent => end == End::Elsewhere,
                _ => false,
            };
            (!moving).then_some(message)
        })
        .await;
        self.told += &format!("{message:?}").replace(TEXT, "");
        assert_eq!(self.house.liar.asked(), before + 1, "{case}: asked once");
        let copies = self.house.gateway.inbox(phone).await.len();
        assert_eq!(copies, usize::from(end == End::Elsewhere), "{case}: no second copy of what perhaps went out");
        if let (Some(name), false) = (name, surface.reports()) {
            let fate = match end {
                End::Doubt | End::Sent => Fate::Sent,
                End::Elsewhere => Fate::Delivered,
                End::Refused => Fate::Failed,
            };
            assert_eq!(self.client.ask_fate(&name).await, fate, "{case}");
        }
        self.assert_keeps(TEXT, case);
    }

    /// What the vendor said, knows or was given is in nothing that was heard.
    fn assert_keeps(&self, secret: &str, case: &str) {
        let runs: BTreeSet<_> = self.told.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        assert!(!runs.contains(secret) && !self.told.contains(TEXT), "{case}: {}", self.told);
        assert_clean(case, self.told.as_bytes(), &[USER, PASS, MARK].map(str::to_owned));
    }
}

#[tokio::test]
async fn callers_hear_nothing_of_what_a_vendor_says_that_lies() {
    let log = Log::start("trace");
    let house = House::new().await;
    let (mut turn, mut texts) = (0, Vec::new());
    for surface in surfaces([25]) {
        let client = client(&house.gateway, surface).await;
        for (fault, status, end) in house.liar.lies() {
            let case = format!("{surface:?}: {fault:?}, status {status}");
            house.liar.tell(fault, status).await;
            let mut heard = Heard { house: &house, client: &client, told: String::new() };
            texts.push(heard.verify(&number(turn), end, &case).await);
            heard.write(&number(turn + 1), end, &case).await;
            turn += 2;
        }
    }
    assert_eq!(house.liar.elsewhere.requests(), [], "credentials and texts go nowhere else");
    let gateway = house.gateway;
    let host = format!("Host: {}", gateway.addresses.admin);
    let metrics = get(gateway.addresses.admin, "/metrics", &[&host]).await.body;
    let gateway = gateway.restart().await;
    // Six digits alone, which is what one surface sends, stand in any long run of digits by chance.
    texts.retain(|text| text.contains(char::is_alphabetic));
    let secrets: Vec<_> = texts.into_iter().chain([USER, PASS, MARK, TEXT].map(str::to_owned)).collect();
    assert_clean("the log", &log.bytes(), &secrets);
    assert_clean("the metrics", metrics.as_bytes(), &secrets);
    assert_clean("the store", &files(&gateway.data()), &secrets);
}
