//! The four services that make and check codes by themselves, each played over real HTTP in its own words: codes that are
//! made are kept as the service keeps them, and checked against what comes back.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::vendor_server::{Answer, Fault, RETRY_AFTER, Recorded, VendorServer};

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Esms,
    Hasun,
    Octopush,
    Simpu,
}

/// A service, running until the test's runtime ends.
pub(crate) struct CodeMaker {
    pub(crate) kind: Kind,
    pub(crate) server: VendorServer,
    shelf: Arc<Mutex<Shelf>>,
}

/// A code that was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// The service's name for it, where it has one; else where it is kept.
    pub(crate) name: String,
    /// Digits, with the country.
    pub(crate) recipient: String,
    pub(crate) code: String,
    /// What the service was told to write, or nothing.
    pub(crate) text: Option<String>,
    /// As it was asked for.
    pub(crate) lifetime_seconds: u64,
    pub(crate) channel: String,
    state: State,
}

/// How a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Live,
    Used,
    Expired,
    Exhausted,
    Gone,
}

#[derive(Default)]
struct Shelf {
    /// No two kinds make the same codes.
    seed: u64,
    made: Vec<Made>,
    checks: usize,
    canceled: Vec<String>,
}

const MASK: &str = "FD43GDET";

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Esms, Self::Hasun, Self::Octopush, Self::Simpu];

    /// A recipient that the service reaches, one for each number.
    pub(crate) fn phone(self, number: u32) -> String {
        let country = if self == Self::Hasun { "9477" } else { "6012" };
        format!("+{country}345{number:04}")
    }
}

// === impl CodeMaker ===

impl CodeMaker {
    pub(crate) async fn start(kind: Kind) -> Self {
        let shelf = Shelf { seed: 1 + 100_000 * kind as u64, ..Shelf::default() };
        let shelf = Arc::new(Mutex::new(shelf));
        let script = {
            let shelf = Arc::clone(&shelf);
            move |request: &Recorded| {
                let mut shelf = shelf.lock().unwrap();
                match kind {
                    Kind::Esms => shelf.esms(request),
                    Kind::Hasun => shelf.hasun(request),
                    Kind::Octopush => shelf.octopush(request),
                    Kind::Simpu => shelf.simpu(request),
                }
            }
        };
        Self { kind, server: VendorServer::start(script).await, shelf }
    }

    /// Its table in a configuration. Its breaker never opens, so that it is asked in every case.
    pub(crate) fn config(&self, name: &str) -> String {
        let keys = match self.kind {
            Kind::Esms => {
                "user = \"canary-user\"\npass = \"canary-pass\"\napp_ids = { acme = 1, other = 2 }".to_owned()
            }
            Kind::Hasun => format!(
                "token = \"canary-token\"\norganisation_token = \"canary-organisation\"\nmask_token = \"{MASK}\"\n\
                 mask_tokens = {{ OTHER = \"R432FDES\" }}"
            ),
            Kind::Octopush => "api_login = \"canary@acme.example\"\napi_key = \"canary-key\"".to_owned(),
            Kind::Simpu => "api_key = \"canary-key\"\nsender_id = \"Acme\"".to_owned(),
        };
        let kind = format!("{:?}", self.kind).to_lowercase();
        format!(
            "\n[vendors.{name}]\nkind = \"{kind}\"\nbase_url = \"{}\"\n{keys}\n\
             breaker = {{ in_a_row = 0, share = 0 }}\nretry_budget = 100\n",
            self.server.url()
        )
    }

    /// What it says when it is asked too often: to come back after [`RETRY_AFTER`], and nothing was done.
    pub(crate) fn too_often() -> Fault {
        let answer = Answer::json(429, json!({"message": "not so fast"}));
        Fault::Answer(answer.with_header("retry-after", RETRY_AFTER.as_secs().to_string()))
    }

