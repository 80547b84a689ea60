//! The record of what a process has done to the files of a folder: made by `recorder.c`, which stands between the process and
//! the C library, and read here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// One thing that was done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    Create {
        path: &'a str,
        inode: u64,
    },
    MakeFolder {
        path: &'a str,
        inode: u64,
    },
    Unlink {
        path: &'a str,
    },
    RemoveFolder {
        path: &'a str,
    },
    Rename {
        from: &'a str,
        to: &'a str,
    },
    Write {
        inode: u64,
        at: u64,
        bytes: &'a [u8],
    },
    Truncate {
        inode: u64,
        length: u64,
    },
    /// A sync begins; what was done before is on the disk when its end is recorded.
    Sync {
        inode: u64,
        number: u64,
    },
    Synced {
        number: u64,
    },
}

const HEAD_BYTES: usize = 29;

/// The library to preload, compiled once for all tests.
pub(crate) fn recorder() -> &'static Path {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let library = folder.path().join("recorder.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/power/recorder.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(compiler.arg("-ldl").status().expect("a C compiler").success());
        (folder, library)
    });
    library
}

/// Reads a record; a last one that is not whole is left out. Panics at what no simulation can replay.
pub(crate) fn read(mut record: &[u8]) -> Vec<Act<'_>> {
    let mut acts = Vec::new();
    while let Some((head, rest)) = record.split_first_chunk::<HEAD_BYTES>() {
        let two = |at: usize| usize::from(u16::from_ne_bytes([head[at], head[at + 1]]));
        let eight = |at: usize| u64::from_ne_bytes(*head[at..].first_chunk().unwrap());
        let (inode, number) = (eight(5), eight(13));
        let lengths = [two(1), two(3), usize::try_from(eight(21)).unwrap()];
        if rest.len() < lengths.iter().sum() {
            break;
        }
        let (path, rest) = rest.split_at(lengths[0]);
        let (second, rest) = rest.split_at(lengths[1]);
        let (bytes, rest) = rest.split_at(lengths[2]);
        let (path, second) = (str::from_utf8(path).unwrap(), str::from_utf8(second).unwrap());
        acts.push(match head[0] {
            1 => Act::Create { path, inode },
            2 => Act::MakeFolder { path, inode },
            3 => Act::Unlink { path },
            4 => Act::RemoveFolder { path },
            5 => Act::Rename { from: path, to: second },
            6 => Act::Write { inode, at: number, bytes },
            7 => Act::Truncate { inode, length: number },
            8 | 9 => Act::Sync { inode, number },
            10 => Act::Synced { number },
            other => panic!("{path}: {} ({other}) cannot be replayed", String::from_utf8_lossy(bytes)),
        });
        record = rest;
    }
    acts
}
