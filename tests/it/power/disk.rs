//! A disk, and what is left on it when the power goes.
//!
//! What a sync has covered stays. Of the other writes any sectors may be there and any may not, whichever was written
//! first. Of changes of names one file system keeps a beginning, in order, as one with a journal does; the harsh one any
//! of them, for POSIX promises no more, and it may know of a file's new length without its content, which reads as zeros.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::power::record::Act;
use crate::support::load::Dice;

/// What the file system promises of names and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// Changes of names come to the disk in order, and with the sync of a file those that it takes to find it.
    Journaled,
    /// Each change of a name comes by itself, and none for sure before its folder is synced.
    Harsh,
}

/// A disk in use; clones go their own ways. Paths are those of the record: `/name` within the folder, which is itself the empty one.
#[derive(Clone)]
pub(crate) struct Disk<'a> {
    system: FileSystem,
    nodes: BTreeMap<u64, Node>,
    files: Vec<File<'a>>,
    /// As they are for the process.
    names: Names,
    /// As they are on the disk for sure.
    safe_names: Names,
    /// What lies between the two.
    changes: Vec<(u64, Change)>,
    /// Those that have begun, and when.
    syncs: BTreeMap<u64, (Node, u64)>,
    acts: u64,
}

/// What lies under a path: a file, by its place, or a folder.
type Names = BTreeMap<String, Option<usize>>;

#[derive(Clone)]
enum Node {
    File(usize),
    Folder(String),
}

#[derive(Clone, Default)]
struct File<'a> {
    safe: Vec<u8>,
    pending: Vec<(u64, Pending<'a>)>,
}

#[derive(Clone, Copy)]
enum Pending<'a> {
    Write(u64, &'a [u8]),
    Truncate(u64),
}

#[derive(Clone)]
enum Change {
    Put(String, Option<usize>),
    Remove(String),
    Rename { from: String, to: String, file: usize },
}

/// How the power goes.
#[derive(Debug)]
struct Cut {
    /// Of a hundred sectors that were not synced, how many are there.
    kept: u32,
    sector: usize,
}

// === impl Disk ===

