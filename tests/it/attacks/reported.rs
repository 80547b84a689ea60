//! Attack 22 on every surface: whoever says what became of a text, callers hear only what the vendor said that had it,
//! once, in the words of their surface.
//!
//! One vendor shows the token of its URL, another signs, and a third has nothing to say here; each is this test, over
//! real HTTP. The rules beneath, without surfaces, have tests of their own in `receipts.rs`.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::routing::post;
use ring::hmac;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use verigate::proto::messaging::v1::MessageStatus;
use verigate::store::keys::ReceiptTokens;

use crate::attacks::everywhere::surfaces;
use crate::attacks::surfaces::letters::Fate;
use crate::attacks::surfaces::{ACME, Client, OTHER, Surface, Tenant, number, open_house};
use crate::support::gateway::{Gateway, eventually};
use crate::support::http::{Answer, call, serve};
use crate::support::vendor_server::{self, Recorded, VendorServer};

const SECRET: &str = "a secret for receipt tokens, of some length";
const SIGNING_KEY: &str = "the-signing-key-of-the-vendor";
const TEXT: &str = "Your table is ready.";

/// How a vendor shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Token,
    Signed,
}

/// The vendors: they take every text, and answer when they are let.
struct Played {
    taken: Mutex<Vec<String>>,
    gate: Semaphore,
}

struct House {
    gateway: Gateway,
    vendors: Arc<Played>,
    receiver: VendorServer,
}

/// A text to somebody, on a surface, and what its surface has told of it and others.
struct Letter<'a> {
    house: &'a House,
    client: &'a Client,
    way: Way,
    phone: String,
    place: String,
    /// Reports that the caller has had.
    told: usize,
}

// === impl Played ===

impl Played {
    /// What a vendor calls a text.
    fn name(phone: &str) -> String {
        format!("to-{}", phone.trim_start_matches('+'))
    }

    async fn take(&self, body: Value) -> Json<Value> {
        let name = Self::name(body["to"].as_str().unwrap());
        self.taken.lock().unwrap().push(name.clone());
        drop(self.gate.acquire().await.unwrap());
        Json(json!({"id": name}))
    }

    fn hold_back(&self) {
        self.gate.forget_permits(1);
    }

    fn let_go(&self) {
        self.gate.add_permits(1);
    }
}

// === impl House ===

impl House {
    async fn new() -> Self {
        let vendors = Arc::new(Played { taken: Mutex::default(), gate: Semaphore::new(1) });
        let played = Arc::clone(&vendors);
        let take = move |Json(body): Json<Value>| async move { played.take(body).await };
        let url = format!("http://{}/send", serve(axum::Router::new().route("/send", post(take))).await);
        let receiver = VendorServer::start(|_| vendor_server::Answer::new(204, "")).await;
        let to = receiver.url();
        let vendor = |name: &str, receipt: &str| {
            format!(
                "[vendors.{name}]\nkind = \"http\"\nchannels = [\"sms\"]\nurl = \"{url}\"\nanswer = {{ id = \"/id\" }}\n\
                 json = {{ to = \"{{recipient}}\", text = \"{{text}}\" }}\n\
                 receipt = {{ {receipt}, delivered = [\"delivered\"], undelivered = [\"undelivered\"] }}\n"
            )
        };
        let query = "format = \"query\", id = \"id\", status = [\"s\"]";
        let signed = format!(
            "format = \"json\", id = \"/id\", status = [\"/s\"], signature = {{ header = \"X-Sign\", key = \"{SIGNING_KEY}\" }}"
        );
        let added = format!(
            "[receipts]\npublic_url = \"http://gateway.test\"\nsecret = \"{SECRET}\"\n\
             [callbacks]\nallow = [\"127.0.0.0/8\"]\n\
             [rest.octopush.callbacks]\nacme = \"{to}/Octopush/Token\"\nother = \"{to}/Octopush/Signed\"\n{}{}{}",
            vendor("token", query),
            vendor("signed", &signed),
            vendor("third", query),
        );
        let routes = "[[routes]]\nchannel = \"sms\"\nvendors = [\"token\"]\ntenants = [\"acme\"]\n\
                      [[routes]]\nchannel = \"sms\"\nvendors = [\"signed\"]\ntenants = [\"other\"]\n";
        let config = open_house().replacen("[[routes]]", &format!("{routes}[[routes]]"), 1);
        Self { gateway: Gateway::start_with(&format!("{config}\n{added}")).await, vendors, receiver }
    }

