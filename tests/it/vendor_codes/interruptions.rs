//! What comes between the two ends of a check that a vendor judges: a process that dies, a caller that hangs up, a cancel,
//! the end of its time. Nodes on one real store, and a vendor that answers when the test lets it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use verigate::clock::ManualClock;
use verigate::error::{Kind, Reason, Result};
use verigate::event::fed::Fed;
use verigate::event::history::EventKind;
use verigate::id::Id;
use verigate::messaging::holder::Ground;
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::route::Routes;
use verigate::messaging::sending::Persistence;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::random::OsRandom;
use verigate::recipient::Address;
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::tenant::Tenant;
use verigate::vendor::{
    Accepted, Capabilities, Channel, CodeHandle, CodeLimits, CodeRequest, CodeVerdict, Codes, Failure, Outgoing, Vendor,
};
use verigate::verification::answers::Judgement;
use verigate::verification::code::{Candidate, Code};
use verigate::verification::policy::{Limits, Policy, PolicyOverrides, VerificationConfig};
use verigate::verification::request::{NewCheck, NewVerification, OnExisting, Target};
use verigate::verification::service::Verifications;
use verigate::verification::verification::Status;
use verigate::verification::view::{Checked, Outcome, View};
use verigate::verification::workflow::Workflows;

use crate::support::code_maker::{CodeMaker, Kind as MakerKind};
use crate::support::counting_store::CountingStore;
use crate::support::gateway::{PHONE, START, eventually};
use crate::support::odd_store::OddStore;
use crate::support::process::{KEY, Process};
use crate::support::vendor_server::Fault;

const CODE: &str = "012345";
const WRONG: &str = "543210";
const SECOND: Duration = Duration::from_secs(1);

/// Longer than a check may be under way: twice the time of a call, and some to commit.
const LEASE: Duration = Duration::from_secs(26);

/// A vendor that makes the same code each time, and judges when it is let.
#[derive(Debug)]
struct Maker {
    capabilities: Capabilities,
    limits: CodeLimits,
    asked: AtomicUsize,
    gate: Semaphore,
    /// Instead of what comparing would say, in order.
    verdicts: Mutex<Vec<Result<CodeVerdict, Failure>>>,
}

#[async_trait]
impl Vendor for Maker {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, _: &Outgoing) -> Result<Accepted, Failure> {
        Ok(Accepted::default())
    }

    fn codes(&self) -> Option<&dyn Codes> {
        Some(self)
    }
}

#[async_trait]
impl Codes for Maker {
    fn limits(&self) -> &CodeLimits {
        &self.limits
    }

    async fn start(&self, request: &CodeRequest) -> Result<CodeHandle, Failure> {
        let vendor_reference = Some(format!("code-{}", request.reference));
        Ok(CodeHandle { vendor_reference, channel: request.channel, recipient: request.recipient.clone() })
    }

    async fn check(&self, handle: &CodeHandle, candidate: &SecretString) -> Result<CodeVerdict, Failure> {
        assert!(handle.vendor_reference.as_ref().unwrap().starts_with("code-"));
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if let Some(verdict) = self.verdicts.lock().unwrap().pop() {
            return verdict;
        }
        let right = candidate.expose_secret() == CODE;
        Ok(if right { CodeVerdict::Right } else { CodeVerdict::Wrong { checks_left: Some(0) } })
    }

    async fn cancel(&self, _: &CodeHandle) -> Result<(), Failure> {
        Ok(())
    }
}

struct House {
    ground: Ground,
    clock: ManualClock,
    maker: Arc<Maker>,
    node: Arc<Verifications>,
    tenant: Arc<Tenant>,
    _place: TempDir,
}

// === impl House ===

