//! A backup that is taken under load, and what is restored from it; and backups that are none.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Code;
use verigate::clock::Clock;
use verigate::error::Kind;
use verigate::proto::admin::v1::BackupStoreRequest;
use verigate::proto::verification::v1::CheckOutcome;
use verigate::random::OsRandom;
use verigate::server::restore;

use crate::data_care::traces::{administered, back_up};
use crate::support::gateway::{
    Gateway, PHONE, by_recipient, cancel, get_verification, judge, reason, start, start_now, text_to,
};

const CALLERS: u32 = 12;
const BEFORE: u32 = 600;

/// What callers were told was written: verifications, canceled ones among them, and messages.
#[derive(Default, Clone)]
struct Told {
    pending: Vec<String>,
    canceled: Vec<String>,
    messages: Vec<String>,
}

/// One that no outcome of the inbox is for.
fn number(turn: u32) -> String {
    format!("+6011{:08}", 10_000_000 + 10 * turn)
}

/// Starts, cancels and sends, until told to stop.
async fn write(gateway: Arc<Gateway>, told: Arc<Mutex<Told>>, turns: Arc<AtomicU32>, stop: Arc<AtomicBool>) {
    let (mut client, mut messages) = (gateway.verifications().await, gateway.messages().await);
    while !stop.load(Ordering::Relaxed) {
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        let phone = number(turn);
        let started = client.start_verification(start(&phone)).await.unwrap().into_inner().verification.unwrap();
        if turn.is_multiple_of(3) {
            cancel(&mut client, &started.id).await.unwrap();
            told.lock().unwrap().canceled.push(started.id);
        } else {
            told.lock().unwrap().pending.push(started.id);
        }
        if turn.is_multiple_of(4) {
            let sent = messages.send_message(text_to(PHONE, "Your table is ready.")).await.unwrap().into_inner();
            told.lock().unwrap().messages.push(sent.message.unwrap().id);
        }
    }
}

/// A folder with the gateway's key in it.
fn place_for(gateway: &Gateway) -> TempDir {
    let place = TempDir::new().unwrap();
    std::fs::copy(gateway.key_file(), place.path().join("key")).unwrap();
    place
}

