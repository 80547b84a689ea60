//! A whole gateway in this process: real listeners on free ports, a real store in a temporary folder, a clock moved by
//! hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use verigate::clock::{ManualClock, Timestamp};
use verigate::config;
use verigate::config::settings::Address;
use verigate::event::history::EventKind;
use verigate::proto::admin::v1::admin_service_client::AdminServiceClient;
use verigate::proto::contacts::v1::contacts_service_client::ContactsServiceClient;
use verigate::proto::event::v1::event_service_client::EventServiceClient;
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::messaging::v1::{Recipient, SendMessageRequest, recipient, send_message_request};
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{
    CancelVerificationRequest, CheckOutcome, CheckVerificationRequest, CheckVerificationResponse,
    GetVerificationRequest, ResendVerificationRequest, ScopedRecipient, StartVerificationRequest, Verification,
    check_verification_request,
};
use verigate::random::OsRandom;
use verigate::server::listen::Addresses;
use verigate::server::opening::Opened;
use verigate::server::{Server, Surroundings};
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::{Batch, Key, Prefix, Store, record};
use verigate::telemetry;
use verigate::verification::verification::Verification as Stored;

use crate::support::http::get;
use crate::support::test_store::{self, Held};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_324_560_125);

/// Two tenants with a key each, one inbox, and an outcome for each ending of a Malaysian mobile number.
pub(crate) const CONFIG: &str = r#"
[server]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
admin = "127.0.0.1:0"
reflection = true

[store]
path = "PLACE/data"
key_file = "PLACE/key"

[[tenants]]
name = "acme"
brand = "Acme"
default_country = "MY"
keys = [{ id = "acme", secret = "acme-secret-of-some-length" }]

[[tenants]]
name = "other"
keys = [{ id = "other", secret = "other-secret-of-some-length" }]

[vendors.inbox]
kind = "inbox"
outcomes = [
  { pattern = "*001", outcome = "late", delay = "30s" },
  { pattern = "*002", outcome = "failed" },
  { pattern = "*003", outcome = "rejected" },
  { pattern = "*004", outcome = "throttled", delay = "7s" },
  { pattern = "*005", outcome = "slow", delay = "3s" },
  { pattern = "*006", outcome = "hang" },
  { pattern = "*007", outcome = "unavailable" },
  { pattern = "*008", outcome = "unknown" },
  { pattern = "*009", outcome = "nocredit" },
]

[[routes]]
channel = "sms"
vendors = ["inbox"]

[[routes]]
channel = "email"
vendors = ["inbox"]

# The people of a test live close together, are sent to often, and seldom give a code back.
[guard]
recipient = { mode = "off" }
number_block = { mode = "off" }
sequence = { mode = "off" }

[guard.conversion]
mode = "off"
"#;

/// A recipient to whom everything is delivered.
pub(crate) const PHONE: &str = "+60123456789";

/// A gateway that runs until it is stopped or dropped.
pub(crate) struct Gateway {
    pub(crate) clock: ManualClock,
    pub(crate) addresses: Addresses,
    place: TempDir,
    config: String,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<verigate::error::Result<()>>,
}

/// Adds a tenant's credentials to each call.
#[derive(Clone)]
pub(crate) struct Credentials(MetadataValue<tonic::metadata::Ascii>);

pub(crate) type Verifications = VerificationServiceClient<InterceptedService<Channel, Credentials>>;
pub(crate) type Admin = AdminServiceClient<InterceptedService<Channel, Credentials>>;
pub(crate) type Messages = MessagingServiceClient<InterceptedService<Channel, Credentials>>;
pub(crate) type Events = EventServiceClient<InterceptedService<Channel, Credentials>>;
pub(crate) type Contacts = ContactsServiceClient<InterceptedService<Channel, Credentials>>;

