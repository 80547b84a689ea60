//! What comes between a read and its commit, and a process that dies at any commit: two nodes on one real store, one of
//! which lets the other go first or goes no further, exactly where the test says.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use verigate::clock::{ManualClock, Timestamp};
use verigate::error::{Kind, Reason, Result};
use verigate::event::fed::Fed;
use verigate::event::history::EventKind;
use verigate::id::Id;
use verigate::messaging::batch::{NewBatch, SentBatch};
use verigate::messaging::holder::{Ground, SendRecord, StepTaker, Taken};
use verigate::messaging::list::MessageFilter;
use verigate::messaging::message::Text;
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::page::PageRequest;
use verigate::messaging::request::NewMessage;
use verigate::messaging::route::Routes;
use verigate::messaging::sending::Persistence;
use verigate::messaging::service::Messaging;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::random::OsRandom;
use verigate::recipient::Address;
use verigate::store::Store;
use verigate::store::keys::{Holder, Keys, SendRef};
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::tenant::Tenant;
use verigate::vendor::Channel;
use verigate::vendor::inbox::Config as InboxConfig;
use verigate::verification::answers::Judgement;
use verigate::verification::code::{Candidate, Code};
use verigate::verification::list::VerificationFilter;
use verigate::verification::policy::{Limits, Policy, VerificationConfig};
use verigate::verification::request::{NewCheck, NewVerification, Target};
use verigate::verification::service::Verifications;
use verigate::verification::verification::Status;
use verigate::verification::view::{Checked, Outcome};
use verigate::verification::workflow::{Step, WorkflowConfig, Workflows};

use crate::support::gateway::{PHONE, START};
use crate::support::odd_store::OddStore;

const CODE: &str = "012345";
const WRONG: &str = "543210";

const SECOND: Duration = Duration::from_secs(1);

/// Longer than a call with an idempotency key counts as under way.
const LEASE: Duration = Duration::from_secs(31);

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Two nodes, of which one can be interrupted.
struct House {
    /// What happens before its next commit.
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
    node: Arc<Verifications>,
    other: Arc<Verifications>,
    ground: Ground,
    clock: ManualClock,
    tenant: Arc<Tenant>,
    _place: TempDir,
}

fn config() -> VerificationConfig {
    let policy = Policy {
        length: 6,
        alphabet: vec![verigate::verification::code::Class::Digits],
        exclude_confusing: false,
        lifetime: 600 * SECOND,
        max_checks: 5,
        max_lifetime: 3600 * SECOND,
    };
    let limits = Limits {
        cool_downs: vec![SECOND],
        cool_down_reset: 3600 * SECOND,
        failures: 3,
        failure_window: 300 * SECOND,
        max_sends: 5,
    };
    VerificationConfig { retention: 3600 * SECOND, policy, limits }
}

pub(crate) fn outbox(ground: &Ground) -> Arc<Outbox> {
    let inbox: InboxConfig = toml::from_str("").unwrap();
    let (vendor, _) = inbox.build("inbox", Arc::clone(&ground.clock)).unwrap();
    let mut vendors = Vendors::default();
    vendors.add("inbox", Arc::new(vendor), 4);
    let routes = vec![toml::from_str("channel = \"sms\"\nvendors = [\"inbox\"]").unwrap()];
    let settings = Settings {
        attempt_timeout: 10 * SECOND,
        persistence: Persistence { max_attempts: 3, backoff: SECOND },
        longest_line: LONGEST_LINE,
    };
    Arc::new(Outbox::new(ground.clone(), vendors, Routes::new(routes), settings))
}

/// A node on a store: what a process of its own would have.
fn node(ground: &Ground) -> Arc<Verifications> {
    let outbox = outbox(ground);
    let templates = Arc::new(Templates::builtin().unwrap());
    let verifications =
        Arc::new(Verifications::new(Arc::clone(&outbox), config(), templates, Box::new(|_| None), ladder()));
    outbox.hold(verifications.holder(), verifications.holder());
    verifications
}

