//! A whole gateway in memory of this process, whose calls over HTTP need no connection. Its random numbers are not: every
//! code of six digits is [`CODE`], so that a code in an answer is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, header};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use verigate::clock::{ManualClock, Timestamp};
use verigate::random::Random;
use verigate::server::{Server, Surroundings};
use verigate::{config, telemetry};

/// Every code that the gateway makes.
pub(crate) const CODE: &str = "739164";

/// Inputs that one gateway takes, so that its store stays small and what it remembers is bounded.
const INPUTS: u32 = 500;

/// Longest time for a call, real time. A call that waits waits by the clock, which stands still.
const PATIENCE: Duration = Duration::from_secs(20);

const DAY: Duration = Duration::from_secs(25 * 3600);

/// As the tests have it, with the tenants of all dialects.
const CONFIG: &str = include_str!("house.toml");

/// The gateway.
pub(crate) struct House {
    runtime: Runtime,
    clock: ManualClock,
    router: Router,
    inputs: u32,
    _place: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: String,
}

/// Numbers that never come twice, but for those that codes are made of.
#[derive(Debug, Default)]
struct Numbered(AtomicU64);

impl House {
    pub(crate) fn new() -> Self {
        let place = TempDir::new().unwrap();
        let folder = place.path().display().to_string();
        let key = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let (file, key_file) = (place.path().join("verigate.toml"), place.path().join("key"));
        std::fs::write(&file, CONFIG.replace("PLACE", &folder)).unwrap();
        std::fs::write(&key_file, key).unwrap();
        std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let clock = ManualClock::new(Timestamp::from_millis(1_795_324_560_125));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let loaded = config::load(Some(&file), std::iter::empty()).unwrap();
        let surroundings = Surroundings {
            clock: Arc::new(clock.clone()),
            random: Arc::new(Numbered::default()),
            metrics: telemetry::start_metrics().unwrap(),
        };
        let router = runtime.block_on(async {
            let server = Server::build(&loaded, surroundings).await.unwrap();
            let router = server.http();
            tokio::spawn(server.run(std::future::pending()));
            router
        });
        Self { runtime, clock, router, inputs: 0, _place: place }
    }

    /// Whether it has seen enough.
    pub(crate) fn is_full(&self) -> bool {
        self.inputs >= INPUTS
    }

    /// Lets everything that limits a recipient be over.
    pub(crate) fn begin(&mut self) {
        self.inputs += 1;
        self.clock.advance(DAY);
    }

    /// Makes a call and reads its answer, but not a stream.
    pub(crate) fn call(&self, request: Request<Body>) -> Answer {
        let answered = async {
            let answer = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
            let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
            let (status, kind) = (answer.status().as_u16(), kind.unwrap_or_default());
            if kind.starts_with("text/event-stream") {
                return Answer { status, kind, body: String::new() };
            }
            let body = axum::body::to_bytes(answer.into_body(), 8 << 20).await.expect("an answer of bounded length");
            Answer { status, kind, body: String::from_utf8(body.to_vec()).expect("an answer in UTF-8") }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, answered).await.expect("a call that ends") })
    }
}

impl Random for Numbered {
    fn fill(&self, bytes: &mut [u8]) {
        // As many as a code of six digits takes, and nothing else does.
        if bytes.len() == 2 * CODE.len() {
            for (byte, digit) in bytes.iter_mut().zip(CODE.bytes().cycle()) {
                *byte = digit - b'0';
            }
            return;
        }
        for part in bytes.chunks_mut(8) {
            let mut number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            part.copy_from_slice(&(number ^ (number >> 31)).to_le_bytes()[..part.len()]);
        }
    }
}
