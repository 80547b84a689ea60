//! Plays what people and attackers do, in its order, before the guard and the wait between sends to one recipient.
//!
//! The guard is the real one. Of what stands before it in a start, only the cool-down is here, with its own code; no
//! send fails for any other cause, and each that is let through reaches who it is for within seconds.
#![allow(clippy::expect_used, reason = "a simulation stops at what it cannot do; tests may expect anyway")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use verigate::clock::{Clock, ManualClock, Timestamp};
use verigate::error::Error;
use verigate::guard::area;
use verigate::guard::ask::{Ask, Origin};
use verigate::guard::service::Guard;
use verigate::guard::settings::Config;
use verigate::id::{Id, TenantName};
use verigate::recipient::Recipient;
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::verification::policy::Limits;
use verigate::verification::recipient_state::RecipientState;

use super::Plan;
use super::attacks::{self, Shape};
use super::countries::named;
use super::dice::{Bytes, Dice};
use super::people::{DAY, Person, Town};
use super::tally::Tally;

/// 2026-11-23, a Monday.
const BEGIN: u64 = 1_795_392_000_000;

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// How often a person asks for one code in all.
const MOST_TRIES: u32 = 3;

/// What happens next.
enum Happening {
    /// A person asks for a code, for the how manyth time.
    Asks(Person, u32),
    /// A code comes back.
    Answers(usize, Recipient),
    Attacks(Shape, usize, Recipient, IpAddr),
}

/// Ordered by time, then by when it was planned.
struct Planned {
    at: u64,
    turn: u64,
    what: Happening,
}

pub(crate) struct Stage {
    guard: Guard,
    clock: ManualClock,
    limits: Limits,
    tenants: Vec<TenantName>,
    states: HashMap<(usize, Recipient), RecipientState>,
    plan: BinaryHeap<Reverse<Planned>>,
    turn: u64,
    town: Town,
    dice: Dice,
    days: u64,
    wide_drip: bool,
    tally: Tally,
    _place: TempDir,
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn new(guard: &Config, limits: Limits, plan: Plan) -> Self {
        let Plan { seed, days, wide_drip } = plan;
        let clock = ManualClock::new(Timestamp::from_millis(BEGIN));
        let place = TempDir::new().expect("a folder for temporary files");
        let config = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
        let store = SledStore::open(&config, Arc::new(clock.clone())).expect("an empty store");
        let keys = Keys::open(&store, &Bytes::new(seed)).await.expect("an empty store");
        let store: Arc<dyn Store> = Arc::new(store);
        let tenants: Vec<TenantName> = TENANTS.iter().map(|name| name.parse().expect("a name")).collect();
        let mut stage = Self {
            guard: Guard::new(guard, store, keys, Arc::new(clock.clone())),
            clock,
            limits,
            tenants,
            states: HashMap::new(),
            plan: BinaryHeap::new(),
            turn: 0,
            town: Town::new(seed),
            dice: Dice::new(seed.wrapping_add(1 << 32)),
            days,
            wide_drip,
            tally: Tally::default(),
            _place: place,
        };
        for shot in attacks::all(plan) {
            stage.plan(shot.at, Happening::Attacks(shot.shape, shot.tenant, shot.recipient, shot.address));
        }
        stage
    }

    pub(crate) async fn play(mut self) -> Tally {
        for day in 0..self.days {
            for visit in self.town.day(day) {
                self.plan(visit.at, Happening::Asks(visit.person, 1));
            }
            let end = (day + 1) as f64 * DAY;
            while let Some(Reverse(next)) = self.plan.pop() {
                if next.at as f64 >= end * 1000.0 {
                    self.plan.push(Reverse(next));
                    break;
                }
                self.clock.set(Timestamp::from_millis(BEGIN + next.at));
                self.happens(next.at as f64 / 1000.0, next.what).await;
            }
        }
        self.tally
    }

    async fn happens(&mut self, at: f64, what: Happening) {
        match what {
            Happening::Answers(tenant, recipient) => {
                self.guard.approved(&self.tenants[tenant], &recipient);
                if let Some(state) = self.states.get_mut(&(tenant, recipient)) {
                    state.lift_cool_down(&self.limits);
                }
            }
            Happening::Attacks(shape, tenant, recipient, address) => {
                let refused = match self.cool_down(tenant, &recipient) {
                    Some(_) => Some("cool_down".to_owned()),
                    None => self.ask(tenant, &recipient, address).await.err().map(|error| rule_of(&error)),
                };
                let Recipient::Phone(phone) = &recipient else { return };
                let prefix =
                    if shape == Shape::Drip && !self.wide_drip { area::block(phone) } else { area::prefix(phone) };
                let prefix = prefix.unwrap_or_default().to_owned();
                let country = phone.country().map_or("", |country| named(country.as_str()).name);
                self.tally.count_attack(at, shape, country, prefix, refused);
            }
            Happening::Asks(person, tries) => self.person_asks(at, person, tries).await,
        }
    }

    async fn person_asks(&mut self, at: f64, person: Person, tries: u32) {
        if let Some(wait) = self.cool_down(person.tenant, &person.recipient) {
            self.tally.waited += 1;
            return self.plan(at + wait.as_secs_f64() + 1.0, Happening::Asks(person, tries));
        }
        let asked = self.ask(person.tenant, &person.recipient, person.address).await;
        self.tally
            .count_honest(at, asked.as_ref().err().map(|error| format!("{} in {}", rule_of(error), person.land.name)));
        // Those who ask again have the same chance again; in the end as many codes come back as the country's share.
        let each = 1.0 - (1.0 - person.land.conversion).powf(1.0 / 1.35);
        if asked.is_ok() && self.dice.chance(each) {
            let after = 6.0 + self.dice.log_normal(19.0, 0.75);
            self.plan(at + after, Happening::Answers(person.tenant, person.recipient));
        } else if tries < MOST_TRIES && self.dice.chance(0.45) {
            let after = 35.0 + self.dice.exponential(45.0);
            self.plan(at + after, Happening::Asks(person, tries + 1));
        }
    }

    fn cool_down(&self, tenant: usize, recipient: &Recipient) -> Option<Duration> {
        let now = self.clock.now();
        let until = self.states.get(&(tenant, recipient.clone()))?.cool_down(now)?;
        Some(until.since(now))
    }

    async fn ask(&mut self, tenant: usize, recipient: &Recipient, address: IpAddr) -> Result<(), Error> {
        let origin = Origin { client_address: Some(address), ..Origin::default() };
        let ask = Ask {
            tenant: &self.tenants[tenant],
            recipient,
            channel: "sms",
            scope: "login",
            origin: &origin,
            vendors: &[],
            segments: 1,
        };
        self.guard.admit(&ask).await?;
        self.guard.sent(&self.tenants[tenant], recipient);
        let state = self.states.entry((tenant, recipient.clone())).or_default();
        state.add_send(Id::from_bytes([0; 16]), &self.limits, self.clock.now());
        Ok(())
    }

    fn plan(&mut self, at: f64, what: Happening) {
        self.turn += 1;
        self.plan.push(Reverse(Planned { at: (at * 1000.0) as u64, turn: self.turn, what }));
    }
}

fn rule_of(error: &Error) -> String {
    error
        .details()
        .iter()
        .find(|(key, _)| *key == "rule")
        .map_or_else(|| "none".to_owned(), |(_, rule)| rule.to_string())
}

// === impl Planned ===

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}