// === impl Gateway ===

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(CONFIG).await
    }

    /// `config`: a whole configuration, in which PLACE stands for the temporary folder.
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_at(START, config).await
    }

    /// At another time, for those who look at the machine's own clock.
    pub(crate) async fn start_at(now: Timestamp, config: &str) -> Self {
        let place = place_with_key();
        Self::run(place, config.to_owned(), ManualClock::new(now)).await
    }

    /// Stops, and starts again on the same store at the same time of day.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap().unwrap();
        Self::run(self.place, self.config, self.clock).await
    }

    /// On a store that is open already, and that others may use, too.
    pub(crate) async fn start_on(store: Arc<dyn Store>, config: &str, clock: ManualClock) -> Self {
        let place = place_with_key();
        Self::run_on(Some(Opened::by_others(store)), place, config.to_owned(), clock).await
    }

    /// Stops, and finishes what is under way.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }

    async fn run(place: TempDir, config: String, clock: ManualClock) -> Self {
        Self::run_on(None, place, config, clock).await
    }

    async fn run_on(opened: Option<Opened>, place: TempDir, config: String, clock: ManualClock) -> Self {
        let file = place.path().join("verigate.toml");
        std::fs::write(&file, test_store::settle(&config, place.path())).unwrap();
        let loaded = config::load(Some(&file), std::iter::empty()).unwrap();
        let surroundings = Surroundings {
            clock: Arc::new(clock.clone()),
            random: Arc::new(OsRandom),
            metrics: telemetry::start_metrics().unwrap(),
        };
        let server = match opened {
            Some(opened) => Server::build_on(opened, &loaded, surroundings).await.unwrap(),
            None => Server::build(&loaded, surroundings).await.unwrap(),
        };
        let addresses = server.addresses().clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move { drop(stopped.await) }));
        Self { clock, addresses, place, config, stop: Some(stop), running }
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        match self.addresses.grpc {
            Address::Tcp(address) => address,
            Address::Unix(_) => unreachable!("tests listen on TCP"),
        }
    }

    /// When its clock began, in Unix milliseconds.
    pub(crate) fn clock_start(&self) -> u64 {
        START.as_millis()
    }

    /// The folder that holds the store's files.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        test_store::files(self.place.path())
    }

    /// A client of tenant `acme`.
    pub(crate) async fn verifications(&self) -> Verifications {
        self.verifications_as("acme.acme-secret-of-some-length").await
    }

    pub(crate) async fn verifications_as(&self, key: &str) -> Verifications {
        VerificationServiceClient::with_interceptor(self.channel().await, Credentials::new(key))
    }

    pub(crate) async fn messages(&self) -> Messages {
        MessagingServiceClient::with_interceptor(
            self.channel().await,
            Credentials::new("acme.acme-secret-of-some-length"),
        )
    }

    pub(crate) async fn contacts(&self) -> Contacts {
        self.contacts_as("acme.acme-secret-of-some-length").await
    }

    pub(crate) async fn contacts_as(&self, key: &str) -> Contacts {
        ContactsServiceClient::with_interceptor(self.channel().await, Credentials::new(key))
    }

    pub(crate) async fn events_as(&self, key: &str) -> Events {
        EventServiceClient::with_interceptor(self.channel().await, Credentials::new(key))
    }

    /// A client of tenant `acme`, which administers where its configuration says so.
    pub(crate) async fn admin(&self) -> Admin {
        self.admin_as("acme.acme-secret-of-some-length").await
    }

    pub(crate) async fn admin_as(&self, key: &str) -> Admin {
        AdminServiceClient::with_interceptor(self.channel().await, Credentials::new(key))
    }

    pub(crate) async fn channel(&self) -> Channel {
        let address = match &self.addresses.grpc {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix://{}", path.display()),
        };
        Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }

    /// What the inbox took for a recipient, newest first.
    pub(crate) async fn inbox(&self, recipient: &str) -> Vec<Value> {
        let target = format!("/inbox/messages?recipient={}", recipient.replace('+', "%2B"));
        let answer = get(self.addresses.admin, &target, &[&format!("Host: {}", self.addresses.admin)]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The code in the newest message to a recipient: its longest run of digits.
    pub(crate) async fn code(&self, recipient: &str) -> String {
        let messages = self.inbox(recipient).await;
        let text = messages.first().expect("a message")["text"].as_str().unwrap().to_owned();
        let runs = text.split(|c: char| !c.is_ascii_digit());
        runs.max_by_key(|run| run.len()).unwrap().to_owned()
    }

    /// Starts a verification and waits until the vendor has answered.
    pub(crate) async fn begin(&self, client: &mut Verifications, phone: &str) -> Verification {
        let request = StartVerificationRequest { delivery_wait: seconds(5), ..start(phone) };
        client.start_verification(request).await.unwrap().into_inner().verification.unwrap()
    }
}

/// A folder with the key of a store in it.
fn place_with_key() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let place = TempDir::new().unwrap();
    let file = place.path().join("key");
    std::fs::write(&file, format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    place
}

impl Credentials {
    pub(crate) fn new(key: &str) -> Self {
        Self(format!("Bearer {key}").parse().unwrap())
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A start request with nothing but a phone number.
pub(crate) fn start(phone: &str) -> StartVerificationRequest {
    StartVerificationRequest { recipient: Some(self::phone(phone)), ..StartVerificationRequest::default() }
}

pub(crate) fn phone(phone: &str) -> Recipient {
    Recipient { address: Some(recipient::Address::Phone(phone.to_owned())) }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub(crate) async fn check(
    client: &mut Verifications,
    id: &str,
    code: &str,
) -> Result<CheckVerificationResponse, Status> {
    client.check_verification(by_id(id, code)).await.map(tonic::Response::into_inner)
}

/// A six-digit code that is not `code`.
pub(crate) fn wrong(code: &str, turn: u32) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1 + turn) % 1_000_000)
}

/// The machine-readable reason of a refused call.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// How long the server says to wait.
pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

impl Gateway {
    /// What happened to each of these verifications of tenant `acme`, as the store holds it. The gateway stops for the
    /// reading and comes back as from a restart.
    pub(crate) async fn histories(self, ids: &[String]) -> (Self, Vec<Vec<EventKind>>) {
        let mut histories = Vec::new();
        let gateway = self
            .at_rest(async |store, keys| {
                for id in ids {
                    let record = store.get(&verification_key(keys, id)).await.unwrap().expect("a record");
                    let verification: Stored = record::decode(&record.value).unwrap();
                    histories.push(verification.history().events().iter().map(|event| event.kind).collect());
                }
            })
            .await;
        (gateway, histories)
    }

    /// Changes the record of a verification of tenant `acme` behind the gateway's back, which stops for that and comes
    /// back as from a restart.
    pub(crate) async fn damage(self, id: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        self.at_rest(async |store, keys| {
            let key = verification_key(keys, id);
            let value = change(store.get(&key).await.unwrap().expect("a record").value);
            store.commit(Batch::new(key.partition()).put(key, value, None)).await.unwrap();
        })
        .await
    }

    /// How many due marks the store holds. The gateway stops for the reading and comes back as from a restart.
    pub(crate) async fn due_marks(self) -> (Self, usize) {
        let mut marks = 0;
        let gateway = self
            .at_rest(async |store, _| marks = store.scan(&Prefix::new([b'd'], None), None, 1_000).await.unwrap().len())
            .await;
        (gateway, marks)
    }

    async fn at_rest(mut self, work: impl AsyncFnOnce(&SealedStore, &Keys)) -> Self {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap().unwrap();
        let held = Held::open(self.place.path(), Arc::new(self.clock.clone())).await;
        let ring = KeyRing::load(&self.place.path().join("key")).unwrap();
        let store = SealedStore::new(held.store(), ring, Arc::new(OsRandom));
        let keys = Keys::open(&store, &OsRandom).await.unwrap();
        work(&store, &keys).await;
        drop(store);
        held.close();
        Self::run(self.place, self.config, self.clock).await
    }
}

fn verification_key(keys: &Keys, id: &str) -> Key {
    keys.verification(keys.tenant(&"acme".parse().unwrap()), id.parse().unwrap())
}

/// What a check came to, and nothing else of it.
pub(crate) async fn judge(client: &mut Verifications, id: &str, code: &str) -> CheckOutcome {
    check(client, id, code).await.unwrap().outcome()
}

pub(crate) async fn get_verification(client: &mut Verifications, id: &str) -> Verification {
    let request = GetVerificationRequest { id: id.to_owned() };
    client.get_verification(request).await.unwrap().into_inner().verification.unwrap()
}

pub(crate) async fn resend(client: &mut Verifications, id: &str) -> Result<Verification, Status> {
    let request = ResendVerificationRequest { id: id.to_owned(), channel: 0 };
    client.resend_verification(request).await.map(|answer| answer.into_inner().verification.unwrap())
}

pub(crate) async fn cancel(client: &mut Verifications, id: &str) -> Result<Verification, Status> {
    let request = CancelVerificationRequest { id: id.to_owned() };
    client.cancel_verification(request).await.map(|answer| answer.into_inner().verification.unwrap())
}

/// A start that waits until the vendor has answered.
pub(crate) async fn start_now(
    client: &mut Verifications,
    request: StartVerificationRequest,
) -> Result<Verification, Status> {
    let request = StartVerificationRequest { delivery_wait: seconds(5), ..request };
    client.start_verification(request).await.map(|answer| answer.into_inner().verification.unwrap())
}

/// The fields that a refused call names as wrong.
pub(crate) fn wrong_fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request();
    details.into_iter().flat_map(|details| details.field_violations).map(|violation| violation.field).collect()
}

