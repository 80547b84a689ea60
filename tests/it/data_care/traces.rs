//! What lies in files: records are looked for by the very bytes that they were sealed into, and by the names that their
//! keys have.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use verigate::keeping::reader::Reader;
use verigate::proto::admin::v1::{BackupStoreRequest, RewriteStoreRequest};
use verigate::store::entries::LastWords;
use verigate::store::{Key, Write};

use crate::support::gateway::{Admin, CONFIG, Gateway};

/// Bytes that stand for records, wherever these lie.
#[derive(Default)]
pub(crate) struct Traces(BTreeSet<Vec<u8>>);

/// The usual configuration, with an administrator, and without rewrites that nobody asked for.
pub(crate) fn administered() -> String {
    let config = CONFIG.replacen("[store]\n", "[store]\nrewrite_interval = \"8760h\"\n", 1);
    config.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true")
}

/// A backup of a gateway, as a client gets it.
pub(crate) async fn back_up(admin: &mut Admin) -> Vec<u8> {
    let mut chunks = admin.backup_store(BackupStoreRequest {}).await.unwrap().into_inner();
    let (mut bytes, mut complete) = (Vec::new(), false);
    while let Some(answer) = chunks.message().await.unwrap() {
        assert!(!complete, "nothing follows the end");
        complete = answer.complete;
        bytes.extend(answer.chunk);
    }
    assert!(complete);
    bytes
}

/// Has the files of a gateway's store written anew, and tells how many records they hold.
pub(crate) async fn rewrite(admin: &mut Admin) -> i32 {
    let mut answers = admin.rewrite_store(RewriteStoreRequest {}).await.unwrap().into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await.unwrap() {
        last = Some(answer);
    }
    let last = last.unwrap();
    assert!(last.done && last.megabytes > 0);
    last.records
}

/// What a backup holds, each key once.
pub(crate) fn records(backup: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let read = || {
        let mut reader = Reader::open(backup).unwrap();
        std::iter::from_fn(move || reader.read().unwrap())
    };
    let mut words = LastWords::default();
    read().for_each(|frame| frame.note(&mut words));
    let left: Vec<_> = read().flat_map(|frame| frame.last(&words)).collect();
    let value = |(key, write)| match write {
        Write::Put { value, .. } => (key, value),
        Write::Delete => unreachable!("what is gone is left out"),
    };
    left.into_iter().map(value).collect()
}

// === impl Traces ===

impl Traces {
    /// Notes how a record lies in a store now: its sealed value. `id`: what its key ends with.
    pub(crate) async fn note(&mut self, admin: &mut Admin, id: &str) {
        let id: verigate::id::Id = id.parse().unwrap();
        let found = records(&back_up(admin).await);
        let found = found.into_iter().filter(|(key, _)| key.bytes().ends_with(id.as_bytes()));
        let sealed: Vec<_> = found.map(|(_, value)| value).filter(|value| !value.is_empty()).collect();
        assert!(!sealed.is_empty(), "no record of {id}");
        // The nonce, which is drawn anew each time, and some of what it sealed.
        self.0.extend(sealed.into_iter().map(|value| value[2..58].to_vec()));
        self.0.insert(id.as_bytes().to_vec());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The files below a folder in which any of it lies.
    pub(crate) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(self.files(&path));
            } else if self.are_in(&std::fs::read(&path).unwrap()) {
                found.push(path);
            }
        }
        found
    }

    pub(crate) fn are_in(&self, bytes: &[u8]) -> bool {
        // By their first bytes, so that a file is gone through but once.
        let begin = |bytes: &[u8]| bytes.first_chunk().map(|first| u64::from_be_bytes(*first));
        let begins: HashSet<_> = self.0.iter().filter_map(|trace| begin(trace)).collect();
        let mut window = 0;
        for (at, byte) in bytes.iter().enumerate() {
            window = window << 8 | u64::from(*byte);
            if begins.contains(&window) && self.0.iter().any(|trace| bytes[at.saturating_sub(7)..].starts_with(trace)) {
                return true;
            }
        }
        false
    }
}

/// Writes so much that what was written before settles, on a small journal several times over.
pub(crate) async fn stir(gateway: &Gateway, turns: u32) {
    let mut messages = gateway.messages().await;
    for turn in 0..turns {
        let text = format!("{turn} {}", "x".repeat(1_400));
        messages.send_message(crate::support::gateway::text_to(&format!("+6591{turn:06}"), &text)).await.unwrap();
    }
}
