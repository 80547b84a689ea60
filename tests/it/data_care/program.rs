//! The program's commands for backups, beside a running program and without one.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Endpoint;
use verigate::clock::SystemClock;
use verigate::id::Partition;
use verigate::proto::admin::v1::RewriteStoreRequest;
use verigate::proto::admin::v1::admin_service_client::AdminServiceClient;
use verigate::proto::verification::v1::GetVerificationRequest;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::random::OsRandom;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{self, SledStore};
use verigate::store::{Batch, Key, Store};

use crate::support::gateway::{Credentials, start};
use crate::support::process::{KEY, Process};

const STOP: Duration = Duration::from_secs(20);

fn command(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verigate"));
    command.args(arguments).current_dir(place).env_clear().stdin(Stdio::null());
    command.env("VERIGATE_ADDRESS", format!("unix:{}", place.join("grpc").display()));
    command
}

async fn run(place: &Path, arguments: &[&str]) -> Output {
    let mut command = command(place, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A store of the dev profile with some megabytes in it.
async fn fill(place: &Path, records: u32) {
    let data = place.join("verigate-data");
    let ring = KeyRing::load_or_create(&data.join("key"), &OsRandom).unwrap();
    let config = sled::Config { path: data, ..sled::Config::default() };
    let sled = Arc::new(SledStore::open(&config, Arc::new(SystemClock)).unwrap());
    let store = SealedStore::new(Arc::clone(&sled) as Arc<dyn Store>, ring, Arc::new(OsRandom));
    for batch in 0..records / 100 {
        let partition = Partition::new((batch % 256) as u8);
        let mut writes = Batch::new(partition);
        for number in 0..100 {
            let key = Key::new(partition, format!("z{batch:05}{number:03}").into_bytes());
            writes = writes.put(key, vec![b'x'; 2_000], None);
        }
        store.commit(writes).await.unwrap();
    }
    sled.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_taken_checked_restored_and_served() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fill(place, 2_000).await;
    let process = Process::start(place, &[]).await;
    let started = run(place, &["verify", "start", "+60123456789", "--json"]).await;
    assert_eq!(code(&started), 0, "{}", text(&started.stderr));
    let started: Value = serde_json::from_slice(&started.stdout).unwrap();
    let id = started["verification"]["id"].as_str().unwrap().to_owned();
    let made = run(place, &["backup", "--to", "one.backup", "--json"]).await;
    assert_eq!((code(&made), text(&made.stderr).as_str()), (0, ""));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["records"].as_u64().unwrap() > 2_000, "{made}");
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(place.join("one.backup")).unwrap().permissions().mode()
    };
    assert_eq!(mode & 0o777, 0o600);
    let again = run(place, &["backup", "--to", "one.backup"]).await;
    assert_eq!((code(&again), text(&again.stderr).contains("is there already")), (73, true));
    let stranger = {
        let mut command = command(place, &["backup", "--to", "two.backup"]);
        command.env("VERIGATE_KEY", "nobody.nothing");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    assert_eq!(code(&stranger), 77);
    assert!(!place.join("two.backup").exists() && !place.join("two.backup.part").exists());
    let rewritten = run(place, &["rewrite-store", "--json"]).await;
    assert_eq!(code(&rewritten), 0, "{}", text(&rewritten.stderr));
    let used = run(place, &["verify-store", "verigate-data", "--key-file", "verigate-data/key"]).await;
    assert_eq!((code(&used), text(&used.stderr).contains("another verigate is using")), (74, true));
    process.ask_to_stop();
    process.ended(STOP).await;

    for what in ["one.backup", "verigate-data"] {
        let checked = run(place, &["verify-store", what, "--key-file", "verigate-data/key", "--json"]).await;
        assert_eq!(code(&checked), 0, "{}", text(&checked.stderr));
        let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!((&checked["kinds"]["verifications"], &checked["bad"]), (&1.into(), &0.into()), "{checked}");
    }
    std::fs::create_dir(place.join("new")).unwrap();
    std::fs::copy(place.join("verigate-data/key"), place.join("new/key")).unwrap();
    let restored =
        run(place, &["restore", "--from", "one.backup", "--data", "new/data/", "--key-file", "new/key"]).await;
    assert_eq!(code(&restored), 0, "{}", text(&restored.stderr));
    assert!(text(&restored.stdout).starts_with("Restored new/data/ with"), "{}", text(&restored.stdout));
    let settings = [("VERIGATE__STORE__PATH", "new/data"), ("VERIGATE__STORE__KEY_FILE", "new/key")];
    let process = Process::start(place, &settings).await;
    let got = run(place, &["verify", "get", &id]).await;
    assert_eq!(code(&got), 0, "{}", text(&got.stderr));
    assert!(text(&got.stdout).contains("pending"));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_leaves_no_file_that_could_be_taken_for_one() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fill(place, 20_000).await;
    let process = Process::start(place, &[]).await;
    let (file, part) = (place.join("one.backup"), place.join("one.backup.part"));
    let mut child = command(place, &["backup", "--to", "one.backup"]).stderr(Stdio::null()).spawn().unwrap();
    while std::fs::metadata(&part).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it was too fast to be killed");
        tokio::task::yield_now().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!file.exists() && part.exists());
    let checked = run(place, &["verify-store", "one.backup.part", "--key-file", "verigate-data/key"]).await;
    assert_eq!(code(&checked), 1);
    assert!(text(&checked.stderr).contains("cut off"), "{}", text(&checked.stderr));
    // The next one is not kept from it.
    let made = run(place, &["backup", "--to", "one.backup"]).await;
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    assert!(file.exists() && !part.exists());
    drop(process);
}

