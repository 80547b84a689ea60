//! The `verigate` command line.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use verigate::clock::SystemClock;
use verigate::random::OsRandom;
use verigate::server::{Server, Surroundings};
use verigate::{config, telemetry};

#[tokio::main]
async fn main() {
    let loaded = config::load(None, config::environment()).unwrap();
    telemetry::start_log(&loaded.config.log).unwrap();
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        metrics: telemetry::start_metrics().unwrap(),
    };
    let server = Server::build(&loaded, surroundings).await.unwrap();
    println!("{:?}", server.addresses());
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    server.run(stop).await.unwrap();
}