impl Gateway {
    /// Stops, and starts again on the same store with another configuration.
    pub(crate) async fn restart_with(mut self, config: &str) -> Self {
        self.config = config.to_owned();
        self.restart().await
    }

    /// Everything that the inboxes took, newest first.
    pub(crate) async fn whole_inbox(&self) -> Vec<Value> {
        let answer = get(self.addresses.admin, "/inbox/messages", &[&format!("Host: {}", self.addresses.admin)]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }
}

/// Asks until there is an answer. The gateway works beside the test, so a test waits for what it does by asking, never
/// by the time; the bound only turns a wait without end into a failure.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("what was waited for never came")
}

pub(crate) fn email(email: &str) -> Recipient {
    Recipient { address: Some(recipient::Address::Email(email.to_owned())) }
}

/// A text message with nothing but a phone number and a text.
pub(crate) fn text_to(phone: &str, text: &str) -> SendMessageRequest {
    SendMessageRequest {
        recipient: Some(self::phone(phone)),
        content: Some(send_message_request::Content::Text(text.to_owned())),
        ..SendMessageRequest::default()
    }
}

/// The fields that a refused call names, each with what is wrong, in order.
pub(crate) fn violations(status: &Status) -> Vec<(String, String)> {
    let found = status.get_details_bad_request().map(|bad_request| bad_request.field_violations).unwrap_or_default();
    found.into_iter().map(|found| (found.field, found.description)).collect()
}

/// A check of a verification that is named by its id.
pub(crate) fn by_id(id: &str, code: &str) -> CheckVerificationRequest {
    CheckVerificationRequest {
        target: Some(check_verification_request::Target::Id(id.to_owned())),
        code: code.to_owned(),
        ..CheckVerificationRequest::default()
    }
}

/// A check of a verification that is named by its recipient, in the default scope.
pub(crate) fn by_recipient(recipient: &str, code: &str) -> CheckVerificationRequest {
    let scoped = ScopedRecipient { scope: String::new(), recipient: Some(phone(recipient)) };
    CheckVerificationRequest {
        target: Some(check_verification_request::Target::ScopedRecipient(scoped)),
        code: code.to_owned(),
        ..CheckVerificationRequest::default()
    }
}

impl Gateway {
    /// Starts on a folder that holds a store and its key, at a time.
    pub(crate) async fn start_in(place: TempDir, config: &str, now: verigate::clock::Timestamp) -> Self {
        Self::run(place, config.to_owned(), ManualClock::new(now)).await
    }

    /// The file with the key of the store.
    pub(crate) fn key_file(&self) -> std::path::PathBuf {
        self.place.path().join("key")
    }
}
