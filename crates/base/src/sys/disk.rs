//! File systems of temporary files: whether they are on a disk, whether they have room, and unnamed files on them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};

use super::fs::free_space;

/// Space that temporary files leave free on a disk, in bytes.
pub const RESERVE: u64 = 256 << 20;
/// `f_type` of file systems in memory: `TMPFS_MAGIC`, `RAMFS_MAGIC`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Why a folder cannot take a temporary file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file there would occupy memory.
    #[error("{} is on a file system in memory; expected a folder on a disk", folder.display())]
    InMemory {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk is full, or would be.
    #[error("{} has {free} bytes free, {needed} are needed; free some space on its disk", folder.display())]
    Space {
        /// The folder.
        folder: PathBuf,
        /// Bytes needed, including [`RESERVE`].
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", folder.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    fn io<E: Into<io::Error>>(action: &'static str, folder: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::Io { action, folder: folder.to_owned(), source: error.into() }
    }
}

/// An empty path is the working folder.
pub(super) fn or_working_folder(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Whether a folder is on a file system in memory, where a file takes memory instead of disk space.
///
/// # Errors
/// The system's error.
pub fn is_in_memory(folder: &Path) -> io::Result<bool> {
    let system = rustix::fs::statfs(or_working_folder(folder))?;
    Ok(IN_MEMORY.contains(&u64::from_ne_bytes(system.f_type.to_ne_bytes())))
}

/// Checks that `folder` is on a disk with room for `bytes` and [`RESERVE`].
///
/// # Errors
/// [`Error`], with the figures.
pub(super) fn require_room(folder: &Path, bytes: u64) -> Result<(), Error> {
    if is_in_memory(folder).map_err(Error::io("determine the file system of", folder))? {
        return Err(Error::InMemory { folder: folder.to_owned() });
    }
    let free = free_space(folder).map_err(Error::io("determine the free space of", folder))?;
    let needed = bytes.saturating_add(RESERVE);
    if free < needed { Err(Error::Space { folder: folder.to_owned(), needed, free }) } else { Ok(()) }
}

/// An empty file without a name (`O_TMPFILE`). The system deletes it with its last handle and mapping.
///
/// # Errors
/// The system's error.
pub fn unnamed_file(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(or_working_folder(folder), flags, Mode::RUSR | Mode::WUSR)?))
}

/// As [`unnamed_file`], of `bytes` that are reserved on the disk: a disk that fills up later fails here, and not when a
/// page of a mapping cannot be written.
///
/// # Errors
/// As [`require_room`] and [`unnamed_file`].
pub(super) fn reserved_file(folder: &Path, bytes: u64) -> Result<File, Error> {
    require_room(folder, bytes)?;
    let file = unnamed_file(folder).map_err(Error::io("create an unnamed file in", folder))?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(Error::io("reserve space in", folder))?;
    Ok(file)
}