/// Restores `backup` to `data`, in a folder with a key.
async fn restore_to(place: &Path, backup: &[u8]) -> verigate::error::Result<u64> {
    let file = place.join("backup");
    std::fs::write(&file, backup).unwrap();
    let (data, key) = (place.join("data"), place.join("key"));
    let mut told = 0;
    let restored = restore::restore(&file, &data, &key, Arc::new(OsRandom), &mut |_, _| told += 1).await?;
    assert!(told > 0, "nobody was told how far it was");
    assert_eq!(restored.census.bad, 0);
    Ok(restored.census.good())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_acknowledged_before_a_backup_under_load_is_in_it() {
    let gateway = Arc::new(
        Gateway::start_with(&administered().replacen("kind = \"inbox\"", "kind = \"inbox\"\nkeep = 100000", 1)).await,
    );
    let (told, turns) = (Arc::new(Mutex::new(Told::default())), Arc::new(AtomicU32::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(write(Arc::clone(&gateway), Arc::clone(&told), Arc::clone(&turns), Arc::clone(&stop)));
    }
    while turns.load(Ordering::Relaxed) < BEFORE {
        tokio::task::yield_now().await;
    }
    let before = told.lock().unwrap().clone();
    let first = turns.load(Ordering::Relaxed);
    // Read so slowly that much is written meanwhile.
    let mut chunks = gateway.admin().await.backup_store(BackupStoreRequest {}).await.unwrap().into_inner();
    let mut backup = Vec::new();
    while let Some(answer) = chunks.message().await.unwrap() {
        backup.extend(answer.chunk);
        let goal = turns.load(Ordering::Relaxed) + 100;
        while turns.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    }
    let during = turns.load(Ordering::Relaxed) - first;
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    assert!(during > 100, "nobody wrote while the backup was taken");
    assert!(before.pending.len() > 100 && before.canceled.len() > 50 && before.messages.len() > 50);

    let place = place_for(&gateway);
    let records = restore_to(place.path(), &backup).await.unwrap();
    assert!(records > u64::from(BEFORE), "{records}");
    let restored = Gateway::start_in(place, &administered(), gateway.clock.now()).await;
    let mut client = restored.verifications().await;
    for id in &before.pending {
        assert_eq!(get_verification(&mut client, id).await.status().as_str_name(), "VERIFICATION_STATUS_PENDING");
    }
    for id in &before.canceled {
        assert_eq!(get_verification(&mut client, id).await.status().as_str_name(), "VERIFICATION_STATUS_CANCELED");
    }
    let mut messages = restored.messages().await;
    for id in &before.messages {
        let get = verigate::proto::messaging::v1::GetMessageRequest { id: id.clone() };
        messages.get_message(get).await.unwrap();
    }
    // Codes from before the backup are good after it, and only once.
    for id in before.pending.iter().step_by(37) {
        let phone = match get_verification(&mut client, id).await.recipient.unwrap().address.unwrap() {
            verigate::proto::messaging::v1::recipient::Address::Phone(phone) => phone,
            verigate::proto::messaging::v1::recipient::Address::Email(_) => unreachable!(),
        };
        let code = gateway.code(&phone).await;
        assert_eq!(judge(&mut client, id, &code).await, CheckOutcome::Approved);
        assert_eq!(judge(&mut client, id, &code).await, CheckOutcome::AlreadyApproved);
    }
}

#[tokio::test]
async fn counters_survive_a_restore() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, PHONE).await;
    let code = gateway.code(PHONE).await;
    for turn in 0..4 {
        judge(&mut client, &begun.id, &crate::support::gateway::wrong(&code, turn)).await;
    }
    let backup = back_up(&mut gateway.admin().await).await;
    let place = place_for(&gateway);
    restore_to(place.path(), &backup).await.unwrap();
    let restored = Gateway::start_in(place, &administered(), gateway.clock.now()).await;
    let mut client = restored.verifications().await;
    assert_eq!(get_verification(&mut client, &begun.id).await.checks_left, 1);
    let refused = start_now(&mut client, start(PHONE)).await.unwrap_err();
    assert_eq!(reason(&refused), "COOL_DOWN");
    let judged = client.check_verification(by_recipient(PHONE, &code)).await.unwrap().into_inner();
    assert_eq!(judged.outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn what_is_no_whole_backup_of_this_store_is_refused_and_leaves_nothing() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut client = gateway.verifications().await;
    for turn in 0..20 {
        client.start_verification(start(&number(turn))).await.unwrap();
    }
    let good = back_up(&mut gateway.admin().await).await;
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    let table = [
        ("cut off", good[..good.len() - 1].to_vec(), "is cut off after"),
        ("cut in half", good[..good.len() / 2].to_vec(), "is cut off after"),
        ("changed", changed, "is damaged: the checksum of a frame does not fit"),
        ("longer", [&good[..], b"\n"].concat(), "something follows its end"),
        ("empty", Vec::new(), "is no backup of verigate"),
        ("foreign", b"SQLite format 3\0 and so on and so on".to_vec(), "is no backup of verigate"),
    ];
    let names = |place: &TempDir| {
        let mut names: Vec<_> = std::fs::read_dir(place).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for (name, bytes, wanted) in table {
        let place = place_for(&gateway);
        let error = restore_to(place.path(), &bytes).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{name}");
        assert!(error.message().contains(wanted), "{name}: {}", error.message());
        assert_eq!(names(&place), ["backup", "key"], "{name}");
    }
    // With the key of another store.
    let place = place_for(&gateway);
    std::fs::write(place.path().join("key"), format!("1:{}\n", "B".repeat(42) + "A=")).unwrap();
    let error = restore_to(place.path(), &good).await.unwrap_err();
    assert!(error.message().contains("records cannot be used"), "{}", error.message());
    std::fs::write(place.path().join("key"), format!("2:{}\n", "A".repeat(43) + "=")).unwrap();
    let error = restore_to(place.path(), &good).await.unwrap_err();
    assert!(error.message().contains("needs key 1, which is not in the key ring"), "{}", error.message());
    assert_eq!(names(&place), ["backup", "key"]);
    // Where something is already.
    let place = place_for(&gateway);
    restore_to(place.path(), &good).await.unwrap();
    let error = restore_to(place.path(), &good).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert!(error.message().contains("is not empty"), "{}", error.message());
    // What a restore that was cut off has left.
    let place = place_for(&gateway);
    std::fs::create_dir(place.path().join("data.restoring")).unwrap();
    let error = restore_to(place.path(), &good).await.unwrap_err();
    assert!(error.message().contains("left by a restore that was cut off"), "{}", error.message());
}

#[tokio::test]
async fn only_administrators_get_backups() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut stranger = gateway.admin_as("other.other-secret-of-some-length").await;
    let refused = stranger.backup_store(BackupStoreRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
}