/// The same for messages.
fn messenger(ground: &Ground) -> Arc<Messaging> {
    let outbox = outbox(ground);
    let templates = Arc::new(Templates::builtin().unwrap());
    let messaging = Arc::new(Messaging::new(Arc::clone(&outbox), templates, 3600 * SECOND));
    outbox.hold(messaging.holder(), messaging.holder());
    messaging
}

/// The same channel three times.
fn ladder() -> Workflows {
    let step = |wait: Option<u64>| Step { channel: Channel::Sms, wait: wait.map(Duration::from_secs) };
    Workflows::new(vec![WorkflowConfig {
        name: "ladder".to_owned(),
        steps: vec![step(Some(30)), step(Some(40)), step(None)],
        countries: Vec::new(),
        tenants: Vec::new(),
        default: false,
    }])
}

fn starting(scope: &str, key: Option<&str>) -> NewVerification {
    NewVerification {
        scope: Some(scope.to_owned()),
        custom_code: Some(Code::custom(CODE).unwrap()),
        idempotency_key: key.map(str::to_owned),
        ..NewVerification::to(Address::Phone(PHONE.to_owned()))
    }
}

fn checking(id: Id, code: &str, key: Option<&str>) -> NewCheck {
    NewCheck {
        target: Target::Id(id),
        candidate: Candidate::parse(code).unwrap(),
        idempotency_key: key.map(str::to_owned),
    }
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
        let meanwhile = Arc::new(Mutex::new(None::<Meanwhile>));
        let next = Arc::clone(&meanwhile);
        let interrupted = OddStore::around(&ground.store, move |store, batch| {
            let meanwhile = next.lock().unwrap().take();
            async move {
                if let Some(meanwhile) = meanwhile {
                    meanwhile.await;
                }
                store.commit(batch).await
            }
        });
        let through = Ground { store: interrupted, ..ground.clone() };
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
        Self { meanwhile, node: node(&through), other: node(&ground), ground, clock, tenant, _place: place }
    }

    async fn begin(&self, scope: &str) -> Id {
        // What the vendor says is a commit too, and must not be the one that a test waits for.
        let new = NewVerification { delivery_wait: Some(30 * SECOND), ..starting(scope, None) };
        let started = self.other.start(&self.tenant, new).await.unwrap();
        self.clock.advance(SECOND);
        started.view.verification.id
    }

    /// Checks at one node, while `meanwhile` is checked at the other between the first one's read and its commit.
    async fn check_while(&self, check: NewCheck, meanwhile: Vec<NewCheck>) -> Result<Checked> {
        let (other, tenant) = (Arc::clone(&self.other), Arc::clone(&self.tenant));
        let checks = async move {
            for check in meanwhile {
                drop(other.check(&tenant, check).await);
            }
        };
        *self.meanwhile.lock().unwrap() = Some(Box::pin(checks));
        let checked = self.node.check(&self.tenant, check).await;
        assert!(self.meanwhile.lock().unwrap().is_none(), "nothing was committed");
        checked
    }

    /// Starts in a workflow, and moves the clock to its next step.
    async fn climb(&self, scope: &str) -> (Id, SendRef, Timestamp) {
        let new = NewVerification { workflow: Some("ladder".to_owned()), ..starting(scope, None) };
        let new = NewVerification { delivery_wait: Some(30 * SECOND), ..new };
        let view = self.other.start(&self.tenant, new).await.unwrap().view;
        let (id, due_at) = (view.verification.id, view.next_step_at.unwrap());
        self.clock.set(due_at);
        let tenant = self.ground.keys.tenant(&self.tenant.name);
        (id, SendRef { holder: Holder::Verification, tenant, id, number: SendRef::RECORD }, due_at)
    }

    async fn sends(&self, id: Id) -> usize {
        self.other.get(&self.tenant.name, id).await.unwrap().verification.sends().len()
    }

    async fn status(&self, id: Id) -> Status {
        self.other.get(&self.tenant.name, id).await.unwrap().status
    }

    async fn count(&self, id: Id, kind: EventKind) -> usize {
        let view = self.other.get(&self.tenant.name, id).await.unwrap();
        view.verification.history().events().iter().filter(|event| event.kind == kind).count()
    }

    /// A node that dies at its `commits`-th commit, which is applied or not.
    fn dying(&self, commits: usize, last_is_applied: bool) -> Arc<Verifications> {
        let store = OddStore::dying(&self.ground.store, commits, last_is_applied);
        node(&Ground { store, ..self.ground.clone() })
    }
}

