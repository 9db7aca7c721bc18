//! Room on a disk, asked for before anything is written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Free space that stays on the disk.
const RESERVE: u64 = 256 << 20;
/// `f_type` of file systems that live in memory: `TMPFS_MAGIC`, `RAMFS_MAGIC`.
pub(super) const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Why a folder cannot take a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file would be memory itself.
    #[error("{} is on a file system that lives in memory; expected a folder on a disk", folder.display())]
    InMemory {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk is full, or would be.
    #[error("{} has {free} bytes free, {needed} are needed; make room there", folder.display())]
    Space {
        /// The folder.
        folder: PathBuf,
        /// Bytes needed, with what stays free.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The system refused.
    #[error("{action} {}: {source}", folder.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl Error {
    fn io(action: &'static str, folder: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| Self::Io { action, folder: folder.to_owned(), source: error.into() }
    }
}

/// An empty path is the working folder.
fn at(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Whether `folder` lies on a disk with room for `bytes` and a reserve.
///
/// # Errors
/// [`Error`] saying what is in the way.
pub fn has_room(folder: &Path, bytes: u64) -> Result<(), Error> {
    let system = rustix::fs::statfs(at(folder)).map_err(Error::io("asking for the file system of", folder))?;
    if IN_MEMORY.contains(&u64::from_ne_bytes(system.f_type.to_ne_bytes())) {
        return Err(Error::InMemory { folder: folder.to_owned() });
    }
    let disk = rustix::fs::statvfs(at(folder)).map_err(Error::io("asking for the free space of", folder))?;
    let (free, needed) = (disk.f_bavail.saturating_mul(disk.f_frsize), bytes.saturating_add(RESERVE));
    if free < needed { Err(Error::Space { folder: folder.to_owned(), needed, free }) } else { Ok(()) }
}

/// A file without a name, of this size. It is gone when its last handle and mapping are.
///
/// # Errors
/// As [`has_room`], and whatever making the file gives.
pub fn unnamed(folder: &Path, bytes: u64) -> Result<File, Error> {
    has_room(folder, bytes)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(at(folder), flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(file.map_err(Error::io("making a file without a name in", folder))?);
    // Blocks taken now: a disk that fills up meanwhile fails here, not by a page that cannot be written.
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
        .map_err(Error::io("taking space in", folder))?;
    Ok(file)
}
