//! Folders of recordings: their names, and which ones are of this node.

use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Error, Options};

/// Recordings that may begin in the same second.
const TRIES: u32 = 100;

/// Makes the folder of a new recording, and the folder of all of them.
pub(crate) fn create(options: &Options) -> Result<PathBuf, Error> {
    let Options { folder, node, .. } = options;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::io("create the folder", folder)(error));
        }
        _ => {}
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = format!("{node}_{}", utc(seconds));
    let mut last = None;
    for number in 0..TRIES {
        let path = folder.join(if number == 0 { name.clone() } else { format!("{name}-{number:02}") });
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = Some((path, error)),
            Err(error) => return Err(Error::io("create the folder", &path)(error)),
        }
    }
    let (path, error) = last.unwrap_or_else(|| (folder.clone(), ErrorKind::AlreadyExists.into()));
    Err(Error::io("create the folder", &path)(error))
}

/// Earlier recordings of this node, the oldest first, with their size in bytes.
pub(crate) fn earlier(options: &Options, own: &Path) -> VecDeque<(PathBuf, u64)> {
    let entries = fs::read_dir(&options.folder).into_iter().flatten().flatten();
    let is_recording = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let time = name.strip_prefix(options.node.as_str()).and_then(|rest| rest.strip_prefix('_'));
        path != own && path.is_dir() && time.is_some_and(is_time)
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_recording).collect();
    found.sort();
    found.into_iter().map(|path| (size(&path), path)).map(|(size, path)| (path, size)).collect()
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// Seconds since the epoch as `20261129-160000`.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days from 0000-03-01 in eras of 400 years (Hinnant's civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Whether a text is what [`utc`] makes, perhaps with a number behind it.
fn is_time(text: &str) -> bool {
    let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.split('-');
    let (date, time) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    digits(date, 8) && digits(time, 6) && parts.next().is_none_or(|number| digits(number, 2)) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_date_and_time_of_day() {
        assert_eq!(utc(0), "19700101-000000");
        assert_eq!(utc(951_782_400), "20000229-000000");
        assert_eq!(utc(1_760_000_000), "20251009-085320");
        assert_eq!(utc(4_107_542_399), "21000228-235959");
    }

    #[test]
    fn only_recordings_of_the_node_are_its_own() {
        for own in ["20251009-085320", "20251009-085320-01"] {
            assert!(is_time(own), "{own}");
        }
        for other in
            ["", "2_20251009-085320", "20251009", "20251009-085320-1", "20251009-08532x", "20251009-085320-01-02"]
        {
            assert!(!is_time(other), "{other}");
        }
    }
}
