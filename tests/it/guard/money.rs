//! Budgets: never more than was allowed, whatever is in the way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use verigate::clock::ManualClock;
use verigate::error::{Error, Kind, Reason};
use verigate::guard::ask::{Ask, Origin};
use verigate::guard::ledger::Ledger;
use verigate::guard::rule::Mode;
use verigate::guard::service::Guard;
use verigate::guard::settings::Config;
use verigate::proto::messaging::v1::SendMessageRequest;

use verigate::random::OsRandom;
use verigate::recipient::Address;
use verigate::server::open_store;
use verigate::store::keys::Keys;
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store};

use crate::guard::{guarded, number, try_number, until_refused, with};
use crate::support::gateway::{Gateway, START, reason, retry_after, start, text_to};

const HOUR: Duration = Duration::from_secs(3600);

const PRICE: &str = "[[guard.prices]]\nprice = 0.05";

#[tokio::test]
async fn a_day_has_as_much_as_was_allowed_and_the_next_day_has_it_again() {
    let rules = format!("{PRICE}\n[[guard.budgets]]\nday = 0.5");
    let gateway = guarded(&rules).await;
    let mut client = gateway.verifications().await;
    for place in 0..4 {
        try_number(&mut client, &number(place)).await.unwrap();
    }
    // A restart neither forgets nor loses any of it.
    let gateway = gateway.restart_with(&with(&rules)).await;
    let mut client = gateway.verifications().await;
    let (passed, status) = until_refused(&mut client, (10..30).map(|place| start(&number(place)))).await;
    assert_eq!((passed, reason(&status).as_str()), (6, "BUDGET_SPENT"));
    let until_midnight = retry_after(&status).unwrap();
    assert!(until_midnight > Duration::ZERO && until_midnight <= 24 * HOUR);
    gateway.clock.advance(until_midnight);
    let (passed, _) = until_refused(&mut client, (40..90).map(|place| start(&number(place)))).await;
    assert_eq!(passed, 10);
}

/// Two processes at once, of which one dies: what it had taken out counts as spent, and nothing is spent twice.
#[tokio::test]
async fn what_a_process_took_out_and_did_not_spend_is_lost_with_it_and_no_more() {
    let folder = tempfile::TempDir::new().unwrap();
    let clock = ManualClock::new(START);
    let store = open_store(folder.path(), Arc::new(clock.clone()), Arc::new(OsRandom)).unwrap();
    let keys = Keys::open(&*store, &OsRandom).await.unwrap();
    let ledger = || Ledger::new(Arc::clone(&store), keys.clone());
    let (one, other) = (ledger(), ledger());
    let mut spent = 0;
    for _ in 0..3 {
        assert!(one.spend(7, 10, 10_000, START).await.unwrap() && other.spend(7, 10, 10_000, START).await.unwrap());
        spent += 20;
    }
    drop(one);
    while other.spend(7, 10, 10_000, START).await.unwrap() {
        spent += 10;
    }
    // A hundredth of the day was in the pocket of the one that died, and thirty of it were spent.
    assert_eq!(spent, 10_000 - 70);
    assert!(!ledger().spend(7, 10, 10_000, START).await.unwrap());
    other.refund(7, 40, START).await;
    other.close(START).await.unwrap();
    let last = ledger();
    for _ in 0..4 {
        assert!(last.spend(7, 10, 10_000, START).await.unwrap(), "what was given back is there");
    }
    assert!(!last.spend(7, 10, 10_000, START).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_spend_at_once_no_more_is_spent_than_there_is() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = open_store(folder.path(), Arc::new(ManualClock::new(START)), Arc::new(OsRandom)).unwrap();
    let keys = Keys::open(&*store, &OsRandom).await.unwrap();
    let ledgers = [(); 3].map(|()| Arc::new(Ledger::new(Arc::clone(&store), keys.clone())));
    let spend = |turn: usize| {
        let ledger = Arc::clone(&ledgers[turn % 3]);
        tokio::spawn(async move { ledger.spend(7, 10, 1_000, START).await.unwrap() })
    };
    let spent = join_all((0..256).map(spend)).await;
    assert_eq!(spent.into_iter().filter(|spent| *spent.as_ref().unwrap()).count(), 100);
}

/// When the store cannot say what was spent, nothing is.
#[tokio::test]
async fn without_the_store_nothing_is_spent() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = open_store(folder.path(), Arc::new(ManualClock::new(START)), Arc::new(OsRandom)).unwrap();
    let keys = Keys::open(&*store, &OsRandom).await.unwrap();
    let variables =
        [("VERIGATE__GUARD__PRICES", "[{ price = 0.05 }]"), ("VERIGATE__GUARD__BUDGETS", "[{ day = 5.0 }]")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut rules = verigate::config::load(None, variables.into_iter()).unwrap().config.guard;
    let (tenant, origin) = ("acme".parse().unwrap(), Origin::default());
    let recipient = Address::Phone(number(1)).parse(None).unwrap();
    let vendors = ["inbox".to_owned()];
    let ask = Ask {
        tenant: &tenant,
        recipient: &recipient,
        channel: "sms",
        scope: "",
        origin: &origin,
        vendors: &vendors,
        segments: 1,
    };
    let guard = |rules: &Config| Guard::new(rules, Arc::new(Away), keys.clone(), Arc::new(ManualClock::new(START)));
    let error = guard(&rules).admit(&ask).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    rules.budgets[0].mode = Mode::Monitor;
    guard(&rules).admit(&ask).await.expect("what is only watched stops nothing");
}

/// A store that cannot be reached.
struct Away;

fn away() -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, "away")
}

