//! The stored former settings. The file outlives this process and a reboot, as a power mode does.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::root::Root;

/// Path of the file, below the root.
pub const STATE: &str = "/var/lib/vla_trt/prepare-system.json";
const LOCK: &str = "/var/lib/vla_trt/prepare-system.lock";
/// File written by `jetson_clocks --store`.
const CLOCKS: &str = "/var/lib/vla_trt/prepare-system.clocks";

/// Settings that were changed and are not yet restored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// The former power mode.
    pub power_mode: Option<u32>,
    /// Whether the clocks are fixed; the former ones are stored in [`Store::clocks`].
    #[serde(default)]
    pub clocks: bool,
}

/// The file, and the lock for writing it. The kernel releases the lock when the process ends for any reason.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    pub clocks: PathBuf,
    _lock: File,
}

impl Store {
    pub(super) fn open(root: &Root) -> Result<Self, Error> {
        let (path, lock) = (root.join(STATE), root.join(LOCK));
        let fail = |error: io::Error| Error::State { path: lock.clone(), reason: error.to_string() };
        fs::create_dir_all(lock.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&lock).unwrap_or_default().trim().to_owned();
                return Err(Error::Busy { lock, holder });
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail)?;
        Ok(Self { path, clocks: root.join(CLOCKS), _lock: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Settings that a killed run changed; `None` if there are none.
    pub(super) fn read(&self) -> Result<Option<State>, Error> {
        let fail = |reason: String| Error::State {
            path: self.path.clone(),
            reason: format!(
                "{reason}; put power mode and clocks back by hand (nvpmodel -m, jetson_clocks --restore {}) and remove this file",
                self.clocks.display()
            ),
        };
        match fs::read(&self.path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|error| fail(format!("not a note of ours: {error}")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// Writes the file atomically; removes it if there is nothing to restore.
    pub(super) fn write(&self, state: &State) -> Result<(), Error> {
        let fail = |error: io::Error| Error::State { path: self.path.clone(), reason: error.to_string() };
        if *state == State::default() {
            for file in [&self.path, &self.clocks] {
                match fs::remove_file(file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
                    _ => {}
                }
            }
            return Ok(());
        }
        let text = serde_json::to_vec(state).map_err(|error| fail(error.into()))?;
        vla_base::sys::fs::replace(&self.path, &text)
            .map_err(|error| Error::State { path: self.path.clone(), reason: error.to_string() })
    }
}
