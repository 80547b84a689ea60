//! A vendor that lies: it answers with a page, another schema, broken bytes, megabytes or another address, or gives back what
//! it was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};

pub(super) const USER: &str = "Canary-Vendor-User";
pub(super) const PASS: &str = "Canary-Vendor-Secret";
/// In whatever the vendor says by itself.
pub(super) const MARK: &str = "Canary-Of-The-Vendor";
pub(super) const TEXT: &str = "Canary text of a message";

/// What becomes of a text, where there is a second vendor that takes everything. A code takes that one in doubt, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The vendor had it, and perhaps sent it.
    Doubt,
    /// Surely not sent, and the next vendor delivered it.
    Elsewhere,
    /// Nobody can send it.
    Refused,
    Sent,
}

pub(super) struct Liar {
    server: VendorServer,
    /// What it gives when it does not do worse.
    status: Arc<AtomicI64>,
    /// Where its redirects lead.
    pub(super) elsewhere: VendorServer,
}

/// Gives back what it was given, in every place that has room.
fn echo(request: &Recorded, status: i64, code_in: fn(&str) -> String) -> Answer {
    let msg = request.json()["msg"].as_str().unwrap_or_default().to_owned();
    let id = format!("sms-{}-1", code_in(&msg));
    let said = json!({"status": status, "message": format!("{MARK}: {msg}"), "id": id, "seen": request.json()});
    Answer::json(200, said).with_header("x-said", MARK)
}

fn other_schema(body: Value) -> Fault {
    Fault::Answer(Answer::json(200, body))
}

// === impl Liar ===

impl Liar {
    /// `code_in`: finds the code in a text.
    pub(super) async fn start(code_in: fn(&str) -> String) -> Self {
        let status = Arc::new(AtomicI64::new(0));
        let said = Arc::clone(&status);
        let server = VendorServer::start(move |request| echo(request, said.load(Ordering::SeqCst), code_in)).await;
        let elsewhere = VendorServer::start(move |request| echo(request, 0, code_in)).await;
        Self { server, status, elsewhere }
    }

    /// A configuration whose texts go to the liar first.
    pub(super) fn before_the_inbox(&self, config: &str) -> String {
        let config = config.replacen("vendors = [\"inbox\"]", "vendors = [\"liar\", \"inbox\"]", 1);
        format!(
            "{config}\n[vendors.liar]\nkind = \"esms\"\nbase_url = \"{}\"\nuser = \"{USER}\"\npass = \"{PASS}\"\n\
             # It must be asked in every case, however often it fails.\n\
             breaker = {{ in_a_row = 0, share = 0 }}\nretry_budget = 100\n",
            self.server.url()
        )
    }

    /// What it does, by turn: first what is worse than an answer, then answers with a status.
    pub(super) fn lies(&self) -> Vec<(Option<Fault>, i64, End)> {
        let worse = [
            (Fault::Html, End::Doubt),
            (other_schema(json!({"result": "ok", "note": MARK})), End::Doubt),
            (other_schema(json!({"status": "0", "id": MARK})), End::Doubt),
            (other_schema(json!([{"status": 0, "note": MARK}])), End::Doubt),
            (Fault::Redirect(format!("{}/sms/send?{MARK}", self.elsewhere.url())), End::Doubt),
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
        worse.into_iter().chain(answers.map(|(status, end)| (None, status, end))).collect()
    }

    pub(super) async fn tell(&self, fault: Option<Fault>, status: i64) {
        self.status.store(status, Ordering::SeqCst);
        self.server.set_fault(fault).await;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.server.requests().len()
    }

    /// The text that it was given last.
    pub(super) fn given(&self) -> String {
        self.server.requests().pop().unwrap().json()["msg"].as_str().unwrap().to_owned()
    }
}
