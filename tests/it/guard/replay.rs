//! Two simulated days of honest people and five attacks, before the guard with the rules as they come: the bar that
//! `benches/replay.rs` measures over a week.

#[expect(dead_code, reason = "the bench tells more of a run")]
#[path = "../../../benches/replay/simulation/mod.rs"]
mod simulation;

use simulation::Plan;
use simulation::attacks::Shape;
use simulation::tally::sum;

#[tokio::test]
async fn two_days_of_attacks_are_stopped_and_honest_people_are_served() {
    let config = verigate::config::load(None, std::iter::empty()).unwrap().config;
    let plan = Plan { seed: 6, days: 2, wide_drip: false };
    let tally = simulation::run(&config.guard, config.verification.limits, plan).await;
    assert!(tally.share_refused() < 0.001, "{:.5} of honest sends: {:?}", tally.share_refused(), tally.refused);
    assert!(tally.share_stopped() > 0.95, "{:.4} of attacks", tally.share_stopped());
    // A spray where honest people live hides among them.
    for shape in [Shape::OnePrefix, Shape::Drip, Shape::Sequence, Shape::Bombing] {
        let (offered, through) = sum(tally.of_shape(shape));
        assert!(through * 12 <= offered, "{}: {through} of {offered}", shape.as_str());
        let worst = tally.of_shape(shape).map(|prefix| prefix.before_stop).max().unwrap();
        assert!(worst <= 50, "{}: {worst}", shape.as_str());
    }
}