impl House {
    async fn new() -> Self {
        let place = TempDir::new().unwrap();
        let clock = ManualClock::new(START);
        let config = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
        let sled = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let store: Arc<dyn Store> = Arc::new(SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom)));
        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let ground =
            Ground { store, keys, clock: Arc::new(clock.clone()), random: Arc::new(OsRandom), fed: Fed::default() };
        let maker = Arc::new(Maker {
            capabilities: Capabilities { channels: vec![Channel::Sms], idempotent: true, receipts: false },
            limits: CodeLimits {
                channels: vec![Channel::Sms],
                lengths: 6..=6,
                lifetimes: SECOND..=3600 * SECOND,
                lifetime_step: SECOND,
                letters: false,
                template: true,
                cancel: false,
            },
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            verdicts: Mutex::default(),
        });
        let tenant = Arc::new(Tenant {
            name: "acme".parse().unwrap(),
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        });
        Self { node: node(&ground, &maker), ground, clock, maker, tenant, _place: place }
    }

    /// Another process on the same store.
    fn other(&self) -> Arc<Verifications> {
        node(&self.ground, &self.maker)
    }

    /// One that dies at its `commits`-th commit, which is applied or not.
    fn dying(&self, commits: usize, last_is_applied: bool) -> Arc<Verifications> {
        let store = OddStore::dying(&self.ground.store, commits, last_is_applied);
        node(&Ground { store, ..self.ground.clone() }, &self.maker)
    }

    async fn begin(&self, max_checks: u32) -> Id {
        let new = NewVerification { delivery_wait: Some(30 * SECOND), ..starting(max_checks) };
        let id = self.node.start(&self.tenant, new).await.unwrap().view.verification.id;
        self.clock.advance(SECOND);
        id
    }

    fn check(&self, node: &Arc<Verifications>, id: Id, code: &str, key: Option<&str>) -> JoinHandle<Result<Checked>> {
        let check = NewCheck {
            target: Target::Id(id),
            candidate: Candidate::parse(code).unwrap(),
            idempotency_key: key.map(str::to_owned),
        };
        let (node, tenant) = (Arc::clone(node), Arc::clone(&self.tenant));
        tokio::spawn(async move { node.check(&tenant, check).await })
    }

    /// What the vendor says next; then it says so once.
    fn answer(&self) {
        self.maker.gate.add_permits(1);
    }

    async fn until_asked(&self, times: usize) {
        eventually(async || (self.maker.asked.load(Ordering::SeqCst) == times).then_some(())).await;
    }

    async fn see(&self, id: Id) -> View {
        self.node.get(&self.tenant.name, id).await.unwrap()
    }

    async fn count(&self, id: Id, kind: EventKind) -> usize {
        self.see(id).await.verification.history().events().iter().filter(|event| event.kind == kind).count()
    }

    /// Status, checks counted, and failures that the recipient has left.
    async fn tally(&self, id: Id) -> (Status, u32, usize) {
        let seen = self.see(id).await;
        let keys = &self.ground.keys;
        let tag = keys.recipient(&self.tenant.name, &seen.verification.recipient);
        let key = keys.recipient_state(keys.tenant(&self.tenant.name), tag);
        let read = self.ground.store.get(&key).await.unwrap().unwrap();
        let state: verigate::verification::recipient_state::RecipientState =
            verigate::store::record::decode(&read.value).unwrap();
        (seen.status, seen.verification.checks_used, state.failures_left(&limits(), self.ground.clock.now()))
    }
}

fn starting(max_checks: u32) -> NewVerification {
    NewVerification {
        policy: PolicyOverrides { max_checks: Some(max_checks), ..PolicyOverrides::default() },
        on_existing: OnExisting::Replace,
        ..NewVerification::to(Address::Phone(PHONE.to_owned()))
    }
}

fn limits() -> Limits {
    Limits {
        cool_downs: vec![SECOND],
        cool_down_reset: 3600 * SECOND,
        failures: 9,
        failure_window: 3600 * SECOND,
        max_sends: 5,
    }
}

fn node(ground: &Ground, maker: &Arc<Maker>) -> Arc<Verifications> {
    node_with("vendor", ground, maker)
}

