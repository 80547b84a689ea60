//! Every input that the fuzzer found worth keeping, run through the targets without the fuzzer: what it once broke stays a
//! test. To add one, put it into `fuzz/corpus/TARGET/` under a short name that says what it is about.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::targets::{ALL, Target};

/// Files of one target, and bytes of all of them: the folder is for what differs, not for all that was seen.
const MOST_FILES: usize = 100;
const MOST_BYTES: u64 = 1024 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names_in(folder: &Path, strip: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.trim_end_matches(strip).to_owned()).collect()
}

/// How many bytes the inputs of a target have, and those that break a promise. On a thread of its own, for what targets
/// keep lives as long as their thread.
fn replay(name: &'static str, target: Target) -> std::thread::JoinHandle<(u64, Vec<String>)> {
    std::thread::spawn(move || {
        let corpus = folder("corpus").join(name);
        let files = names_in(&corpus, "");
        assert!((1..=MOST_FILES).contains(&files.len()), "{name} has {} files", files.len());
        let (mut bytes, mut broken) = (0, Vec::new());
        for file in files {
            let input = std::fs::read(corpus.join(&file)).unwrap();
            bytes += input.len() as u64;
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                broken.push(format!("fuzz/corpus/{name}/{file}"));
            }
        }
        (bytes, broken)
    })
}

#[test]
fn what_the_fuzzer_kept_breaks_no_promise() {
    let (mut bytes, mut broken) = (0, Vec::new());
    // As many at a time as the smallest machine has processors.
    for pair in ALL.chunks(2) {
        let running: Vec<_> = pair.iter().map(|(name, target)| replay(name, *target)).collect();
        for thread in running {
            let (more, others) = thread.join().unwrap();
            bytes += more;
            broken.extend(others);
        }
    }
    assert!(broken.is_empty(), "these inputs break a promise; the panics above say which:\n{}", broken.join("\n"));
    assert!(bytes <= MOST_BYTES, "the corpus has {bytes} bytes");
}

/// A target that no program runs, or that has no corpus, is one that nobody runs.
#[test]
fn every_target_has_its_program_and_its_corpus() {
    let known: BTreeSet<_> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known.len(), ALL.len());
    assert_eq!(names_in(&folder("fuzz_targets"), ".rs"), known);
    assert_eq!(names_in(&folder("corpus"), ""), known);
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).unwrap();
    let manifest: toml::Value = toml::from_str(&manifest).unwrap();
    let programs = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(programs.collect::<BTreeSet<_>>(), known);
    for (name, _) in ALL {
        let program = std::fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("\"{name}\"")), "{name}.rs runs another target:\n{program}");
    }
}
