//! Simulated days of honest people and of five attacks, before the real guard on a clock that is moved by hand.

pub(crate) mod attacks;
mod countries;
mod dice;
mod people;
mod stage;
pub(crate) mod tally;

use verigate::guard::settings::Config;
use verigate::verification::policy::Limits;

use self::stage::Stage;
use self::tally::Tally;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) days: u64,
    /// Drips go to prefixes of a million numbers, and not to blocks of ten thousand.
    pub(crate) wide_drip: bool,
}

/// What comes of it, with the rules of a configuration.
pub(crate) async fn run(guard: &Config, limits: Limits, plan: Plan) -> Tally {
    Stage::new(guard, limits, plan).await.play().await
}