/// `codes`: who makes them.
fn node_with(codes: &str, ground: &Ground, maker: &Arc<Maker>) -> Arc<Verifications> {
    let mut vendors = Vendors::default();
    vendors.add("maker", Arc::clone(maker) as Arc<dyn Vendor>, 4);
    let route = format!("channel = \"sms\"\ncodes = \"{codes}\"\nvendors = [\"maker\"]");
    let routes = vec![toml::from_str(&route).unwrap()];
    let settings = Settings {
        attempt_timeout: 10 * SECOND,
        persistence: Persistence { max_attempts: 3, backoff: SECOND },
        longest_line: LONGEST_LINE,
    };
    let outbox = Arc::new(Outbox::new(ground.clone(), vendors, Routes::new(routes), settings));
    let policy = Policy {
        length: 6,
        alphabet: vec![verigate::verification::code::Class::Digits],
        exclude_confusing: false,
        lifetime: 600 * SECOND,
        max_checks: 5,
        max_lifetime: 3600 * SECOND,
    };
    let config = VerificationConfig { retention: 3600 * SECOND, policy, limits: limits() };
    let templates = Arc::new(Templates::builtin().unwrap());
    let verifications =
        Arc::new(Verifications::new(Arc::clone(&outbox), config, templates, Box::new(|_| None), Workflows::default()));
    outbox.hold(verifications.holder(), verifications.holder());
    verifications
}

async fn outcome(check: JoinHandle<Result<Checked>>) -> Outcome {
    check.await.unwrap().unwrap().outcome
}

// === what it costs ===

/// What a start with its send, a wrong check and a right one ask of the store.
#[tokio::test]
async fn codes_of_ours_cost_what_they_did_and_those_of_vendors_a_commit_more_a_check() {
    for (codes, custom_code, gets, commits) in
        [("own", Some(CODE), 1 + 2 * 2, 2 + 2), ("vendor", None, 1 + 2 * 5, 2 + 2 * 2)]
    {
        let house = House::new().await;
        let store = Arc::new(CountingStore::new(Arc::clone(&house.ground.store)));
        let ground = Ground { store: Arc::clone(&store) as Arc<dyn Store>, ..house.ground.clone() };
        let node = node_with(codes, &ground, &house.maker);
        let custom_code = custom_code.map(|code| Code::custom(code).unwrap());
        let new = NewVerification { custom_code, ..starting(5) };
        let id = node.start(&house.tenant, new).await.unwrap().view.verification.id;
        eventually(async || (store.work().commits == 2).then_some(())).await;
        for (candidate, judgement) in [(WRONG, Judgement::Wrong), (CODE, Judgement::Approved)] {
            house.answer();
            assert_eq!(outcome(house.check(&node, id, candidate, None)).await, Outcome::Judged(judgement));
        }
        assert_eq!((store.work().gets, store.work().commits), (gets, commits), "{codes}");
    }
}

// === a death ===

#[tokio::test]
async fn who_dies_after_counting_leaves_the_check_counted_and_nothing_approved() {
    for (applied, counted) in [(false, 0), (true, 1)] {
        for candidate in [CODE, WRONG] {
            let house = House::new().await;
            let id = house.begin(5).await;
            let died = house.check(&house.dying(1, applied), id, candidate, None).await.unwrap();
            assert_eq!(died.unwrap_err().kind(), Kind::Unavailable);
            house.until_asked(0).await;
            assert_eq!(house.tally(id).await, (Status::Pending, counted, 9 - counted as usize));
            // Nobody else may ask before it is sure that nobody else does.
            let right = house.check(&house.other(), id, CODE, None);
            if applied {
                tokio::task::yield_now().await;
                house.until_asked(0).await;
                house.clock.advance(LEASE);
            }
            house.until_asked(1).await;
            house.answer();
            assert_eq!(outcome(right).await, Outcome::Judged(Judgement::Approved));
            assert_eq!(house.tally(id).await, (Status::Approved, counted, 9 - counted as usize));
            assert_eq!(house.count(id, EventKind::CheckFailed).await, counted as usize);
        }
    }
}

#[tokio::test]
async fn who_dies_with_the_outcome_leaves_it_counted_or_settled() {
    for applied in [false, true] {
        let house = House::new().await;
        let id = house.begin(5).await;
        let dying = house.check(&house.dying(2, applied), id, CODE, Some("k"));
        house.until_asked(1).await;
        assert_eq!(house.tally(id).await, (Status::Pending, 1, 8), "counted before it was asked about");
        house.answer();
        assert_eq!(dying.await.unwrap().unwrap_err().kind(), Kind::Unavailable);
        let expected = if applied { (Status::Approved, 0, 9) } else { (Status::Pending, 1, 8) };
        assert_eq!(house.tally(id).await, expected);
        house.clock.advance(LEASE);
        house.answer();
        let again = house.check(&house.other(), id, CODE, Some("k"));
        assert_eq!(outcome(again).await, Outcome::Judged(Judgement::Approved));
        assert_eq!(house.maker.asked.load(Ordering::SeqCst), if applied { 1 } else { 2 });
        assert_eq!(house.count(id, EventKind::Approved).await, 1);
    }
}