    async fn call(&self, method: &str, target: &str, field: &str, body: &str) -> Answer {
        let host = format!("Host: {}", self.gateway.addresses.http);
        let fields: Vec<_> = [host.as_str(), field].into_iter().filter(|field| !field.is_empty()).collect();
        call(self.gateway.addresses.http, method, target, &fields, body).await
    }

    /// What a vendor says with its token.
    async fn say(&self, vendor: &str, name: &str, status: &str) -> Answer {
        let token = ReceiptTokens::from_secret(&SECRET.into()).unwrap().of(vendor).expose_secret().to_owned();
        self.call("GET", &format!("/receipts/{vendor}/{token}?id={name}&s={status}"), "", "").await
    }

    /// What the vendor says that signs.
    async fn sign(&self, name: &str, status: &str) -> Answer {
        let body = json!({"id": name, "s": status}).to_string();
        self.call("POST", "/receipts/signed", &signature(SIGNING_KEY, &body), &body).await
    }
}

/// The line of the head that signs a body.
fn signature(key: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-Sign: {hex}")
}

// === impl Letter ===

impl Letter<'_> {
    fn name(&self) -> String {
        Played::name(&self.phone)
    }

    /// What the vendor says that has it.
    async fn say(&self, status: &str) {
        let answer = match self.way {
            Way::Token => self.house.say("token", &self.name(), status).await,
            Way::Signed => self.house.sign(&self.name(), status).await,
        };
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn status(&self) -> MessageStatus {
        self.client.newest_text(&self.phone).await.unwrap().status()
    }

    /// Strangers say that it was delivered. To them there is nothing there.
    async fn lie_as_strangers(&self) {
        let (house, name) = (self.house, self.name());
        let unknown = house.call("GET", "/receipts/nobody/x", "", "").await;
        assert_eq!(unknown.status, 404);
        let third = ReceiptTokens::from_secret(&SECRET.into()).unwrap().of("third").expose_secret().to_owned();
        let said = format!("id={name}&s=delivered");
        let body = json!({"id": name, "s": "delivered"}).to_string();
        let other_body = json!({"id": name, "s": "undelivered"}).to_string();
        for (method, target, field, body) in [
            ("GET", format!("/receipts/token?{said}"), String::new(), ""),
            ("GET", format!("/receipts/token/?{said}"), String::new(), ""),
            ("GET", format!("/receipts/token/{name}?{said}"), String::new(), ""),
            ("GET", format!("/receipts/token/{third}?{said}"), String::new(), ""),
            ("POST", "/receipts/token/wrong".to_owned(), signature(SIGNING_KEY, &body), &body),
            ("POST", "/receipts/signed".to_owned(), String::new(), &body),
            ("POST", format!("/receipts/signed/{third}"), String::new(), &body),
            ("POST", "/receipts/signed".to_owned(), signature("another key", &body), &body),
            ("POST", "/receipts/signed".to_owned(), signature(SIGNING_KEY, &other_body), &body),
        ] {
            let answer = house.call(method, &target, &field, body).await;
            assert_eq!((answer.status, &answer.body), (404, &unknown.body), "{method} {target} {field}");
        }
    }

    /// Vendors say that it was delivered which never had it. They are heard and it is not.
    async fn lie_as_other_vendors(&self) {
        let name = self.name();
        let mut answers = vec![self.house.say("third", &name, "delivered").await];
        answers.push(match self.way {
            Way::Token => self.house.sign(&name, "delivered").await,
            Way::Signed => self.house.say("token", &name, "delivered").await,
        });
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }

    fn reports(&self) -> Vec<Recorded> {
        let of_place = |report: &Recorded| report.path() == self.place;
        self.house.receiver.requests().into_iter().filter(of_place).collect()
    }

    /// What the surface says of it at its end, where it calls: once.
    async fn assert_told(&mut self, name: &str, fate: Fate) {
        let surface = self.client.surface;
        if surface.reports() {
            self.told += 1;
            let reports = eventually(async || Some(self.reports()).filter(|it| it.len() >= self.told)).await;
            assert_eq!(reports.len(), self.told, "{surface:?}: {reports:?}");
            assert_eq!(surface.read_report(reports.last().unwrap()), fate, "{surface:?}");
        } else {
            assert_eq!(self.client.ask_fate(name).await, fate, "{surface:?}");
        }
    }

    /// That the surface has said no more of it.
    async fn assert_still(&self, name: &str, fate: Fate) {
        let surface = self.client.surface;
        assert_eq!(self.reports().len(), self.told, "{surface:?}");
        if !surface.reports() {
            assert_eq!(self.client.ask_fate(name).await, fate, "{surface:?}");
        }
    }

    /// It has an end before its vendor has answered that it took it; who speaks first is right.
    async fn end_early(&mut self) {
        let (house, surface) = (self.house, self.client.surface);
        house.vendors.hold_back();
        let (client, phone, to) = (self.client.clone(), self.phone.clone(), self.report_to());
        let sending = tokio::spawn(async move { client.send_text(&phone, TEXT, &to).await.unwrap() });
        let name = self.name();
        eventually(async || house.vendors.taken.lock().unwrap().contains(&name).then_some(())).await;
        self.lie_as_strangers().await;
        for status in ["delivered", "delivered", "undelivered"] {
            self.say(status).await;
            assert_eq!(self.status().await, MessageStatus::Sending, "{surface:?}: a receipt waits for its message");
        }
        house.vendors.let_go();
        let name = sending.await.unwrap();
        eventually(async || (self.status().await == MessageStatus::Delivered).then_some(())).await;
        self.assert_told(&name, Fate::Delivered).await;
        for status in ["undelivered", "delivered"] {
            self.say(status).await;
            assert_eq!(self.status().await, MessageStatus::Delivered, "{surface:?}: an end is an end");
        }
        self.assert_still(&name, Fate::Delivered).await;
    }

    /// It is on its way for long, while others say that it came.
    async fn end_late(&mut self) {
        let surface = self.client.surface;
        let name = self.client.send_text(&self.phone, TEXT, &self.report_to()).await.unwrap();
        eventually(async || (self.status().await == MessageStatus::Sent).then_some(())).await;
        self.lie_as_strangers().await;
        self.lie_as_other_vendors().await;
        assert_eq!(self.status().await, MessageStatus::Sent, "{surface:?}: nobody who may say so has said anything");
        self.assert_still(&name, Fate::Sent).await;
        for _ in 0..2 {
            self.say("undelivered").await;
            assert_eq!(self.status().await, MessageStatus::Undelivered, "{surface:?}");
        }
        self.say("delivered").await;
        assert_eq!(self.status().await, MessageStatus::Undelivered, "{surface:?}: an end is an end");
        self.assert_told(&name, Fate::Failed).await;
        self.assert_still(&name, Fate::Failed).await;
    }

    fn report_to(&self) -> String {
        format!("{}{}", self.house.receiver.url(), self.place)
    }
}

/// The tenant whose texts go to the vendor that shows itself this way.
fn tenant(way: Way) -> Tenant {
    match way {
        Way::Token => ACME,
        Way::Signed => OTHER,
    }
}

#[tokio::test]
async fn callers_hear_what_the_vendor_said_that_had_their_text_and_nothing_else() {
    let house = House::new().await;
    let mut turn = 0;
    for surface in surfaces([22]) {
        for way in [Way::Token, Way::Signed] {
            let client = Client::new(&house.gateway, surface, tenant(way)).await;
            let place = format!("/{surface:?}/{way:?}");
            let mut letter = Letter { house: &house, client: &client, way, phone: number(turn), place, told: 0 };
            letter.end_early().await;
            letter.phone = number(turn + 1);
            letter.end_late().await;
            turn += 2;
        }
    }
    let told = house.receiver.requests().len();
    assert_eq!(told, 4 * Surface::ALL.iter().filter(|surface| surface.reports()).count());
}
