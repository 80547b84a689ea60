//! What nodes know of each other: who lives, who looks after what, and that a duty is never two nodes'.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use verigate::id::Partition;
use verigate::nodes::{LIFE, Nodes, RENEWAL, TRUSTED};
use verigate::random::OsRandom;
use verigate::store::keys::Keys;

use crate::nodes::house::{House, SECOND, State};
use crate::support::gateway::CONFIG;

/// A node that does nothing but live.
struct Node {
    nodes: Nodes,
    line: watch::Sender<State>,
    living: JoinHandle<()>,
}

async fn join(house: &House) -> Node {
    let (line, store) = house.line();
    let keys = Keys::open(&*store, &OsRandom).await.unwrap();
    let nodes = Nodes::new(store, keys, Arc::new(house.clock.clone()), Arc::new(OsRandom));
    let living = tokio::spawn(nodes.clone().keep_up());
    Node { nodes, line, living }
}

/// Those that have a duty, by their places, of those that try to take it.
async fn holders(nodes: &[&Node]) -> Vec<usize> {
    let mut holders = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        if node.nodes.take("paint").await.unwrap_or(false) {
            holders.push(place);
        }
    }
    holders
}

#[tokio::test]
async fn a_duty_is_one_nodes_until_that_stops_or_dies() {
    let house = House::with(CONFIG);
    let (one, other, third) = (join(&house).await, join(&house).await, join(&house).await);
    house.joined(3).await;
    let nodes = [&one, &other, &third];
    let holder = house.pass_until(async || holders(&nodes).await.first().copied()).await;
    house.pass(60 * SECOND).await;
    assert_eq!(holders(&nodes).await, [holder]);
    // It stands still: by the time that another may take its place, it knows that it has no duty.
    nodes[holder].line.send_replace(State::Held);
    house.clock.advance(TRUSTED);
    assert!(!nodes[holder].nodes.has("paint"));
    let rest: Vec<_> = (0..3).filter(|place| *place != holder).map(|place| nodes[place]).collect();
    assert_eq!(holders(&rest).await, [0; 0], "it is not sure yet that it is gone");
    house.pass(LIFE - TRUSTED + 2 * RENEWAL).await;
    let next = house.pass_until(async || holders(&rest).await.first().copied()).await;
    // Back, under another name, it leaves the duty where it is.
    nodes[holder].line.send_replace(State::Open);
    house.pass(10 * SECOND).await;
    assert!(!nodes[holder].nodes.take("paint").await.unwrap());
    assert_eq!(one.nodes.count(), 3);
    // Who stops in order leaves it at once.
    rest[next].living.abort();
    rest[next].nodes.leave().await.unwrap();
    assert!(!rest[next].nodes.has("paint"));
    let left = [nodes[holder], rest[1 - next]];
    house.pass(RENEWAL).await;
    house.pass_until(async || holders(&left).await.first().copied()).await;
    assert_eq!(holders(&left).await.len(), 1);
}

/// A renewal that was begun in time, and reaches the store when the sign of life that it was to prolong has ended.
#[tokio::test]
async fn a_sign_of_life_that_comes_too_late_is_none() {
    let house = House::with(CONFIG);
    let nodes = [join(&house).await, join(&house).await];
    house.joined(2).await;
    let all = [&nodes[0], &nodes[1]];
    let holder = house.pass_until(async || holders(&all).await.first().copied()).await;
    let (late, other) = (&nodes[holder], &nodes[1 - holder]);
    // Up to a moment at which both have just renewed it.
    let before = house.signs().await;
    house.pass_until(async || (house.signs().await != before).then_some(())).await;
    late.line.send_replace(State::Stopped);
    house.pass(6 * SECOND).await;
    late.line.send_replace(State::Cut);
    house.pass(SECOND).await;
    // The next look begins ten seconds after the last renewal, which is still trusted, and is held up for as long again.
    late.line.send_replace(State::Stopped);
    house.pass(LIFE - 7 * SECOND).await;
    assert!(other.nodes.take("paint").await.unwrap());
    late.line.send_replace(State::Open);
    house.pass(SECOND).await;
    assert!(other.nodes.has("paint") && !late.nodes.has("paint"));
    house.pass(2 * RENEWAL).await;
    assert_eq!((other.nodes.count(), holders(&all).await), (2, vec![1 - holder]));
}

#[tokio::test]
async fn partitions_are_shared_out_over_those_that_live() {
    let house = House::with(CONFIG);
    let nodes = [join(&house).await, join(&house).await, join(&house).await];
    house.joined(3).await;
    let shares = |nodes: &[Node]| -> Vec<usize> {
        let share = |node: &Node| Partition::all().filter(|partition| node.nodes.looks_after(*partition)).count();
        nodes.iter().map(share).collect()
    };
    let before = shares(&nodes);
    assert_eq!(before.iter().sum::<usize>(), Partition::COUNT);
    assert!(before.iter().all(|share| *share > 40), "{before:?}");
    nodes[1].line.send_replace(State::Cut);
    house.pass(LIFE + RENEWAL + SECOND).await;
    let after = shares(&nodes);
    assert_eq!((after[1], after.iter().sum::<usize>()), (0, Partition::COUNT), "{after:?}");
    assert!(after[0] >= before[0] && after[2] >= before[2], "{before:?} {after:?}");
}

#[tokio::test]
async fn who_is_alone_has_all_duties_and_pays_nothing() {
    let alone = Nodes::default();
    assert!(alone.take("paint").await.unwrap() && alone.has("paint"));
    assert!(Partition::all().all(|partition| alone.looks_after(partition)));
    assert_eq!((alone.count(), alone.is_shared()), (1, false));
    alone.clone().keep_up().await;
    alone.leave().await.unwrap();
}