    pub(crate) async fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        self.server.set_fault(fault).await;
    }

    /// Oldest first.
    pub(crate) fn made(&self) -> Vec<Made> {
        self.shelf.lock().unwrap().made.clone()
    }

    /// The newest code that was made for a recipient.
    pub(crate) fn code(&self, phone: &str) -> String {
        let digits = phone.trim_start_matches('+');
        let made = self.made().into_iter().rev().find(|made| made.recipient == digits);
        made.expect("a code was made for this recipient").code
    }

    /// How often it compared a candidate with a code, or looked for one to compare it with.
    pub(crate) fn checks(&self) -> usize {
        self.shelf.lock().unwrap().checks
    }

    /// Codes that it was told to end.
    pub(crate) fn canceled(&self) -> Vec<String> {
        self.shelf.lock().unwrap().canceled.clone()
    }

    /// All codes that it has made stand so from now on.
    pub(crate) fn set_all(&self, state: State) {
        self.shelf.lock().unwrap().made.iter_mut().for_each(|made| made.state = state);
    }

    /// The newest code stands so from now on.
    pub(crate) fn set_newest(&self, state: State) {
        self.shelf.lock().unwrap().made.last_mut().unwrap().state = state;
    }
}

// === impl Shelf ===

impl Shelf {
    /// Makes a code of so many digits, unlike those before it, that no counting finds.
    fn make(&mut self, name: String, recipient: &str, length: usize) -> &mut Made {
        let number = (self.made.len() as u64 + self.seed) * 748_937_231 % 900_000_000 + 100_000_000;
        let code = number.to_string().repeat(4)[..length].to_owned();
        let recipient = recipient.trim_start_matches('+').to_owned();
        self.made.push(Made {
            name,
            recipient,
            code,
            text: None,
            lifetime_seconds: 0,
            channel: "sms".to_owned(),
            state: State::Live,
        });
        self.made.last_mut().unwrap()
    }

    /// Compares; a right code is used with that.
    fn check(&mut self, name: &str, candidate: &str) -> Result<(), State> {
        self.checks += 1;
        let made = self.made.iter_mut().rev().find(|made| made.name == name).ok_or(State::Gone)?;
        match made.state {
            State::Live if made.code == candidate => {
                made.state = State::Used;
                Ok(())
            }
            // Wrong.
            state => Err(state),
        }
    }

    fn esms(&mut self, request: &Recorded) -> Answer {
        let body = request.json();
        let status = |status: i64| {
            Answer::json(
                200,
                json!({"status": status, "message": "said so", "id": "88ce9c6e-1707-41b8-95a2-91d228001fc7"}),
            )
        };
        let name = format!("{}/{}", body["app-id"], body["phone"]);
        match request.path() {
            "/sms/send" => status(0),
            "/sms/otp/generate" => {
                let made = self.make(name, text(&body["phone"]), 6);
                made.text = body["message"].as_str().map(str::to_owned);
                made.lifetime_seconds = 60 * body["duration"].as_u64().unwrap();
                status(0)
            }
            "/sms/otp/verify" => status(if self.check(&name, text(&body["code"])).is_ok() { 0 } else { 16 }),
            _ => Answer::new(404, "no such page"),
        }
    }

    fn hasun(&mut self, request: &Recorded) -> Answer {
        let body = request.json();
        let name = format!("{}/{}", body["mask_token"], body["number"]);
        let said = |status, verification: bool, reason: &str| {
            Answer::json(status, json!({"verification": verification, "reason": reason, "message": "said so"}))
        };
        match request.path().strip_prefix("/canary-organisation").unwrap_or_default() {
            "/sms/send" => Answer::json(200, json!({"status": "success", "message_uuid": "30ce50d2-7b7c-48b9"})),
            "/sms/status" => Answer::json(200, json!({"status": "pending"})),
            "/verification/otp/sms/send" => {
                let recipient = format!("94{}", text(&body["number"]).trim_start_matches('0'));
                let made = self.make(name, &recipient, 6);
                made.lifetime_seconds = body["expire"].as_u64().unwrap();
                // This service gives away what it made.
                Answer::json(200, json!({"otp_code": made.code.parse::<u32>().unwrap()}))
            }
            "/verification/otp/sms/validate" => match self.check(&name, &body["otp"].to_string()) {
                Ok(()) => said(200, true, "verified"),
                Err(State::Live) => said(400, false, "invalid"),
                Err(State::Used) => said(400, false, "already_used"),
                Err(State::Expired) => said(400, false, "expired"),
                Err(State::Exhausted) => said(400, false, "max_attempts"),
                Err(State::Gone) => said(404, false, "not_found"),
            },
            _ => Answer::new(404, "no such page"),
        }
    }