// === between a read and its commit ===

/// The lock belongs to the recipient, so that whoever guesses in one scope is stopped in all; also at the last moment.
#[tokio::test]
async fn a_right_code_does_not_slip_past_a_lock_set_meanwhile_in_another_scope() {
    for key in [None, Some("k")] {
        let house = House::new().await;
        let (login, payment) = (house.begin("login").await, house.begin("payment").await);
        let guesses = (0..3).map(|_| checking(payment, WRONG, None)).collect();
        let checked = house.check_while(checking(login, CODE, key), guesses).await.unwrap();
        assert_eq!((checked.outcome, house.status(login).await), (Outcome::RecipientLocked, Status::Pending));
        assert_eq!(checked.next_check_at, Some(house.ground.clock.now() + 300 * SECOND));
        assert_eq!(house.count(login, EventKind::Approved).await, 0);
        // It was not judged, so it can be once the lock is over.
        house.clock.advance(300 * SECOND);
        let later = house.node.check(&house.tenant, checking(login, CODE, key)).await.unwrap();
        assert_eq!(later.outcome, Outcome::Judged(Judgement::Approved));
    }
}

#[tokio::test]
async fn of_two_right_codes_the_later_commit_is_told_so() {
    let house = House::new().await;
    for (key, other_key, expected) in [
        (None, None, Outcome::Ended(Status::Approved)),
        (Some("a"), Some("b"), Outcome::Ended(Status::Approved)),
        (Some("a"), Some("a"), Outcome::Judged(Judgement::Approved)),
    ] {
        let id = house.begin("login").await;
        let meanwhile = vec![checking(id, CODE, other_key)];
        let checked = house.check_while(checking(id, CODE, key), meanwhile).await.unwrap();
        assert_eq!((checked.outcome, house.count(id, EventKind::Approved).await), (expected, 1), "{key:?}");
    }
}

#[tokio::test]
async fn a_wrong_code_that_is_repeated_before_its_commit_is_counted_once() {
    let house = House::new().await;
    let id = house.begin("login").await;
    let check = || checking(id, WRONG, Some("k"));
    let checked = house.check_while(check(), vec![check(), check()]).await.unwrap();
    assert_eq!((checked.outcome, checked.checks_left), (Outcome::Judged(Judgement::Wrong), 2));
    assert_eq!((checked.view.verification.checks_used, house.count(id, EventKind::CheckFailed).await), (1, 1));
}

/// Else as many guesses at the key of an approval as are under way at once would be uncounted.
#[tokio::test]
async fn an_approval_is_not_repeated_past_a_guess_made_meanwhile() {
    let house = House::new().await;
    let id = house.begin("login").await;
    let right = || checking(id, CODE, Some("k"));
    assert_eq!(house.node.check(&house.tenant, right()).await.unwrap().outcome, Outcome::Judged(Judgement::Approved));
    let again = house.check_while(right(), vec![right()]).await.unwrap();
    assert_eq!(again.outcome, Outcome::Judged(Judgement::Approved));
    let past = house.check_while(right(), vec![checking(id, WRONG, Some("k"))]).await.unwrap();
    assert_eq!(past.outcome, Outcome::Ended(Status::Approved));
}

// === steps of workflows ===

#[tokio::test]
async fn a_step_that_many_take_at_once_is_taken_once() {
    let house = House::new().await;
    let (id, record, due_at) = house.climb("login").await;
    let taking = (0..50).map(|turn| {
        let node = Arc::clone(if turn % 2 == 0 { &house.node } else { &house.other });
        async move { node.take_step(&record, due_at).await }
    });
    for taken in futures_util::future::join_all(taking).await {
        assert!(is_done(&taken));
    }
    assert_eq!(house.sends(id).await, 2);
    // Nor is one taken before its time, should the clock be set back.
    let next = house.other.get(&house.tenant.name, id).await.unwrap().next_step_at.unwrap();
    assert!(is_done(&house.node.take_step(&record, next).await));
    assert_eq!((next, house.sends(id).await), (due_at + 40 * SECOND, 2));
}