#[tokio::test]
async fn a_last_check_that_got_lost_ends_the_verification() {
    let house = House::new().await;
    let id = house.begin(1).await;
    let died = house.check(&house.dying(1, true), id, CODE, None).await.unwrap();
    assert_eq!(died.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(house.see(id).await.status, Status::Pending);
    house.clock.advance(LEASE);
    let seen = house.see(id).await;
    assert_eq!((seen.status, seen.checks_left), (Status::ChecksExhausted, 0));
    assert!(seen.decided_at.is_some_and(|at| at <= house.ground.clock.now()));
    assert_eq!(outcome(house.check(&house.node, id, CODE, None)).await, Outcome::Ended(Status::ChecksExhausted));
    assert_eq!(house.maker.asked.load(Ordering::SeqCst), 0);
    let events = [EventKind::CheckFailed, EventKind::ChecksExhausted];
    for event in events {
        assert_eq!(house.count(id, event).await, 1, "{event:?}");
    }
    // Also once its time is over: what has ended never changes.
    house.clock.advance(600 * SECOND);
    assert_eq!(house.see(id).await.status, Status::ChecksExhausted);
}

/// The program itself, killed while the vendor is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_killed_while_a_vendor_judges_has_counted_the_check() {
    use tonic::transport::Endpoint;
    use verigate::proto::verification::v1::VerificationStatus;
    use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;

    use crate::support::gateway::{Credentials, check, get_verification, start, start_now};

    let maker = CodeMaker::start(MakerKind::Octopush).await;
    let url = maker.server.url();
    let settings = [
        ("VERIGATE__VENDORS__MAKER__KIND", "octopush"),
        ("VERIGATE__VENDORS__MAKER__BASE_URL", url.as_str()),
        ("VERIGATE__VENDORS__MAKER__API_LOGIN", "ann@example.com"),
        ("VERIGATE__VENDORS__MAKER__API_KEY", "made-up"),
        ("VERIGATE__ROUTES", r#"[{ channel = "sms", codes = "vendor", vendors = ["maker"] }]"#),
        ("VERIGATE__MESSAGING__ATTEMPT_TIMEOUT", "2s"),
    ];
    let place = TempDir::new().unwrap();
    let connect = async |process: &Process| {
        let channel = Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
        VerificationServiceClient::with_interceptor(channel, Credentials::new(KEY))
    };
    let process = Process::start(place.path(), &settings).await;
    let mut client = connect(&process).await;
    let phone = MakerKind::Octopush.phone(1);
    let id = start_now(&mut client, start(&phone)).await.unwrap().id;
    let code = maker.code(&phone);
    maker.set_fault(Fault::Silence).await;
    let asked = maker.server.requests().len();
    let checking = tokio::spawn({
        let (mut client, id, code) = (client.clone(), id.clone(), code.clone());
        async move { check(&mut client, &id, &code).await }
    });
    eventually(async || (maker.server.requests().len() > asked).then_some(())).await;
    process.kill();
    assert!(checking.await.unwrap().is_err());

    maker.set_fault(None).await;
    let process = Process::start(place.path(), &settings).await;
    let mut client = connect(&process).await;
    let seen = get_verification(&mut client, &id).await;
    assert_eq!((seen.status(), seen.checks_used, seen.checks_left), (VerificationStatus::Pending, 1, 4));
    // It waits until nobody else can be asking, and is judged then.
    let right = check(&mut client, &id, &code).await.unwrap();
    assert_eq!(right.outcome(), verigate::proto::verification::v1::CheckOutcome::Approved);
    assert_eq!(right.verification.unwrap().checks_used, 1);
    process.kill();
}

// === meanwhile ===

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_nothing() {
    let house = House::new().await;
    let id = house.begin(5).await;
    let checking = house.check(&house.node, id, CODE, Some("k"));
    house.until_asked(1).await;
    checking.abort();
    assert!(checking.await.unwrap_err().is_cancelled());
    house.answer();
    eventually(async || (house.see(id).await.status == Status::Approved).then_some(())).await;
    // Whoever asks again with the same key is told.
    assert_eq!(outcome(house.check(&house.node, id, CODE, Some("k"))).await, Outcome::Judged(Judgement::Approved));
    assert_eq!((house.maker.asked.load(Ordering::SeqCst), house.tally(id).await), (1, (Status::Approved, 0, 9)));
}

#[tokio::test]
async fn what_ends_a_verification_while_its_vendor_judges_stands() {
    for (verdict, counted) in [
        (Ok(CodeVerdict::Right), 0),
        (Ok(CodeVerdict::Wrong { checks_left: None }), 1),
        (Ok(CodeVerdict::Unknown), 1),
        (Ok(CodeVerdict::Expired), 0),
        (Err(Failure::Unavailable), 0),
        (Err(Failure::Unknown), 1),
    ] {
        for cancels in [true, false] {
            let house = House::new().await;
            let id = house.begin(5).await;
            house.maker.verdicts.lock().unwrap().push(verdict.clone());
            let checking = house.check(&house.node, id, CODE, None);
            house.until_asked(1).await;
            let ended = if cancels {
                house.other().cancel(&house.tenant.name, id).await.unwrap();
                Status::Canceled
            } else {
                house.clock.set(house.see(id).await.verification.expires_at);
                Status::Expired
            };
            house.answer();
            // Where the clock goes so far, the call has timed out, too.
            let counted = if cancels { counted } else { 1 };
            assert_eq!(outcome(checking).await, Outcome::Ended(ended), "{verdict:?}");
            assert_eq!(house.tally(id).await, (ended, counted, 9 - counted as usize), "{verdict:?}");
            assert_eq!(house.count(id, EventKind::Approved).await, 0);
        }
    }
}

/// One after the other, also of two processes, and the second with the same key hears what the first did.
#[tokio::test]
async fn a_check_waits_for_the_one_under_way() {
    for (key, candidate, expected, asked) in [
        (Some("k"), CODE, Outcome::Judged(Judgement::Approved), 1),
        (Some("l"), CODE, Outcome::Ended(Status::Approved), 1),
        (None, CODE, Outcome::Ended(Status::Approved), 1),
    ] {
        let house = House::new().await;
        let id = house.begin(5).await;
        let first = house.check(&house.node, id, CODE, Some("k"));
        house.until_asked(1).await;
        let second = house.check(&house.node, id, candidate, key);
        let elsewhere = house.check(&house.other(), id, candidate, key);
        tokio::task::yield_now().await;
        assert!(!second.is_finished() && !elsewhere.is_finished());
        house.answer();
        assert_eq!(outcome(first).await, Outcome::Judged(Judgement::Approved));
        assert_eq!(outcome(second).await, expected);
        // The other process is told nothing, and looks when it would be lost.
        house.clock.advance(LEASE);
        assert_eq!(outcome(elsewhere).await, expected);
        assert_eq!((house.maker.asked.load(Ordering::SeqCst), house.tally(id).await.1), (asked, 0), "{key:?}");
    }
}

/// Who waits is not kept waiting for ever by others who ask before.
#[tokio::test]
async fn a_vendor_without_an_answer_lets_the_next_check_through_in_time() {
    let house = House::new().await;
    let id = house.begin(5).await;
    let first = house.check(&house.node, id, CODE, None);
    house.until_asked(1).await;
    let second = house.check(&house.node, id, CODE, None);
    house.clock.advance(10 * SECOND);
    assert_eq!(first.await.unwrap().unwrap_err().reason(), Reason::VendorUnavailable);
    house.until_asked(2).await;
    house.answer();
    assert_eq!(outcome(second).await, Outcome::Judged(Judgement::Approved));
    assert_eq!(house.tally(id).await, (Status::Approved, 1, 8));
}
