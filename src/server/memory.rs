//! How much memory the machine has, or the control group that we run in allows us: a container's limit, or `MemoryMax` of a
//! systemd unit.

use std::fs;
use std::path::Path;

const MIB: u64 = 1024 * 1024;

/// Used where nothing can be told.
const UNKNOWN: u64 = 1024 * MIB;

/// What the embedded store takes where the configuration leaves it to us, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Of the database: a sixteenth, for it takes twice its size, and from 64 MiB to 1 GiB.
    pub(crate) cache: u64,
    /// Of the newest commits, in each of two files: a 256th, for they take three times that, and from 16 to 64 MiB. The more,
    /// the fewer pages of a large database are written anew for each.
    pub(crate) journal: u64,
}

/// Shares of the memory that there is.
pub(crate) fn shares() -> Shares {
    shares_of(there_is(Path::new("/")).unwrap_or(UNKNOWN))
}

fn shares_of(bytes: u64) -> Shares {
    Shares { cache: (bytes / 16).clamp(64 * MIB, 1024 * MIB), journal: (bytes / 256).clamp(16 * MIB, 64 * MIB) }
}

/// `root`: where the system's own files lie.
fn there_is(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let of_machine = read("proc/meminfo").and_then(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(total.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    });
    // A group has no more than those that it lies in. https://docs.kernel.org/admin-guide/cgroup-v2.html
    let group = read("proc/self/cgroup")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::/")).map(str::to_owned));
    let group = group.unwrap_or_default();
    let of_groups = Path::new(&group).ancestors().filter_map(|group| {
        let limit = fs::read_to_string(root.join("sys/fs/cgroup").join(group).join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    of_groups.chain(of_machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    /// A system whose files say so.
    fn system(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        there_is(root.path())
    }

    #[test]
    fn the_tightest_limit_counts() {
        const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");
        assert_eq!(system(&[]), None);
        assert_eq!(system(&[MACHINE]), Some(8 * GIB));
        let group = ("proc/self/cgroup", "0::/system.slice/verigate.service\n");
        let unit = "sys/fs/cgroup/system.slice/verigate.service/memory.max";
        assert_eq!(system(&[MACHINE, group, (unit, "max\n")]), Some(8 * GIB));
        assert_eq!(system(&[MACHINE, group, (unit, "1073741824\n")]), Some(GIB));
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
        assert_eq!(system(&[MACHINE, group, (unit, "1073741824\n"), slice]), Some(GIB / 2));
        // As it looks from within a container.
        let container = [MACHINE, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "2147483648\n")];
        assert_eq!(system(&container), Some(2 * GIB));
    }

    #[test]
    fn the_store_takes_its_shares_within_bounds() {
        let of =
            |bytes, cache, journal| assert_eq!(shares_of(bytes), Shares { cache: cache * MIB, journal: journal * MIB });
        of(GIB / 4, 64, 16);
        of(4 * GIB, 256, 16);
        of(8 * GIB, 512, 32);
        of(64 * GIB, 1024, 64);
        assert!((64 * MIB..=GIB).contains(&shares().cache));
    }
}
