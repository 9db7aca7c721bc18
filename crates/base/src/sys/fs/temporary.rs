//! Temporary files and folders beside their target, and the removal of those that a killed process left.
//!
//! Their names end in [`SUFFIX`], and the process that owns one holds a kernel lock on it, which ends with the process. A
//! file of such a name without a lock is stale.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use super::{Error, folder_of};

/// Suffix of the names of temporary files and folders.
pub const SUFFIX: &str = ".vla_trt-partial";
/// Longest file name of the usual file systems, in bytes.
const LONGEST_NAME: usize = 255;

/// Creates a temporary file with `make` in `folder` and locks it. `name`: its final name.
pub(super) fn create(
    folder: &Path,
    name: &OsStr,
    mut make: impl FnMut(&Path) -> io::Result<File>,
) -> io::Result<(PathBuf, File)> {
    loop {
        let path = folder.join(next_name(name));
        let file = match make(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        // Waits at most for a process that checks whether this file is stale, and may have removed it.
        let locked = loop {
            match file.lock() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                locked => break locked,
            }
        };
        match locked {
            Ok(()) if !is_at(&file, &path) => {}
            Ok(()) => return Ok((path, file)),
            // A file system without locks: no other process can lock it to remove it, either.
            Err(error) => {
                tracing::debug!("{} is not locked: {error}", path.display());
                return Ok((path, file));
            }
        }
    }
}

/// `.NAME.PID-COUNT.vla_trt-partial`, with the name truncated to the longest file name.
fn next_name(name: &OsStr) -> OsString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let tail = format!(".{}-{}{SUFFIX}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let kept = name.len().min(LONGEST_NAME - 1 - tail.len());
    let mut temporary = Vec::with_capacity(LONGEST_NAME);
    temporary.push(b'.');
    temporary.extend_from_slice(&name.as_bytes()[..kept]);
    temporary.extend_from_slice(tail.as_bytes());
    OsString::from_vec(temporary)
}

fn is_at(file: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).map(|there| (there.dev(), there.ino())).ok();
    let held = file.metadata().map(|held| (held.dev(), held.ino())).ok();
    held.is_some() && named == held
}

/// Whether a name is that of a temporary file or folder.
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(SUFFIX.as_bytes())
}

/// Removes the temporary files and folders in `folder` that belong to no running process. Those that cannot be removed, such
/// as another user's, stay.
pub fn clear_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !is_temporary(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        match remove_unlocked(&path) {
            Ok(true) => tracing::info!("{} was left by a process that was killed; removed", path.display()),
            Ok(false) => {}
            Err(error) => tracing::debug!("{} cannot be removed: {error}", path.display()),
        }
    }
}

/// Removes a stale file or folder. False when a running process owns it.
fn remove_unlocked(path: &Path) -> io::Result<bool> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if !(kind.is_file() || kind.is_dir()) {
        return Ok(false);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Some network file systems lock only what is open for writing.
    let mut open = File::options();
    open.read(true).write(kind.is_file()).custom_flags(flags.bits().cast_signed());
    let file = open.open(path)?;
    match file.try_lock() {
        Ok(()) if is_at(&file, path) => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if kind.is_dir() {
        fs::remove_dir_all(path)?
    } else {
        fs::remove_file(path)?
    }
    Ok(true)
}

/// A temporary folder, removed on drop.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    _lock: File,
}

impl ScratchFolder {
    /// Creates a folder beside `path`, named after it, or inside `path` if that is a folder. Missing parents are created, and
    /// temporary files of killed processes removed.
    ///
    /// # Errors
    /// [`Error::Unwritable`].
    pub fn make_for(path: &Path) -> Result<Self, Error> {
        let folder = if path.is_dir() { path } else { folder_of(path) };
        let name = path.file_name().unwrap_or(OsStr::new("scratch"));
        let unwritable = |source| Error::Unwritable { folder: folder.to_owned(), path: path.to_owned(), source };
        fs::create_dir_all(folder).map_err(unwritable)?;
        clear_stale(folder);
        let made = create(folder, name, |path| {
            fs::create_dir(path)?;
            // Removed as stale before it could be locked: the next name, then.
            let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
            File::open(path).map_err(|error| if gone(&error) { ErrorKind::AlreadyExists.into() } else { error })
        });
        let (path, lock) = made.map_err(unwritable)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