#[async_trait::async_trait]
impl Store for Away {
    async fn get(&self, _: &Key) -> verigate::error::Result<Option<Record>> {
        Err(away())
    }

    async fn scan(&self, _: &Prefix, _: Option<&Key>, _: usize) -> verigate::error::Result<Vec<(Key, Record)>> {
        Err(away())
    }

    async fn commit(&self, _: Batch) -> verigate::error::Result<Commit> {
        Err(away())
    }

    fn ready(&self) -> verigate::error::Result<()> {
        Err(away())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn every_segment_is_paid_for() {
    let gateway = guarded(&format!("{PRICE}\n[[guard.budgets]]\nday = 0.25")).await;
    let mut client = gateway.messages().await;
    let long = text_to(&number(1), &"long ".repeat(60));
    client.send_message(long.clone()).await.unwrap();
    client.send_message(SendMessageRequest { recipient: text_to(&number(2), "").recipient, ..long }).await.unwrap();
    client.send_message(text_to(&number(3), "short")).await.unwrap();
    let status = client.send_message(text_to(&number(4), "short")).await.unwrap_err();
    assert_eq!(reason(&status), "BUDGET_SPENT");
}

#[tokio::test]
async fn a_split_budget_is_one_for_each_part() {
    let rules = format!("{PRICE}\n[[guard.budgets]]\nper = [\"tenant\", \"country\"]\nday = 0.1");
    let gateway = guarded(&rules).await;
    let mut client = gateway.verifications().await;
    let (passed, _) = until_refused(&mut client, (0..9).map(|place| start(&number(place)))).await;
    assert_eq!(passed, 2);
    let (passed, _) = until_refused(&mut client, (0..9).map(|place| start(&format!("+659123456{place}")))).await;
    assert_eq!(passed, 2, "Singapore has its own");
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    let (passed, _) = until_refused(&mut other, (0..9).map(|place| start(&number(place)))).await;
    assert_eq!(passed, 2, "and so has the other tenant");
}

#[tokio::test]
async fn when_one_vendors_money_is_spent_the_next_vendor_carries_on() {
    let config = with(&format!("{PRICE}\n[[guard.budgets]]\nvendor = \"inbox\"\nday = 0.1"));
    let config = config.replace(
        "[[routes]]\nchannel = \"sms\"\nvendors = [\"inbox\"]",
        "[vendors.second]\nkind = \"inbox\"\n\n[[routes]]\nchannel = \"sms\"\nvendors = [\"inbox\", \"second\"]",
    );
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let mut vendors = Vec::new();
    for place in 0..4 {
        let sends = try_number(&mut client, &number(place)).await.unwrap().verification.unwrap().sends;
        vendors.push(sends[0].vendor.clone());
    }
    assert_eq!(vendors, ["inbox", "inbox", "second", "second"]);
}

#[tokio::test]
async fn a_budget_that_is_only_monitored_refuses_nothing() {
    let gateway = guarded(&format!("{PRICE}\n[[guard.budgets]]\nday = 0.05\nmode = \"monitor\"")).await;
    let mut client = gateway.verifications().await;
    for place in 0..5 {
        try_number(&mut client, &number(place)).await.unwrap();
    }
}
