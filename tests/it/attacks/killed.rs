//! Attack 7 on every surface: the real program is killed, with no word of warning, right after the last wrong code was
//! answered, and started again on the same store. What was used up is used up, what was locked is locked; and what was
//! neither goes on, so that nobody gains by a kill or loses by it.

use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Endpoint;
use verigate::proto::verification::v1::VerificationStatus;

use crate::attacks::everywhere::{CHECKS, other_code, surfaces};
use crate::attacks::surfaces::{ACME, Begun, Client, Surface, Verdict, number};
use crate::support::http::get;
use crate::support::process::Process;

/// A tenant that may use every surface. Who has used up a code is locked for an hour, which no kill and no start take; and
/// there is no other reason to refuse a start, for who was sent one need not wait for the next.
const SETTINGS: [(&str, &str); 4] = [
    (
        "VERIGATE__TENANTS",
        "[{ name = 'acme', brand = 'Acme', return_code = true, \
         keys = [{ id = 'acme', secret = 'acme-secret-of-some-length' }] }]",
    ),
    ("VERIGATE__REST__HASUN__MASKS", "{ acme = { ACMEMASK = 'ACME' } }"),
    ("VERIGATE__VERIFICATION__LIMITS__FAILURES", "5"),
    ("VERIGATE__VERIFICATION__LIMITS__COOL_DOWNS", "['1ms']"),
];

/// Wrong codes before the kill, of whom some are left.
const SOME: i32 = 3;

/// What was begun on a surface before the kill, each with its code.
struct Before {
    surface: Surface,
    used_up: (Begun, String),
    half_used: (Begun, String),
    keyed: (Begun, String),
}

async fn client(process: &Process, surface: Surface) -> Client {
    let channel = Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
    Client::on(channel, process.http, surface, ACME)
}

/// What the inbox took for a number since the process began.
async fn inbox(process: &Process, phone: &str) -> Vec<Value> {
    let target = format!("/inbox/messages?recipient={}", phone.replace('+', "%2B"));
    let answer = get(process.admin, &target, &[&format!("Host: {}", process.admin)]).await;
    serde_json::from_str(&answer.body).unwrap()
}

/// Starts, and gives this many wrong codes, each of which counts.
async fn begin(process: &Process, client: &Client, phone: &str, wrong: i32, key: Option<&str>) -> (Begun, String) {
    let begun = client.start(phone, key).await.unwrap();
    let text = inbox(process, phone).await[0]["text"].as_str().unwrap().to_owned();
    let code = text.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).unwrap().to_owned();
    for turn in 0..wrong {
        let verdict = client.check(&begun, &other_code(&code, turn as usize)).await;
        assert!(matches!(verdict, Verdict::Wrong | Verdict::Over), "{:?}: {verdict:?}", client.surface);
    }
    (begun, code)
}

async fn begin_all(process: &Process) -> Vec<Before> {
    let mut all = Vec::new();
    for (turn, surface) in surfaces([7]).enumerate() {
        let client = client(process, surface).await;
        let key = format!("{surface:?}");
        let keyed = begin(process, &client, &number(3 * turn), 0, Some(&key)).await;
        let half_used = begin(process, &client, &number(3 * turn + 1), SOME, None).await;
        all.push((client, keyed, half_used, number(3 * turn + 2)));
    }
    let mut before = Vec::new();
    for (client, keyed, half_used, phone) in all {
        let used_up = begin(process, &client, &phone, CHECKS, None).await;
        before.push(Before { surface: client.surface, used_up, half_used, keyed });
    }
    before
}

/// Neither the code that was used up, nor another one for the same person.
async fn assert_locked(client: &Client, (begun, code): &(Begun, String)) {
    let surface = client.surface;
    for candidate in [code, &other_code(code, 99), code] {
        let verdict = client.check(begun, candidate).await;
        assert!(matches!(verdict, Verdict::Over | Verdict::Wrong), "{surface:?} after the kill: {verdict:?}");
    }
    let verification = client.newest(&begun.phone).await.unwrap();
    assert_eq!(verification.status(), VerificationStatus::ChecksExhausted, "{surface:?}");
    assert_eq!((verification.checks_used, verification.checks_left), (CHECKS, 0), "{surface:?}");
    for other in Surface::ALL {
        let started = client.at(other).start(&begun.phone, None).await;
        assert!(started.is_err(), "{other:?} starts what was locked over {surface:?} before the kill: {started:?}");
    }
}

/// What was left is left, and no more.
async fn assert_counted_on(client: &Client, (begun, code): &(Begun, String)) {
    let surface = client.surface;
    for turn in 0..CHECKS {
        assert!(client.check(begun, &other_code(code, 50 + turn as usize)).await != Verdict::Right);
        let used = client.newest(&begun.phone).await.unwrap().checks_used;
        assert_eq!(used, CHECKS.min(SOME + turn + 1), "{surface:?}");
    }
    assert!(client.check(begun, code).await != Verdict::Right, "{surface:?}");
}

/// The same start is answered as before without sending anything, and its code is good. So is another start.
async fn assert_goes_on(process: &Process, client: &Client, (begun, code): &(Begun, String)) {
    let surface = client.surface;
    let again = client.start(&begun.phone, Some(&format!("{surface:?}"))).await;
    assert_eq!(again.as_ref(), Ok(begun), "{surface:?}");
    assert!(inbox(process, &begun.phone).await.is_empty(), "{surface:?}");
    assert_eq!(client.check(begun, code).await, Verdict::Right, "{surface:?}");
    assert!(client.check(begun, code).await != Verdict::Right, "{surface:?}");
    let (next, code) = begin(process, client, &begun.phone, 0, None).await;
    assert_eq!(client.check(&next, &code).await, Verdict::Right, "{surface:?}: nobody has locked this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_gives_no_guesses_back() {
    let place = TempDir::new().unwrap();
    let process = Process::start(place.path(), &SETTINGS).await;
    let before = begin_all(&process).await;
    process.kill();

    let process = Process::start(place.path(), &SETTINGS).await;
    for before in &before {
        let client = client(&process, before.surface).await;
        assert_locked(&client, &before.used_up).await;
        assert_counted_on(&client, &before.half_used).await;
        assert_goes_on(&process, &client, &before.keyed).await;
    }
}
