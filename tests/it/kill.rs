//! Nothing that was acknowledged is lost: the real program is killed under load again and again, and after each restart
//! on the same store its state is compared with what its clients had been told. The same for clean stops.
//!
//! `KILL_ROUNDS` sets the number of kills, `KILL_SEED` repeats the choices of a run that failed; how the calls of many
//! clients mingle is up to the machine.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;
use verigate::clock::{Clock, SystemClock, Timestamp};
use verigate::proto::verification::v1::{CheckOutcome, VerificationStatus};
use verigate::random::{OsRandom, Random};
use verigate::store::keys::AttemptRef;

use crate::support::ledger::{Entry, Letter, Person};
use crate::support::load::{Client, DEFAULT_CHECKS, Dice, Progress, SETTINGS, Told};
use crate::support::process::Process;

const KILLS: u32 = 50;
const STOPS: u32 = 5;

/// Clients at work, and the connections that they share.
const WORKERS: usize = 64;
const CONNECTIONS: usize = 3;

/// After how many answers a gateway is killed.
const FEWEST_ANSWERS: u32 = 20;
const MOST_ANSWERS: u32 = 300;

/// How many people and messages of earlier rounds are looked at in each.
const OLD_ONES: usize = 12;

/// Longer than anything takes that should happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A verification that has less time left may expire before it is checked.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a gateway has to stop: its drain deadline, and some time to start and end.
const STOP: Duration = Duration::from_secs(20);