impl<'a> Disk<'a> {
    /// One with what lies in a folder, all of it safe.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut disk = Self {
            system: FileSystem::Journaled,
            nodes: BTreeMap::new(),
            files: Vec::new(),
            names: Names::new(),
            safe_names: Names::new(),
            changes: Vec::new(),
            syncs: BTreeMap::new(),
            acts: 0,
        };
        disk.load(folder, "");
        disk.safe_names = disk.names.clone();
        disk
    }

    pub(crate) fn with(self, system: FileSystem) -> Self {
        Self { system, ..self }
    }

    fn load(&mut self, folder: &Path, path: &str) {
        self.nodes.insert(fs::metadata(folder).unwrap().ino(), Node::Folder(path.to_owned()));
        self.names.insert(path.to_owned(), None);
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                self.load(&entry.path(), &path);
            } else {
                let file = self.add(entry.metadata().unwrap().ino(), fs::read(entry.path()).unwrap());
                self.names.insert(path, Some(file));
            }
        }
    }

    fn add(&mut self, inode: u64, safe: Vec<u8>) -> usize {
        self.nodes.insert(inode, Node::File(self.files.len()));
        self.files.push(File { safe, pending: Vec::new() });
        self.files.len() - 1
    }

    /// The files that there are, by their inodes.
    pub(crate) fn paths(&self) -> BTreeMap<u64, String> {
        let path = |file| self.names.iter().find(|(_, node)| **node == Some(file)).map(|(path, _)| path.clone());
        let of = |(inode, node): (&u64, &Node)| match node {
            Node::File(file) => Some((*inode, path(*file)?)),
            Node::Folder(_) => None,
        };
        self.nodes.iter().filter_map(of).collect()
    }

    pub(crate) fn act(&mut self, act: &Act<'a>) {
        self.acts += 1;
        match *act {
            Act::Create { path, inode } => {
                let file = self.add(inode, Vec::new());
                self.change(Change::Put(path.to_owned(), Some(file)));
            }
            Act::MakeFolder { path, inode } => {
                self.nodes.insert(inode, Node::Folder(path.to_owned()));
                self.change(Change::Put(path.to_owned(), None));
            }
            Act::Unlink { path } | Act::RemoveFolder { path } => self.change(Change::Remove(path.to_owned())),
            Act::Rename { from, to } => {
                let file = self.names[from].expect("only files are renamed");
                self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), file });
            }
            Act::Write { inode, at, bytes } => self.write(inode, Pending::Write(at, bytes)),
            Act::Truncate { inode, length } => self.write(inode, Pending::Truncate(length)),
            Act::Sync { inode, number } => drop(self.syncs.insert(number, (self.nodes[&inode].clone(), self.acts))),
            Act::Synced { number } => {
                let (node, begun) = self.syncs.remove(&number).unwrap();
                self.sync(&node, begun);
            }
        }
    }

    fn write(&mut self, inode: u64, write: Pending<'a>) {
        let Node::File(file) = self.nodes[&inode] else { panic!("a folder is not written") };
        self.files[file].pending.push((self.acts, write));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push((self.acts, change));
    }

    /// Makes safe what was done to a file or folder before the sync began.
    fn sync(&mut self, node: &Node, begun: u64) {
        if let Node::File(file) = node {
            let file = &mut self.files[*file];
            for (_, write) in file.pending.extract_if(.., |(at, _)| *at < begun) {
                write.apply(&mut file.safe);
            }
        }
        let before = |(at, _): &(u64, Change)| *at < begun;
        let safe: Vec<_> = match (self.system, node) {
            (FileSystem::Journaled, Node::File(file)) => {
                let last = self.changes.iter().rposition(|(at, change)| *at < begun && change.is_of(*file));
                self.changes.drain(..last.map_or(0, |last| last + 1)).collect()
            }
            (FileSystem::Journaled, Node::Folder(_)) => self.changes.extract_if(.., |change| before(change)).collect(),
            (FileSystem::Harsh, Node::File(_)) => Vec::new(),
            (FileSystem::Harsh, Node::Folder(path)) => {
                self.changes.extract_if(.., |change| before(change) && change.1.is_in(path)).collect()
            }
        };
        for (_, change) in safe {
            change.apply(&mut self.safe_names);
        }
    }

    /// Writes to an empty folder what the process sees.
    pub(crate) fn copy_to(&self, folder: &Path) {
        self.lay_out(&self.names, folder, |file| {
            let mut bytes = file.safe.clone();
            file.pending.iter().for_each(|(_, write)| write.apply(&mut bytes));
            bytes
        });
    }

    /// Writes to an empty folder what is there after the power went.
    pub(crate) fn cut_to(&self, folder: &Path, dice: &mut Dice) {
        let kept = [0, 50, 100, dice.below(101)][dice.below(4) as usize];
        let cut = Cut { kept, sector: [512, 4096][dice.below(2) as usize] };
        let mut names = self.safe_names.clone();
        match self.system {
            FileSystem::Journaled => {
                let kept = dice.below(u32::try_from(self.changes.len()).unwrap() + 1) as usize;
                self.changes[..kept].iter().for_each(|(_, change)| change.apply(&mut names));
            }
            FileSystem::Harsh => {
                let kept = self.changes.iter().filter(|_| dice.below(2) == 0);
                kept.for_each(|(_, change)| change.apply(&mut names));
            }
        }
        let lengths_too = self.system == FileSystem::Harsh;
        self.lay_out(&names, folder, |file| file.cut(&cut, lengths_too, dice));
    }

    fn lay_out(&self, names: &Names, folder: &Path, mut bytes: impl FnMut(&File) -> Vec<u8>) {
        for (path, file) in names.iter().filter(|(path, _)| !path.is_empty()) {
            let place = folder.join(&path[1..]);
            match file {
                // Names of a folder that is not there itself are lost.
                _ if !place.parent().unwrap().is_dir() => {}
                None => fs::create_dir(place).unwrap(),
                Some(file) => fs::write(place, bytes(&self.files[*file])).unwrap(),
            }
        }
    }
}

// === impl File ===

impl File<'_> {
    fn cut(&self, cut: &Cut, lengths_too: bool, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        for (_, write) in &self.pending {
            let Pending::Write(at, written) = *write else {
                if dice.below(100) < cut.kept {
                    write.apply(&mut bytes);
                }
                continue;
            };
            let mut from = usize::try_from(at).unwrap();
            let mut left = written;
            if lengths_too && dice.below(2) == 0 {
                bytes.resize(bytes.len().max(from + left.len()), 0);
            }
            while !left.is_empty() {
                let (sector, rest) = left.split_at(left.len().min(cut.sector - from % cut.sector));
                if dice.below(100) < cut.kept {
                    Pending::Write(from as u64, sector).apply(&mut bytes);
                }
                (from, left) = (from + sector.len(), rest);
            }
        }
        bytes
    }
}

impl Pending<'_> {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match *self {
            Self::Write(at, written) => {
                let at = usize::try_from(at).unwrap();
                bytes.resize(bytes.len().max(at + written.len()), 0);
                bytes[at..at + written.len()].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.resize(usize::try_from(length).unwrap(), 0),
        }
    }
}

// === impl Change ===

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Put(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), Some(*file));
            }
        }
    }

    fn is_of(&self, wanted: usize) -> bool {
        match self {
            Self::Put(_, node) => *node == Some(wanted),
            Self::Remove(_) => false,
            Self::Rename { file, .. } => *file == wanted,
        }
    }

    fn is_in(&self, folder: &str) -> bool {
        let parent = |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder);
        match self {
            Self::Put(path, _) | Self::Remove(path) => parent(path),
            Self::Rename { from, to, .. } => parent(from) || parent(to),
        }
    }
}