#[tokio::test]
async fn what_cannot_be_restored_says_why_with_a_code_of_its_own() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fill(place, 100).await;
    std::fs::write(place.join("foreign"), "not one of ours, and long enough to be looked at").unwrap();
    let restore = ["restore", "--from", "foreign", "--data", "new", "--key-file", "verigate-data/key"];
    let refused = run(place, &restore).await;
    assert_eq!(code(&refused), 65);
    assert_eq!(text(&refused.stderr), "verigate: foreign: it is no backup of verigate\n");
    assert!(!place.join("new").exists());
    let refused =
        run(place, &["restore", "--from", "nothing", "--data", "new", "--key-file", "verigate-data/key"]).await;
    assert_eq!(code(&refused), 74);
    let refused =
        run(place, &["restore", "--from", "foreign", "--data", "verigate-data", "--key-file", "verigate-data/key"])
            .await;
    assert_eq!((code(&refused), text(&refused.stderr).contains("is not empty")), (73, true));
    let refused = run(place, &["verify-store", "foreign", "--key-file", "verigate-data/key"]).await;
    assert_eq!(code(&refused), 1);
    // A record that was changed is found.
    let ring = format!("1:{}\n", "B".repeat(42) + "A=");
    std::fs::write(place.join("other.key"), ring).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(place.join("other.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = run(place, &["verify-store", "verigate-data", "--key-file", "other.key"]).await;
    assert_eq!((code(&refused), text(&refused.stderr).contains("100 records are bad")), (1, true), "{refused:?}");
}

/// Has a store rewritten without a pause until its program is gone.
async fn rewrite_on_and_on(channel: tonic::transport::Channel) -> u32 {
    let mut admin = AdminServiceClient::with_interceptor(channel, Credentials::new(KEY));
    let mut done = 0;
    loop {
        let Ok(answers) = admin.rewrite_store(RewriteStoreRequest {}).await else { return done };
        let mut answers = answers.into_inner();
        while let Ok(Some(answer)) = answers.message().await {
            done += u32::from(answer.done);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_a_rewrite_is_killed() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fill(place, 3_000).await;
    let (mut told, mut rewrites, mut number) = (Vec::new(), 0, 0);
    for round in 0..12 {
        let process = Process::start(place, &[]).await;
        let connect = async || Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
        let rewriting = tokio::spawn(rewrite_on_and_on(connect().await));
        let mut client = VerificationServiceClient::with_interceptor(connect().await, Credentials::new(KEY));
        for id in told.iter().rev().take(300) {
            client.get_verification(GetVerificationRequest { id: String::clone(id) }).await.unwrap();
        }
        // Killed at another place in each round.
        for _ in 0..20 + 13 * round {
            number += 1;
            let request = start(&format!("+6011{:08}", 10_000_000 + 10 * number));
            let started = client.start_verification(request).await.unwrap().into_inner();
            told.push(started.verification.unwrap().id);
        }
        process.kill();
        rewrites += rewriting.await.unwrap();
    }
    assert!(rewrites > 3, "{rewrites} rewrites came to their end");
    let checked = run(place, &["verify-store", "verigate-data", "--key-file", "verigate-data/key", "--json"]).await;
    assert_eq!(code(&checked), 0, "{}", text(&checked.stderr));
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["kinds"]["verifications"], told.len(), "{checked}");
}
