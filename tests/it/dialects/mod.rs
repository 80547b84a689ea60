//! Each dialect against its fixtures: one file a case, all run by one runner. Adding a case is adding a file to the
//! dialect's folder; `fixture.rs` says what may stand in one.

mod beside;
mod clients;
mod fixture;
mod octopush;
mod pattern;
mod reports;
mod runner;
mod simpu;

#[tokio::test]
async fn esms() {
    runner::run("esms", 40).await;
}

#[tokio::test]
async fn hasun() {
    runner::run("hasun", 40).await;
}

#[tokio::test]
async fn octopush() {
    runner::run("octopush", 40).await;
}

#[tokio::test]
async fn simpu() {
    runner::run("simpu", 40).await;
}
