//! Shared memory of Fast DDS participants that no longer exist.
//!
//! A participant has a segment in /dev/shm (0.5 MiB, or 64 MiB with config/fastdds_shm.xml) and beside it a file `<segment>_el`, which it
//! keeps locked (`flock`) as long as it lives. A process that is killed leaves both; the lock goes with it. So a segment whose
//! lock file can be locked has no owner. This module only looks: another participant's memory is not ours to remove.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

/// Where Linux keeps shared memory.
const FOLDER: &str = "/dev/shm";
/// Names of segments: Fast DDS 2, and 3.
const PREFIXES: [&str; 2] = ["fastrtps_", "fastdds_"];
/// Digits of a segment's number.
const DIGITS: usize = 16;
/// Suffix of the lock file.
const LOCK: &str = "_el";
/// A participant that starts has its files before it has its lock.
const YOUNG: Duration = Duration::from_secs(5);
/// As many files are named in the command that removes them; beyond, the tool of Fast DDS finds them itself.
const NAMED: usize = 4;

/// Segments without an owner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stale {
    /// Their names, sorted.
    segments: Vec<String>,
    /// What they hold, in bytes.
    bytes: u64,
}

/// Warns of segments without an owner, with the command that removes them.
pub(crate) fn warn_of_stale() {
    if let Some(warning) = Stale::find(Path::new(FOLDER), SystemTime::now()).warning(FOLDER) {
        tracing::warn!("{warning}");
    }
}

impl Stale {
    /// Looks into a folder. What cannot be read (another user's) is left out.
    fn find(folder: &Path, now: SystemTime) -> Self {
        let mut stale = Self::default();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(segment) = name.to_str().filter(|name| is_segment(name)) else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
            if age >= YOUNG && has_no_owner(&folder.join(format!("{segment}{LOCK}"))) {
                // Blocks rather than the length: pages that were never touched take no memory.
                stale.bytes += metadata.blocks() * 512;
                stale.segments.push(segment.to_owned());
            }
        }
        stale.segments.sort();
        stale
    }

    /// What to do about it; `None` when there is nothing.
    fn warning(&self, folder: &str) -> Option<String> {
        let first = self.segments.get(..NAMED.min(self.segments.len())).filter(|first| !first.is_empty())?;
        let file = |segment: &String| format!("{folder}/{segment} {folder}/{segment}{LOCK}");
        let remove = if first.len() == self.segments.len() {
            format!("rm {}", first.iter().map(file).collect::<Vec<_>>().join(" "))
        } else {
            "fastdds shm clean".to_owned()
        };
        Some(format!(
            "{:.1} MiB of shared memory belong to {} Fast DDS participants that were killed ({}{}); free it with: {remove}",
            self.bytes as f64 / f64::from(1 << 20),
            self.segments.len(),
            first.join(", "),
            if first.len() < self.segments.len() { ", ..." } else { "" },
        ))
    }
}

fn is_segment(name: &str) -> bool {
    let number = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    number.is_some_and(|number| number.len() == DIGITS && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Whether nobody holds the lock. It is taken for a moment, shared, and let go with the file: as Fast DDS asks itself.
fn has_no_owner(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_whose_lock_nobody_holds_are_stale_and_the_command_names_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: usize| fs::write(folder.path().join(name), vec![1; bytes]).expect("a file");
        for segment in ["fastrtps_00000000000000aa", "fastrtps_00000000000000bb", "fastdds_00000000000000cc"] {
            write(segment, 1 << 20);
            write(&format!("{segment}_el"), 0);
        }
        // No segment, no lock file, and the semaphore of a port.
        write("fastrtps_port7410", 1 << 20);
        write("fastrtps_port7410_el", 0);
        write("fastrtps_00000000000000dd", 1 << 20);
        write("sem.fastrtps_port7410_mutex", 32);
        write("other_program", 1 << 20);
        let alive = File::open(folder.path().join("fastrtps_00000000000000bb_el")).expect("a lock file");
        flock(&alive, FlockOperation::LockExclusive).expect("the lock of a participant that lives");

        let later = SystemTime::now() + 2 * YOUNG;
        let stale = Stale::find(folder.path(), later);
        assert_eq!(stale.segments, ["fastdds_00000000000000cc", "fastrtps_00000000000000aa"]);
        let warning = stale.warning("/dev/shm").expect("a warning");
        assert!(warning.contains("2.0 MiB") && warning.contains("2 Fast DDS participants"), "{warning}");
        let command = "rm /dev/shm/fastdds_00000000000000cc /dev/shm/fastdds_00000000000000cc_el /dev/shm/fastrtps_00000000000000aa";
        assert!(warning.contains(command), "{warning}");
        // A participant that is just starting may not have its lock yet.
        assert_eq!(Stale::find(folder.path(), SystemTime::now()), Stale::default());
        drop(alive);
        assert_eq!(Stale::find(folder.path(), later).segments.len(), 3);
    }

    #[test]
    fn many_are_left_to_the_tool_of_fast_dds_and_none_are_no_warning() {
        let segments = (0..9).map(|number| format!("fastrtps_{number:016x}")).collect();
        let warning = Stale { segments, bytes: 9 << 26 }.warning("/dev/shm").expect("a warning");
        assert!(warning.contains("fastdds shm clean") && warning.contains("9 Fast DDS participants"), "{warning}");
        assert_eq!(Stale::default().warning("/dev/shm"), None);
        assert_eq!(Stale::find(Path::new("/not/there"), SystemTime::now()), Stale::default());
    }
}