#[tokio::test]
async fn a_step_is_not_taken_past_an_approval_or_a_lock_set_meanwhile() {
    for guesses in [vec![CODE], vec![WRONG; 3]] {
        let house = House::new().await;
        let (id, record, due_at) = house.climb("login").await;
        let (other, tenant) = (Arc::clone(&house.other), Arc::clone(&house.tenant));
        let locks = guesses.len() > 1;
        let checks = async move {
            for guess in guesses {
                drop(other.check(&tenant, checking(id, guess, None)).await);
            }
        };
        *house.meanwhile.lock().unwrap() = Some(Box::pin(checks));
        assert!(is_done(&house.node.take_step(&record, due_at).await));
        assert_eq!(house.sends(id).await, 1);
        let view = house.other.get(&house.tenant.name, id).await.unwrap();
        let later = locks.then_some(due_at + 300 * SECOND);
        assert_eq!((view.status == Status::Approved, view.next_step_at), (!locks, later));
        if let Some(later) = later {
            house.clock.set(later);
            assert!(is_done(&house.node.take_step(&record, later).await));
            assert_eq!(house.sends(id).await, 2);
        }
    }
}

#[tokio::test]
async fn a_step_whose_process_died_is_taken_once() {
    for applied in [false, true] {
        let house = House::new().await;
        let (id, record, due_at) = house.climb("login").await;
        let Err(error) = house.dying(1, applied).take_step(&record, due_at).await else { panic!("a store that died") };
        assert_eq!((error.kind(), house.sends(id).await), (Kind::Unavailable, if applied { 2 } else { 1 }));
        assert!(is_done(&house.other.take_step(&record, due_at).await));
        assert_eq!(house.sends(id).await, 2);
    }
}

#[tokio::test]
async fn steps_end_with_the_sends_of_a_verification() {
    let house = House::new().await;
    let (id, record, due_at) = house.climb("login").await;
    // The limit is five.
    for _ in 0..4 {
        house.clock.advance(SECOND);
        house.other.resend(&house.tenant.name, id, None).await.unwrap();
    }
    assert!(is_done(&house.other.take_step(&record, due_at).await));
    let next = house.other.get(&house.tenant.name, id).await.unwrap().next_step_at.unwrap();
    house.clock.set(next);
    assert!(is_done(&house.other.take_step(&record, next).await));
    let view = house.other.get(&house.tenant.name, id).await.unwrap();
    assert_eq!((view.verification.sends().len(), view.next_step_at, view.status), (5, None, Status::Pending));
}

fn is_done(taken: &Result<Taken>) -> bool {
    matches!(taken, Ok(Taken::Done))
}

// === a death at each commit ===