    fn octopush(&mut self, request: &Recorded) -> Answer {
        let body = request.json();
        let said = |status, code: i64| Answer::json(status, json!({"code": code, "message": "said so"}));
        match (request.method.as_str(), request.path()) {
            ("POST", "/sms-campaign/send") => Answer::json(201, json!({"sms_ticket": "sms_5f6c4ba715694"})),
            ("POST", "/service/otp/generate") => {
                let name = format!("otp_{:x}", (self.made.len() + 1) * 0x0051_ab5e);
                let length = body["code_length"].as_u64().unwrap() as usize;
                let made = self.make(name.clone(), text(&body["phone_number"]), length);
                made.text = Some(text(&body["text"]).to_owned());
                made.lifetime_seconds = body["validity_period"].as_u64().unwrap();
                made.channel = text(&body["channel"]).to_owned();
                let answer = json!({"code": 0, "message": "success", "ticket_number": "t", "otp_request_token": name});
                Answer::json(201, answer)
            }
            ("PUT", "/service/otp/validate") => match self.check(text(&body["otp_request_token"]), text(&body["code"]))
            {
                Ok(()) => said(200, 0),
                Err(State::Live) => said(400, 199),
                Err(State::Expired) => said(400, 197),
                Err(State::Exhausted) => said(400, 196),
                Err(State::Used | State::Gone) => said(400, 198),
            },
            _ => Answer::new(404, "no such page"),
        }
    }

    fn simpu(&mut self, request: &Recorded) -> Answer {
        let body = request.json();
        let otp = |id: &str, status: i64| Answer::json(200, json!({"id": id, "recipient": "x", "status": status}));
        let missing = || Answer::json(404, json!({"status": 404, "message": "Invalid token"}));
        let id = request.path().trim_start_matches("/otp/").to_owned();
        match (request.method.as_str(), request.path()) {
            ("POST", "/sms/send") => Answer::json(200, json!({"id": "674535b2b39158b9aae90188fcec23eb"})),
            ("POST", "/otp/request_token") => {
                let name = format!("{:032x}", (self.made.len() + 1) * 0x0e0e_0e0e);
                let length = body["length"].as_u64().unwrap() as usize;
                let made = self.make(name.clone(), text(&body["recipient"]), length);
                made.lifetime_seconds = 60 * body["expires_in"].as_u64().unwrap();
                made.channel = text(&body["channel"]).to_owned();
                otp(&name, 1)
            }
            ("POST", "/otp/verify") => match self.check(text(&body["id"]), text(&body["token"])) {
                Ok(()) => otp(text(&body["id"]), 2),
                Err(_) => missing(),
            },
            ("GET", _) => match self.made.iter().find(|made| made.name == id).map(|made| made.state) {
                Some(State::Live | State::Exhausted) => otp(&id, 1),
                Some(State::Used) => otp(&id, 2),
                Some(State::Expired) => otp(&id, 3),
                Some(State::Gone) | None => missing(),
            },
            ("DELETE", _) => {
                self.canceled.push(id.clone());
                self.made.iter_mut().filter(|made| made.name == id).for_each(|made| made.state = State::Gone);
                Answer::new(204, "")
            }
            _ => Answer::new(404, "no such page"),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
