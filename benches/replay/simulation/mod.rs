//! Simulated days of honest people and of five attacks, before the real guard on a clock that is moved by hand.

pub(crate) mod attacks;
mod countries;
mod dice;
mod people;
mod stage;
pub(crate) mod tally;

use verigate::guard::settings::Config;

use self::stage::Stage;
use self::tally::Tally;

/// What comes of so many days, with the rules of a configuration.
pub(crate) async fn run(guard: &Config, limits: verigate::verification::policy::Limits, seed: u64, days: u64) -> Tally {
    Stage::new(guard, limits, seed, days).await.play().await
}
