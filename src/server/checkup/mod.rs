//! A check-up of a machine and a configuration before a server runs with them, or while one does: what would be in its
//! way, and what will be one day.
//!
//! It sends no message, changes no setting and prints no secret. Each check says what it found by itself; none ends the
//! others.

mod certificates;
mod files;
pub mod finding;
mod keys;
mod listeners;
mod machine;
mod store;
mod validity;
mod vendors;

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Loaded;
use crate::config::settings::StoreKind;
use crate::random::Random;
use crate::server::checkup::finding::Finding;
use crate::server::vendors as wiring;
use crate::store::sled;

/// Runs every check in order, and tells what each finds as soon as it has. `loaded` has passed [`crate::server::check`].
/// Must be called within a Tokio runtime.
pub async fn run(loaded: &Loaded, clock: Arc<dyn Clock>, random: Arc<dyn Random>, mut tell: impl FnMut(Finding)) {
    let config = &loaded.config;
    files::check(loaded).into_iter().for_each(&mut tell);
    let is_embedded = config.store.kind == StoreKind::Sled;
    let is_running = is_embedded && sled::is_in_use(&config.store.path);
    listeners::check(&config.server, is_running).await.into_iter().for_each(&mut tell);
    certificates::check(&config.server.tls, clock.now()).into_iter().for_each(&mut tell);
    keys::check(&config.tenants, clock.now()).into_iter().for_each(&mut tell);
    tell(machine::check_open_files(config.server.limits.connections));
    store::check(loaded, is_running, Arc::clone(&clock), random).await.into_iter().for_each(&mut tell);
    if is_embedded {
        machine::check_disk(&config.store.path, &*clock).into_iter().for_each(&mut tell);
    }
    match wiring::build(config, &clock) {
        Ok(built) => {
            let (findings, times) = vendors::check(config.vendors.keys(), &built.vendors, &*clock).await;
            findings.into_iter().for_each(&mut tell);
            tell(machine::check_clock(&times));
        }
        // The configuration has passed its checks, so this is a fault of ours, and is told as one.
        Err(error) => tell(Finding::failed("vendor", "", error.message(), "report this as a fault of verigate")),
    }
}
