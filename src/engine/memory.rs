//! What this process and this machine use of memory, read from `/proc`.
//!
//! On a Jetson the GPU allocates from the same memory, so these figures are the whole truth there.

use std::fs;

use super::Error;

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

/// What the engines may take of the machine's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// All engines together; `None`: whatever is free.
    pub budget: Option<u64>,
    /// Left to everything else.
    pub reserve: u64,
}

impl Admission {
    /// Whether the engine at `next` of `order` (names and file sizes in load order) and all after it still fit. An
    /// engine is taken to need its file's size.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] with the bound that breaks and a table of every engine.
    pub(super) fn check(self, order: &[(&str, u64)], next: usize, available: u64) -> Result<(), Error> {
        let all: u64 = order.iter().map(|(_, bytes)| bytes).sum();
        let to_come: u64 = order.iter().skip(next).map(|(_, bytes)| bytes).sum();
        let problem = match self.budget {
            Some(budget) if all > budget => {
                Some(format!("memory.budget_mib allows {:.1} MiB, the engines need {:.1} MiB", mib(budget), mib(all)))
            }
            _ if to_come.saturating_add(self.reserve) > available => Some(format!(
                "{:.1} MiB are free, {:.1} MiB are still to be loaded and memory.reserve_mib keeps {:.1} MiB; close other \
                 programs, lower the reserve, or use smaller engines",
                mib(available),
                mib(to_come),
                mib(self.reserve)
            )),
            _ => None,
        };
        let Some(problem) = problem else { return Ok(()) };
        let rows = order.iter().enumerate().map(|(index, (name, bytes))| {
            let state = if index < next { "loaded" } else { "to come" };
            format!("  {name:24} {:10.1} MiB  {state}", mib(*bytes))
        });
        let table = rows.collect::<Vec<_>>().join("\n");
        Err(Error::DoesNotFit {
            stage: order.get(next).map_or_else(String::new, |(name, _)| (*name).into()),
            problem,
            table,
        })
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
    fn engines_beyond_the_budget_or_the_free_memory_are_refused_with_a_table() {
        let order = [("language", 300 << 20), ("vision", 100 << 20)];
        let free = 1 << 30;
        assert!(Admission::default().check(&order, 0, free).is_ok());
        let budget = Admission { budget: Some(399 << 20), reserve: 0 };
        let error = budget.check(&order, 0, free).expect_err("400 MiB do not fit").to_string();
        assert!(error.contains("allows 399.0 MiB, the engines need 400.0 MiB"), "{error}");
        let reserve = Admission { budget: None, reserve: 900 << 20 };
        let error = reserve.check(&order, 1, 950 << 20).expect_err("100 + 900 > 950").to_string();
        assert!(error.contains("stage 'vision'") && error.contains("language") && error.contains("loaded"), "{error}");
        assert!(reserve.check(&order, 1, 1000 << 20).is_ok());
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
