//! The life of a store until the power goes: it works under the recorder once, and may be cut off anywhere in that.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use crate::power::disk::{Disk, FileSystem};
use crate::power::record::{self, Act};
use crate::power::work::{self, STORE, Told};
use crate::support::load::Dice;

/// What the store is about when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its files are made for the first time.
    Creation,
    /// It is opened again.
    Opening,
    /// A group is written to the journal, or its file changes.
    Journal,
    /// The journal settles into the database.
    Settling,
    /// A new database is filled beside the old one.
    TakingOver,
    /// The new one takes the place of the old one, which is deleted.
    ChangeOver,
}

/// What was recorded.
pub(crate) struct Life {
    /// The disk before, and what had been told of it.
    disk: Disk<'static>,
    told: Told,
    record: Vec<u8>,
    /// Where it worked: as the process has seen it at its end.
    place: TempDir,
}

/// What is there after the power went, and what was told before.
pub(crate) struct Wreck {
    pub(crate) place: TempDir,
    pub(crate) told: Told,
}

// === impl Stage ===

impl Stage {
    pub(crate) const ALL: [Self; 6] =
        [Self::Creation, Self::Opening, Self::Journal, Self::Settling, Self::TakingOver, Self::ChangeOver];
}

// === impl Life ===

impl Life {
    /// Lets a store work in a place that may hold one. `no_sync`: a part of the names of files that are never synced.
    /// `killed`: a process before was killed once the record had so many bytes, so that there is much that only the
    /// kernel knows.
    pub(crate) fn live(Wreck { place, told }: Wreck, no_sync: Option<&str>, killed: Option<u64>) -> Self {
        let disk = Disk::of(place.path());
        let record = TempDir::new().unwrap();
        let record = record.path().join("record");
        let command = || {
            let mut command = work::command(&place.path().canonicalize().unwrap(), &record);
            command.envs(no_sync.map(|name| ("RECORDER_NO_SYNC", name)));
            command
        };
        if let Some(bytes) = killed {
            let mut first = command();
            first.env("RECORDER_KILL_AT", bytes.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
            assert_eq!(first.status().unwrap().signal(), Some(9), "it was to be killed");
        }
        let mut command = command();
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let said = || [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "{}", said());
        Self { disk, told, record: fs::read(record).unwrap(), place }
    }

    /// The first life of a store.
    pub(crate) fn first() -> Wreck {
        Wreck { place: TempDir::new().unwrap(), told: Told::default() }
    }

    pub(crate) fn acts(&self) -> Vec<Act<'_>> {
        record::read(&self.record)
    }

    /// Whether the record tells all: replayed, it gives the very files that the process has left.
    pub(crate) fn assert_complete(&self) {
        let mut disk = self.disk.clone();
        self.acts().iter().for_each(|act| disk.act(act));
        let copy = TempDir::new().unwrap();
        disk.copy_to(copy.path());
        let (expected, found) = (files(self.place.path()), files(copy.path()));
        assert!(expected.keys().eq(found.keys()), "{:?} {:?}", expected.keys(), found.keys());
        for (path, bytes) in expected {
            assert!(bytes == found[&path], "{path} is not as it was recorded");
        }
    }

    /// Cuts the power in a stage; `None` when there was none such.
    pub(crate) fn cut(&self, acts: &[Act<'_>], stage: Stage, system: FileSystem, dice: &mut Dice) -> Option<Wreck> {
        let places: Vec<_> = self.stages(acts).into_iter().enumerate().filter(|(_, it)| *it == Some(stage)).collect();
        let pick = dice.below(u32::try_from(places.len()).unwrap().max(1));
        let (at, _) = places.get(pick as usize)?;
        let acts = &acts[..=*at];
        let mut disk = self.disk.clone().with(system);
        acts.iter().for_each(|act| disk.act(act));
        let place = TempDir::new().unwrap();
        disk.cut_to(place.path(), dice);
        Some(Wreck { place, told: Told::by(acts, self.told.clone()) })
    }

    /// What the store was about at each act.
    fn stages(&self, acts: &[Act<'_>]) -> Vec<Option<Stage>> {
        let mut paths = self.disk.paths();
        let mut told = self.told.clone();
        let (mut moving, mut stages) = (false, Vec::new());
        for act in acts {
            told = Told::by(std::slice::from_ref(act), told);
            let path = match act {
                Act::Create { path, inode } => {
                    paths.insert(*inode, (*path).to_owned());
                    Some(*path)
                }
                Act::Write { inode, .. } | Act::Truncate { inode, .. } | Act::Sync { inode, .. } => {
                    paths.get(inode).map(String::as_str)
                }
                _ => None,
            };
            moving |= path.is_some_and(|path| path.ends_with("/current.new"));
            stages.push(stage_of(&told, path, moving));
            moving &= told.stage == "rewriting";
        }
        stages
    }
}

fn stage_of(told: &Told, path: Option<&str>, moving: bool) -> Option<Stage> {
    let is_inside = |name: &str| path.is_some_and(|path| path.strip_prefix('/').is_some_and(|it| it.starts_with(name)));
    match &*told.stage {
        "opening" if told.was_open => Some(Stage::Opening),
        "opening" => Some(Stage::Creation),
        "rewriting" if moving => Some(Stage::ChangeOver),
        "rewriting" => Some(Stage::TakingOver),
        _ if is_inside(&format!("{STORE}/journal.")) => Some(Stage::Journal),
        _ if is_inside(STORE) => Some(Stage::Settling),
        _ => None,
    }
}

/// All files under a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
            found.insert(name, Vec::new());
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}
