//! What is read of a store that changes meanwhile is the store at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use verigate::clock::{ManualClock, Timestamp};
use verigate::id::Partition;
use verigate::store::sled::{Config, SledStore};
use verigate::store::{Batch, Key, Store, WholeStore, Write};

const PARTITION: Partition = Partition::new(1);

/// More than one turn of the reading.
const KEYS: u32 = 3_000;

fn key(number: u32) -> Key {
    Key::new(PARTITION, format!("k{number:08}").into_bytes())
}

/// What the store holds, by key.
type Model = BTreeMap<u32, u32>;

async fn change(store: &SledStore, model: &mut Model, number: u32, value: Option<u32>) {
    let batch = Batch::new(PARTITION);
    let batch = match value {
        Some(value) => batch.put(key(number), value.to_be_bytes().to_vec(), None),
        None => batch.delete(key(number)),
    };
    store.commit(batch).await.unwrap();
    match value {
        Some(value) => model.insert(number, value),
        None => model.remove(&number),
    };
}

#[tokio::test]
async fn what_changes_while_a_store_is_read_is_read_again() {
    let place = tempfile::TempDir::new().unwrap();
    let config = Config { path: place.path().join("data"), ..Config::default() };
    let clock = ManualClock::new(Timestamp::from_millis(1_800_000_000_000));
    let store = SledStore::open(&config, Arc::new(clock)).unwrap();
    let mut model = Model::new();
    for number in 0..KEYS {
        change(&store, &mut model, number, Some(0)).await;
    }
    let mut snapshot = store.snapshot().await.unwrap();
    let (mut copy, mut at_last, mut turn) = (BTreeMap::new(), Model::new(), 0);
    while let Some(part) = snapshot.next().await.unwrap() {
        for (key, write) in part.entries {
            match write {
                Write::Put { value, .. } => copy.insert(key.bytes().to_vec(), value),
                Write::Delete => copy.remove(key.bytes()),
            };
        }
        // The reading is of the moment of its last part.
        at_last.clone_from(&model);
        // What was walked already and what was not is changed, deleted, and made anew.
        turn += 1;
        change(&store, &mut model, turn * 7, Some(turn)).await;
        change(&store, &mut model, turn * 11, None).await;
        change(&store, &mut model, KEYS - turn * 13, (turn % 2 == 0).then_some(turn)).await;
        change(&store, &mut model, KEYS + turn, Some(turn)).await;
    }
    assert!(turn > 20, "{turn}");
    let at_last: BTreeMap<_, _> = at_last
        .into_iter()
        .map(|(number, value)| (key(number).bytes().to_vec(), value.to_be_bytes().to_vec()))
        .collect();
    assert_eq!(copy, at_last);
}