/// A store that gateways come and go on, and all that clients were told about it.
pub(crate) struct History {
    place: TempDir,
    dice: Dice,
    numbers: Arc<AtomicU32>,
    people: Vec<Person>,
    letters: Vec<Letter>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_killed() {
    let rounds = number_from("KILL_ROUNDS").map_or(KILLS, |rounds| rounds.try_into().unwrap());
    let mut history = History::new();
    let mut process = history.start().await;
    for _ in 0..rounds {
        let told = history.work(process, |process| async { process.kill() }).await;
        process = history.start().await;
        history.compare(&process, told).await;
    }
    history.finish(&process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_cut_off_when_stopped() {
    let mut history = History::new();
    let mut process = history.start().await;
    for _ in 0..STOPS {
        let mut told = history.work(process, stop).await;
        forget_open_calls(&mut told);
        process = history.start().await;
        history.compare(&process, told).await;
    }
    history.finish(&process).await;
}

/// A gateway that stops answers what it has begun, so what it did not answer has not happened.
pub(crate) fn forget_open_calls(told: &mut [Told]) {
    told.iter_mut().flat_map(|told| &mut told.people).for_each(Person::forget_open_calls);
}

pub(crate) async fn stop(process: Process) {
    process.ask_to_stop();
    let ended = process.ended(STOP).await;
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
}

// === impl History ===

impl History {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 8];
        OsRandom.fill(&mut bytes);
        let seed = number_from("KILL_SEED").unwrap_or(u64::from_be_bytes(bytes));
        // Shown when the test fails.
        println!("KILL_SEED={seed}");
        Self {
            place: TempDir::new().unwrap(),
            dice: Dice::new(seed),
            numbers: Arc::default(),
            people: Vec::new(),
            letters: Vec::new(),
        }
    }

    pub(crate) async fn start(&self) -> Process {
        Process::start(self.place.path(), SETTINGS).await
    }

    /// Puts a gateway under load, ends it in the middle, and returns what its clients were told.
    async fn work<E: Future<Output = ()>>(&mut self, process: Process, end: impl FnOnce(Process) -> E) -> Vec<Told> {
        let progress = Progress::until(FEWEST_ANSWERS + self.dice.below(MOST_ANSWERS - FEWEST_ANSWERS));
        let enough = async { timeout(PATIENCE, progress.enough()).await.expect("enough answers in time") };
        self.work_while(process, &progress, enough, end).await
    }

    /// The same for as long as somebody else says.
    pub(crate) async fn work_while<E: Future<Output = ()>>(
        &mut self,
        process: Process,
        progress: &Arc<Progress>,
        until: impl Future<Output = ()>,
        end: impl FnOnce(Process) -> E,
    ) -> Vec<Told> {
        let clients = Client::connect(&process, CONNECTIONS, progress).await;
        let mut working = JoinSet::new();
        for client in clients.iter().cycle().take(WORKERS) {
            working.spawn(client.clone().work(Arc::clone(&self.numbers), self.dice.fork()));
        }
        until.await;
        end(process).await;
        timeout(PATIENCE, working.join_all()).await.expect("every open call ends with its connection")
    }

    /// Compares what a gateway shows with what clients were told by the one before it, and a part of what they were told
    /// by those before that.
    pub(crate) async fn compare(&mut self, process: &Process, told: Vec<Told>) {
        let (mut people, mut letters) = (Vec::new(), Vec::new());
        for told in told {
            people.extend(told.people);
            letters.extend(told.letters);
        }
        for _ in 0..OLD_ONES {
            people.extend(take_one(&mut self.people, &mut self.dice));
            letters.extend(take_one(&mut self.letters, &mut self.dice));
        }
        self.look(process, people, letters).await;
        self.read_inbox(process).await;
    }

    /// Compares everything with what the last gateway shows, once it has taken up all that was left in doubt.
    pub(crate) async fn finish(&mut self, process: &Process) {
        let settle = async {
            loop {
                let (people, settled): (Vec<_>, _) = self.people.drain(..).partition(|person| !person.is_settled());
                self.people = settled;
                let (letters, settled): (Vec<_>, _) = self.letters.drain(..).partition(|letter| !letter.is_settled());
                self.letters = settled;
                if people.is_empty() && letters.is_empty() {
                    return;
                }
                self.look(process, people, letters).await;
            }
        };
        timeout(PATIENCE, settle).await.expect("what was in doubt is settled in time");
        let (people, letters) = (std::mem::take(&mut self.people), std::mem::take(&mut self.letters));
        self.look(process, people, letters).await;
        self.read_inbox(process).await;
    }

    /// Compares people and messages with what the gateway shows, and then keeps them.
    async fn look(&mut self, process: &Process, people: Vec<Person>, letters: Vec<Letter>) {
        let clients = Client::connect(process, CONNECTIONS, &Progress::until(0)).await;
        let (people, letters) = (Arc::new(Mutex::new(people)), Arc::new(Mutex::new(letters)));
        let mut looking = JoinSet::new();
        for client in clients.iter().cycle().take(WORKERS) {
            let (people, letters, mut client) = (Arc::clone(&people), Arc::clone(&letters), client.clone());
            let mut dice = self.dice.fork();
            looking.spawn(async move {
                let mut seen = (Vec::new(), Vec::new());
                while let Some(mut person) = pop(&people) {
                    look_at(&mut client, &mut person).await;
                    try_out(&mut client, &mut person, &mut dice).await;
                    seen.0.push(person);
                }
                while let Some(mut letter) = pop(&letters) {
                    letter.see(&client.get_message(&letter.id).await.unwrap().expect("an accepted message is there"));
                    seen.1.push(letter);
                }
                seen
            });
        }
        for (people, letters) in looking.join_all().await {
            self.people.extend(people);
            self.letters.extend(letters);
        }
    }

    /// Looks at when this gateway sent what: nothing after its expiry, and no message that an earlier one had begun.
    async fn read_inbox(&mut self, process: &Process) {
        let clients = Client::connect(process, 1, &Progress::until(0)).await;
        let entries = self.people.iter().flat_map(|person| &person.verifications);
        let verifications: HashMap<_, _> = entries.map(|entry| (entry.id.as_str(), entry.expires_at)).collect();
        let letters: HashMap<_, _> = self.letters.iter().map(|letter| (letter.id.as_str(), letter)).collect();
        for message in clients[0].read_inbox("").await.unwrap() {
            let id = message["id"].as_str().unwrap().parse::<AttemptRef>().unwrap().send.id.to_string();
            let sent_at: jiff::Timestamp = message["sent_at"].as_str().unwrap().parse().unwrap();
            let sent_at = Timestamp::from_millis(sent_at.as_millisecond().try_into().unwrap());
            if let Some(expires_at) = verifications.get(id.as_str()) {
                assert!(sent_at < *expires_at, "{id} expired at {expires_at} and was sent at {sent_at}");
            }
            if let Some(letter) = letters.get(id.as_str()) {
                assert!(sent_at < letter.expires_at, "{id} expired at {} and was sent at {sent_at}", letter.expires_at);
                assert!(!letter.begun, "{id} was begun by an earlier gateway and sent at {sent_at} by this one");
            }
        }
    }
}

/// Every verification is as far as its person was told.
async fn look_at(client: &mut Client, person: &mut Person) {
    for at in 0..person.verifications.len() {
        let asked_at = SystemClock.now();
        let shown = client.get(&person.verifications[at].id).await.unwrap().expect("a started verification is there");
        person.see(at, &shown, asked_at, SystemClock.now());
    }
}

/// What is shown is also what holds: ended codes and locked recipients are refused, pending codes are approved once.
async fn try_out(client: &mut Client, person: &mut Person, dice: &mut Dice) {
    let locked = person.is_locked();
    if let Some(code) = person.open_start.take() {
        try_open_start(client, person, &code).await;
    } else if locked {
        assert_eq!(client.start_again(&person.phone).await.unwrap().unwrap_err(), "RECIPIENT_LOCKED", "{person:?}");
    } else if person.cools_down(SystemClock.now()) {
        assert_eq!(client.start_again(&person.phone).await.unwrap().unwrap_err(), "COOL_DOWN", "{person:?}");
        let last = person.verifications.last().unwrap();
        assert_eq!(client.resend_again(&last.id).await.unwrap().unwrap_err(), "COOL_DOWN", "{person:?}");
    }
    for entry in &mut person.verifications {
        let Some(code) = entry.code.clone() else { continue };
        let after_end = if locked { Some(CheckOutcome::RecipientLocked) } else { entry.outcome_after_end() };
        if let Some(outcome) = after_end {
            let checked = client.check(&entry.id, &code).await.unwrap().unwrap();
            assert_eq!(checked.outcome(), outcome, "{entry:?}");
        } else if dice.below(2) == 0 && SystemClock.now() + MARGIN < entry.expires_at {
            client.check_right_at_once(entry).await.unwrap();
        }
    }
}

/// A start that was cut off has happened wholly or not at all.
async fn try_open_start(client: &mut Client, person: &mut Person, code: &str) {
    let replaced = person.verifications.last().map(|old| old.ended == Some(VerificationStatus::Canceled));
    if replaced == Some(false) {
        // The old one would be checked.
        return;
    }
    match client.check_newest(&person.phone, code).await.unwrap() {
        Ok(checked) => {
            assert_eq!(checked.outcome(), CheckOutcome::Approved, "{person:?}");
            let again = client.check_newest(&person.phone, code).await.unwrap().unwrap();
            assert_eq!(again.outcome(), CheckOutcome::AlreadyApproved, "{person:?}");
            let started = Entry::new(&again.verification.unwrap(), Some(code.to_owned()), DEFAULT_CHECKS);
            person.verifications.push(started);
        }
        Err(reason) => {
            assert_eq!((reason.as_str(), replaced), ("VERIFICATION_NOT_FOUND", None), "{person:?}");
        }
    }
}

fn pop<T>(shared: &Mutex<Vec<T>>) -> Option<T> {
    shared.lock().unwrap().pop()
}

fn take_one<T>(all: &mut Vec<T>, dice: &mut Dice) -> Option<T> {
    let len = u32::try_from(all.len()).unwrap();
    (len > 0).then(|| all.swap_remove(usize::try_from(dice.below(len)).unwrap()))
}

/// A number given by an environment variable.
pub(crate) fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}
