//! What is left when the power goes: a store works under a recorder of all that it does to its files, and then is opened
//! on the disk as it may be after a cut at any moment of that. `tests/power-loss` runs many cuts; a few fixed ones are
//! always run.
//!
//! `POWER_SEEDS` sets the number of cuts, `POWER_SEED` the first; how the callers of a store mingle is up to the machine.

pub(crate) mod disk;
mod full;
pub(crate) mod life;
pub(crate) mod record;
mod served;
pub(crate) mod work;

use std::collections::BTreeMap;

use crate::power::disk::FileSystem;
use crate::power::life::{Life, Stage, Wreck};
use crate::power::work::Told;
use crate::support::load::Dice;

/// Cuts in the usual test run.
const SEEDS: u64 = 18;

/// Cuts of one recorded life.
const CUTS: u64 = 6;

/// How many cuts fell where.
type Falls = BTreeMap<(Stage, bool), u64>;

/// What the child of these tests does; nothing when it is run as a test of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    if let Some(place) = work::place() {
        work::work(&place).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_loss_of_power() {
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().expect("a number"));
    let (first, seeds) = (number("POWER_SEED").unwrap_or(0), number("POWER_SEEDS").unwrap_or(SEEDS));
    let mut falls = Falls::new();
    let mut seed = first;
    while seed < first + seeds {
        let number = seed / CUTS;
        let life = live(number).await;
        life.assert_complete();
        let acts = life.acts();
        while seed / CUTS == number && seed < first + seeds {
            let system = [FileSystem::Journaled, FileSystem::Harsh][usize::from((seed + number) % 2 == 1)];
            let wanted = usize::try_from(seed).unwrap() % Stage::ALL.len();
            let mut dice = Dice::new(seed);
            // The files of a store are made only once.
            let stages = Stage::ALL.iter().cycle().skip(wanted).take(Stage::ALL.len());
            let cut = stages.copied().find_map(|stage| Some((stage, life.cut(&acts, stage, system, &mut dice)?)));
            let (stage, wreck) = cut.expect("the store did something");
            judge(seed, (stage, system), wreck).await;
            *falls.entry((stage, system == FileSystem::Harsh)).or_default() += 1;
            seed += 1;
            println!("{} of {seeds}: seed {}, {stage:?}, {system:?}: nothing lost", seed - first, seed - 1);
        }
    }
    for stage in Stage::ALL {
        let of = |harsh| falls.get(&(stage, harsh)).copied().unwrap_or_default();
        println!("{stage:?}: {} journaled, {} harsh", of(false), of(true));
    }
    println!("{seeds} cuts, nothing lost, every store opened");
}

/// Stops at a store that lost something, and leaves its files.
async fn judge(seed: u64, cut: (Stage, FileSystem), Wreck { place, told }: Wreck) {
    if let Err(fault) = work::check(place.path(), &told).await {
        let files = place.keep();
        panic!("seed {seed}, {cut:?}: {fault}\n{told:?}\nthe files lie in {}", files.display());
    }
}

/// A life of each kind in turn: the first of a store, one after a loss of power, and one after a process was killed.
async fn live(number: u64) -> Life {
    match number % 3 {
        0 => Life::live(Life::first(), None, None),
        1 => Life::live(lost_before(number).await, None, None),
        _ => {
            let bytes = u64::from(Dice::new(number).below(4 << 20));
            Life::live(Life::first(), None, Some(bytes))
        }
    }
}

/// A store that lost its power in its first life, and was opened since.
async fn lost_before(number: u64) -> Wreck {
    let mut dice = Dice::new(number);
    let life = Life::live(Life::first(), None, None);
    let stage = [Stage::Settling, Stage::TakingOver, Stage::ChangeOver][dice.below(3) as usize];
    let Wreck { place, told } = life.cut(&life.acts(), stage, FileSystem::Journaled, &mut dice).unwrap();
    work::check(place.path(), &told).await.unwrap();
    let told = Told::after_check(place.path()).await;
    Wreck { place, told }
}

/// The recorder and the disk see what is lost: without its syncs the journal keeps nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_not_synced_loses_what_was_acknowledged() {
    let life = Life::live(Life::first(), Some("/journal."), None);
    let acts = life.acts();
    let mut lost = 0;
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let Wreck { place, told } = life.cut(&acts, Stage::Journal, FileSystem::Journaled, &mut dice).unwrap();
        lost += u32::from(work::check(place.path(), &told).await.is_err());
    }
    assert!(lost >= 4, "only {lost} of 8 lost anything");
}
