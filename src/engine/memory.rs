//! What this process and this machine use of memory, read from `/proc`.
//!
//! On a Jetson the GPU allocates from the same memory, so these figures are the whole truth there.

use std::fs;

const KIB: u64 = 1024;
const MIB: f64 = 1024.0 * 1024.0;

/// Memory of this process at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Resident set.
    pub resident: u64,
    /// Resident pages backed by no file: what nothing but swap can take back.
    pub anonymous: u64,
    /// Highest resident set so far.
    pub peak_resident: u64,
    /// What the machine could still give without swapping (`MemAvailable`).
    pub available: u64,
}

impl MemoryUse {
    /// Reads the figures; those that this system does not offer stay zero.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            resident: field(&status, "VmRSS:"),
            anonymous: field(&status, "RssAnon:"),
            peak_resident: field(&status, "VmHWM:"),
            available: field(&meminfo, "MemAvailable:"),
        }
    }
}

/// Bytes as MiB, for people.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// The value of a `Name:   123 kB` line, in bytes.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |kib| kib * KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_bytes_and_a_missing_one_is_zero() {
        let status = "VmPeak:\t  10 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(field(status, "VmRSS:"), 2048 * 1024);
        assert_eq!(field(status, "RssAnon:"), 0);
    }

    #[test]
    fn touching_memory_shows_in_the_anonymous_figure() {
        let before = MemoryUse::now();
        let block = vec![1u8; 32 << 20];
        let after = MemoryUse::now();
        assert!(after.anonymous >= before.anonymous + (31 << 20), "{before:?} {after:?}");
        drop(block);
    }
}
