//! A second process of this test binary that tells receivers how messages ended, to be killed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use verigate::clock::{ManualClock, Timestamp};

use crate::callbacks::{DELIVERED, House, Terms};

const PLACE: &str = "VERIGATE_TEST_CALLBACKS_PLACE";
const URL: &str = "VERIGATE_TEST_CALLBACKS_URL";
const NOW: &str = "VERIGATE_TEST_CALLBACKS_NOW";

/// Starts one on the store in `place`, whose clock stands at `now`. With a URL, it sends a message with a callback there.
pub(crate) fn start(place: &Path, url: Option<&str>, now: Timestamp) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["callbacks::child::work", "--exact", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .env(NOW, now.as_millis().to_string())
        // Ends with us, should we end before it is killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(url) = url {
        command.env(URL, url);
    }
    command.spawn().unwrap()
}

/// What the child does; nothing when it is run as a test of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let now = Timestamp::from_millis(std::env::var(NOW).unwrap().parse().unwrap());
    let house = House::at(&place, ManualClock::new(now), Terms::default()).await;
    if let Ok(url) = std::env::var(URL) {
        house.send(DELIVERED, &url).await;
    }
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await.unwrap().unwrap();
}
