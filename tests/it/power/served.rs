//! The whole program on a disk that is full or fails: what callers are told before, meanwhile and after.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use verigate::proto::verification::v1::{CheckOutcome, VerificationStatus};

use crate::power::record::recorder;
use crate::support::gateway::eventually;
use crate::support::http;
use crate::support::load::{Client, Dice, Met, Progress, SETTINGS};
use crate::support::process::Process;

/// A place for the program, and a disk that does what a test says.
struct Ground {
    place: TempDir,
    faults: PathBuf,
    dice: Dice,
    numbers: u32,
    met: Vec<Met>,
}

// === impl Ground ===

impl Ground {
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        let faults = place.path().join("faults");
        Self { place, faults, dice: Dice::new(1), numbers: 0, met: Vec::new() }
    }

    async fn start(&self) -> (Process, Client) {
        let data = self.place.path().canonicalize().unwrap().join("verigate-data");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (library, data, faults) = (text(recorder()), text(&data), text(&self.faults));
        let preload = [
            ("LD_PRELOAD", &*library),
            ("RECORDER_FOLDER", &*data),
            ("RECORDER_FAULTS", &*faults),
            ("VERIGATE__STORE__JOURNAL_BYTES", "1048576"),
            ("VERIGATE__SERVER__DRAIN_DEADLINE", "2s"),
        ];
        let process = Process::start(self.place.path(), &[SETTINGS, &preload].concat()).await;
        let client = Client::connect(&process, 1, &Progress::until(0)).await.remove(0);
        (process, client)
    }

    fn set(&self, fault: &str) {
        fs::write(&self.faults, fault).unwrap();
    }

    /// Meets people until one of their calls is not answered; says whether that came.
    async fn meet(&mut self, client: &mut Client, most: u32) -> bool {
        for _ in 0..most {
            self.numbers += 1;
            let mut met = Met::new(&format!("+6012{}0", 200_000 + self.numbers));
            // Every second one keeps the code.
            let met_whole = client.meet_once(&mut met, self.numbers.is_multiple_of(2), &mut self.dice).await;
            self.met.push(met);
            if !met_whole {
                return true;
            }
        }
        false
    }

    /// Everybody finds what they were told; nobody is approved who was not.
    async fn look(&self, client: &mut Client) {
        for met in self.met.iter().filter(|met| !met.id.is_empty()) {
            let status = client.get(&met.id).await.unwrap().unwrap().status();
            let expected = if met.approved { VerificationStatus::Approved } else { VerificationStatus::Pending };
            assert!(status == expected || met.in_doubt, "{met:?} {status:?}");
        }
    }

    /// Those who kept their codes may use them.
    async fn use_codes(&self, client: &mut Client) {
        for met in self.met.iter().filter(|met| !met.id.is_empty() && !met.approved && !met.in_doubt) {
            assert_eq!(client.check(&met.id, &met.code).await.unwrap().unwrap().outcome(), CheckOutcome::Approved);
        }
    }
}

async fn health(process: &Process) -> ServingStatus {
    let channel = Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap().into_inner().status()
}

async fn is_ready(process: &Process) -> bool {
    http::get(process.admin, "/readyz", &["Host: localhost"]).await.status == 200
}

async fn until_health_is(process: &Process, wanted: ServingStatus) {
    eventually(async || (health(process).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_on_a_full_disk_refuses_and_comes_back_by_itself() {
    let mut ground = Ground::new();
    let (process, mut client) = ground.start().await;
    assert!(!ground.meet(&mut client, 20).await && is_ready(&process).await);
    for _ in 0..2 {
        ground.set("full");
        assert!(ground.meet(&mut client, 5_000).await, "the disk is full");
        until_health_is(&process, ServingStatus::NotServing).await;
        assert!(!is_ready(&process).await);
        ground.set("");
        until_health_is(&process, ServingStatus::Serving).await;
        assert!(is_ready(&process).await);
        ground.look(&mut client).await;
        assert!(!ground.meet(&mut client, 20).await);
    }
    process.kill();
    let (process, mut client) = ground.start().await;
    ground.look(&mut client).await;
    ground.use_codes(&mut client).await;
    process.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_disk_fails_refuses_until_it_is_started_again() {
    let mut ground = Ground::new();
    let (process, mut client) = ground.start().await;
    assert!(!ground.meet(&mut client, 20).await);
    ground.set("no-sync");
    assert!(ground.meet(&mut client, 1).await, "the disk fails");
    ground.set("");
    until_health_is(&process, ServingStatus::NotServing).await;
    assert!(ground.meet(&mut client, 1).await, "one that has lost a sync does not come back");
    ground.look(&mut client).await;
    process.kill();
    let (process, mut client) = ground.start().await;
    ground.look(&mut client).await;
    ground.use_codes(&mut client).await;
    assert!(!ground.meet(&mut client, 20).await);
    process.kill();
}
