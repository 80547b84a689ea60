//! A simulated day of honest people and five attacks, before the guard with the rules as they come: the bar that
//! `benches/replay.rs` measures over a week.

#[expect(dead_code, reason = "the bench tells more of a run")]
#[path = "../../../benches/replay/simulation/mod.rs"]
mod simulation;

use simulation::attacks::Shape;
use simulation::tally::sum;

#[tokio::test]
async fn a_day_of_attacks_is_stopped_and_honest_people_are_served() {
    let config = verigate::config::load(None, std::iter::empty()).unwrap().config;
    let tally = simulation::run(&config.guard, config.verification.limits, 1, 1).await;
    assert!(tally.share_refused() < 0.001, "{:.5} of honest sends: {:?}", tally.share_refused(), tally.refused);
    // A drip has hardly begun after a day, and a spray where honest people live hides among them.
    for shape in [Shape::OnePrefix, Shape::Sequence, Shape::Bombing] {
        let (offered, through) = sum(tally.of_shape(shape));
        assert!(through * 20 <= offered, "{}: {through} of {offered}", shape.as_str());
        let worst = tally.of_shape(shape).map(|prefix| prefix.through).max().unwrap();
        assert!(worst <= 50, "{}: {worst}", shape.as_str());
    }
}