#[tokio::test]
async fn a_check_whose_process_died_is_repeated_without_harm() {
    for (applied, counted) in [(false, 0), (true, 1)] {
        let house = House::new().await;
        let id = house.begin("login").await;
        let node = house.dying(1, applied);
        let wrong = || checking(id, WRONG, Some("wrong"));
        assert_eq!(node.check(&house.tenant, wrong()).await.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(house.count(id, EventKind::CheckFailed).await, counted);
        let again = house.other.check(&house.tenant, wrong()).await.unwrap();
        assert_eq!((again.outcome, again.checks_left), (Outcome::Judged(Judgement::Wrong), 2));
        assert_eq!(house.count(id, EventKind::CheckFailed).await, 1);

        let node = house.dying(1, applied);
        let right = || checking(id, CODE, Some("right"));
        assert_eq!(node.check(&house.tenant, right()).await.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(house.count(id, EventKind::Approved).await, counted);
        let again = house.other.check(&house.tenant, right()).await.unwrap();
        assert_eq!(again.outcome, Outcome::Judged(Judgement::Approved));
        assert_eq!(house.count(id, EventKind::Approved).await, 1);
    }
}

#[tokio::test]
async fn a_start_whose_process_died_is_repeated_without_harm() {
    // The key is reserved, the work is done, and what the vendor says and that the key is settled follow in any order.
    for commits in 1..=4 {
        for applied in [false, true] {
            let house = House::new().await;
            let node = house.dying(commits, applied);
            let first = node.start(&house.tenant, starting("login", Some("k"))).await;
            assert!(commits > 2 || first.is_err());
            house.clock.advance(LEASE);
            let mut ids = Vec::new();
            for _ in 0..3 {
                let again = house.other.start(&house.tenant, starting("login", Some("k"))).await.unwrap();
                assert_eq!(again.view.verification.sends().len(), 1, "commit {commits}, {applied}");
                ids.push(again.view.verification.id);
            }
            ids.dedup();
            let filter = VerificationFilter {
                recipient: Some(Address::Phone(PHONE.to_owned())),
                ..VerificationFilter::default()
            };
            let page = house.other.list(&house.tenant, &filter, &PageRequest::default()).await.unwrap();
            let listed: Vec<_> = page.items.iter().map(|view| view.verification.id).collect();
            assert_eq!((ids.len(), listed), (1, ids), "commit {commits}, {applied}");
        }
    }
}

/// Three that are to be sent later, so that no vendor's word is among the commits.
async fn send_three(messaging: &Arc<Messaging>, house: &House, key: &str) -> Result<SentBatch> {
    let send_at = Some(START + 24 * 3600 * SECOND);
    let message = |last: u8| {
        let to = Address::Phone(format!("+6012345678{last}"));
        NewMessage { send_at, ..NewMessage::to(to, Text::new("Hi".to_owned())) }
    };
    let new = NewBatch { key: Some(key.to_owned()), messages: (0..3).map(message).collect() };
    let named = |id: Id, new| NewMessage { metadata: BTreeMap::from([("batch".to_owned(), id.to_string())]), ..new };
    messaging.send_batch(&house.tenant, new, named).await
}

#[tokio::test]
async fn a_batch_whose_process_died_is_completed_and_nothing_of_it_is_sent_twice() {
    // One to reserve the batch's key, three for each message, one to keep the batch, and one to settle its key.
    for commits in 1..=12 {
        for applied in [false, true] {
            let house = House::new().await;
            let store = OddStore::dying(&house.ground.store, commits, applied);
            let dying = messenger(&Ground { store, ..house.ground.clone() });
            assert_eq!(send_three(&dying, &house, "k").await.map(drop).unwrap_err().kind(), Kind::Unavailable);
            house.clock.advance(LEASE);
            let messaging = messenger(&house.ground);
            let mut ids = Vec::new();
            for _ in 0..2 {
                let batch = send_three(&messaging, &house, "k").await.unwrap();
                let messages: Vec<_> = batch.results.into_iter().map(Result::unwrap).collect();
                assert!(messages.iter().all(|message| message.metadata["batch"] == batch.id.to_string()));
                ids.push((batch.id, messages.iter().map(|message| message.id).collect::<Vec<_>>()));
            }
            assert_eq!(ids[0], ids[1], "commit {commits}, {applied}");
            let page = messaging.list(&house.tenant, &MessageFilter::default(), &PageRequest::default()).await.unwrap();
            let listed: std::collections::BTreeSet<_> = page.items.iter().map(|message| message.id).collect();
            assert_eq!((listed.len(), listed), (3, ids[0].1.iter().copied().collect()), "commit {commits}, {applied}");
            let kept = messaging.batch(&house.tenant.name, ids[0].0).await.unwrap();
            assert_eq!(kept.iter().map(|message| message.id).collect::<Vec<_>>(), ids[0].1);
        }
    }
}

/// While one is at it, another one with the same key is told to come again, and sends nothing.
#[tokio::test]
async fn a_batch_that_is_under_way_is_not_begun_again() {
    let house = House::new().await;
    let store = OddStore::dying(&house.ground.store, 3, true);
    let dying = messenger(&Ground { store, ..house.ground.clone() });
    drop(send_three(&dying, &house, "k").await);
    let messaging = messenger(&house.ground);
    let error = send_three(&messaging, &house, "k").await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (Kind::Conflict, Reason::IdempotencyInFlight));
    let unknown = messaging.batch(&house.tenant.name, Id::first_at(START)).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
}
