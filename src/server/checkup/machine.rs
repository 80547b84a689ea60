//! What the machine has: open files, a disk with room that keeps what it is given, and a clock that is right.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use crate::clock::{Clock, Timestamp};
use crate::server::checkup::finding::Finding;

/// Files that are open beside connections: the store's, logs, connections to vendors.
const OTHER_FILES: u64 = 500;

const LITTLE_ROOM: u64 = 1 << 30;
const NO_ROOM: u64 = 64 << 20;

/// Each durable call waits for one, together with others that come meanwhile.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// How far the clock may be off. Signatures and certificates bear minutes, people who compare logs do not.
const CLOCK_ERROR: Duration = Duration::from_secs(30);

/// `connections`: what one listener may have.
pub(crate) fn check_open_files(connections: u32) -> Finding {
    const CHECK: &str = "open files";
    let wanted = u64::from(connections) + OTHER_FILES;
    // A server raises its soft limit by itself.
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < wanted => {
            let found = format!("at most {most}, too few for the {connections} of server.limits.connections");
            Finding::warning(CHECK, "", found, format!("raise the hard limit (LimitNOFILE=) to {wanted} or more"))
        }
        Some(most) => Finding::good(CHECK, "", format!("at most {most}, enough")),
        None => Finding::good(CHECK, "", "no limit"),
    }
}

/// `store`: its folder, which need not be there yet. Writes a small file beside it, which is deleted again.
pub(crate) fn check_disk(store: &Path, clock: &dyn Clock) -> Vec<Finding> {
    let Some(folder) = store.ancestors().map(or_here).find(|path| path.is_dir()) else { return Vec::new() };
    let about = folder.display().to_string();
    vec![check_room(folder, &about), check_sync(folder, &about, clock)]
}

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn check_room(folder: &Path, about: &str) -> Finding {
    const CHECK: &str = "disk space";
    let advice = "make room, or move store.path to a larger disk; a full disk stops all sends";
    match statvfs(folder) {
        Err(error) => Finding::failed(CHECK, about, format!("cannot be told: {error}"), "see what store.path lies on"),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} MiB free", free >> 20);
            match free {
                ..NO_ROOM => Finding::failed(CHECK, about, found, advice),
                NO_ROOM..LITTLE_ROOM => Finding::warning(CHECK, about, found, advice),
                _ => Finding::good(CHECK, about, found),
            }
        }
    }
}

fn check_sync(folder: &Path, about: &str, clock: &dyn Clock) -> Finding {
    const CHECK: &str = "disk sync";
    let began = clock.now();
    if let Err(error) = write_and_sync(folder) {
        let advice = "give the folder to the user that we run as";
        return Finding::failed(CHECK, about, format!("nothing can be kept there: {error}"), advice);
    }
    let took = clock.now().since(began);
    let found = format!("a write is on the disk after {took:?}");
    if took > SLOW_SYNC {
        return Finding::warning(CHECK, about, found, "take a faster disk: every call that changes something waits");
    }
    Finding::good(CHECK, about, found)
}

fn write_and_sync(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".verigate-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let synced = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
    std::fs::remove_file(&path)?;
    synced
}

/// `times`: who told their time, which was theirs, and ours just then.
pub(crate) fn check_clock(times: &[(String, Timestamp, Timestamp)]) -> Finding {
    const CHECK: &str = "clock";
    let off = |theirs: Timestamp, ours: Timestamp| theirs.since(ours).max(ours.since(theirs));
    // One of them may be wrong itself.
    let best = times.iter().min_by_key(|(_, theirs, ours)| off(*theirs, *ours));
    let Some((who, theirs, ours)) = best else {
        return Finding::skipped(
            CHECK,
            "",
            "no vendor that was reached tells its time, so it was compared with nothing",
        );
    };
    let off = off(*theirs, *ours);
    if off <= CLOCK_ERROR {
        return Finding::good(CHECK, "", format!("within {} s of that of {who}", off.as_secs().max(1)));
    }
    let found = format!("it is {ours}, but {theirs} at {who}");
    Finding::warning(CHECK, "", found, "keep it right with NTP: codes, keys and signatures end by it")
}
