//! Memory use of this process and this machine, from `/proc`.

use std::fs;

const KIB: u64 = 1024;

/// Memory of this process at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Resident set.
    pub resident: u64,
    /// Resident pages that are not backed by a file, which only swap can reclaim.
    pub anonymous: u64,
    /// Highest resident set so far.
    pub peak_resident: u64,
    /// What the machine could still give without swapping (`MemAvailable`).
    pub available: u64,
    /// Memory of the machine (`MemTotal`).
    pub total: u64,
}

impl MemoryUse {
    /// Reads the figures; those that this system does not offer stay zero.
    pub fn now() -> Self {
        Self::read("self")
    }

    /// The figures of another process; zero once it has ended.
    pub fn of(process: u32) -> Self {
        Self::read(&process.to_string())
    }

    fn read(process: &str) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            resident: field(&status, "VmRSS:"),
            anonymous: field(&status, "RssAnon:"),
            peak_resident: field(&status, "VmHWM:"),
            available: field(&meminfo, "MemAvailable:"),
            total: field(&meminfo, "MemTotal:"),
        }
    }
}

/// Change of memory by loading a stage, in bytes; negative when memory was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Of this process's resident set.
    pub resident: i64,
    /// Of its anonymous memory.
    pub anonymous: i64,
    /// Used device memory of all processes; `None` if the device does not report it.
    pub device: Option<i64>,
}

impl Growth {
    /// Memory that the load keeps: anonymous and device memory. Pages of files are not counted, because the system can evict
    /// them.
    pub fn kept(self) -> u64 {
        let device = self.device.unwrap_or(0).max(0);
        u64::try_from(self.anonymous.max(0).saturating_add(device)).unwrap_or(0)
    }
}

/// The value of a `Name:   123 kB` line as in `/proc/meminfo`, in bytes; 0 where there is none.
pub fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(KIB))
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

    #[test]
    fn what_a_load_keeps_is_anonymous_and_device_memory_without_file_pages() {
        let growth = Growth { resident: 900, anonymous: 300, device: Some(400) };
        assert_eq!(growth.kept(), 700);
        assert_eq!(Growth { resident: 5, anonymous: -3, device: None }.kept(), 0);
    }
}
