//! Output files: each is written under a temporary name beside its target and then renamed, so that a reader finds the old
//! content or the new one, never a part.
//!
//! Crates for this (`tempfile`, `atomic-write-file`) create the temporary file only: they replace device nodes, fifos and
//! symlinks, do not keep the owner, and cannot distinguish the temporary file of a running process from one that a killed
//! process left.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::or_working_folder;

mod outputs;
mod replacement;
mod target;
mod temporary;
#[cfg(test)]
mod tests;

pub use outputs::Outputs;
pub use replacement::{Replacement, create_new, move_to, replace};
pub use target::{Identity, Target};
pub use temporary::{SUFFIX, ScratchFolder, clear_stale, is_temporary};

/// Free space required before a file of unknown size is created, in bytes.
const LEAST_SPACE: u64 = 256 << 10;

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name belongs to an object that a file must not replace.
    #[error("{}: expected the name of a file, found {found}; choose another name", path.display())]
    NoFile {
        /// The output.
        path: PathBuf,
        /// Kind of the object: a device node, a fifo, a socket, a folder.
        found: &'static str,
    },
    /// Symlinks that lead to each other.
    #[error("{}: expected a symlink to a file, found a cycle of symlinks; remove them or choose another name", path.display())]
    LinkLoop {
        /// The output.
        path: PathBuf,
    },
    /// The folder is missing.
    #[error("folder {} of the output {} does not exist; create it first", folder.display(), path.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
        /// The output.
        path: PathBuf,
    },
    /// The folder, or the file in it, cannot be written.
    #[error("{}: cannot write into the folder {}: {source}; choose another folder or change its permissions", path.display(), folder.display())]
    Unwritable {
        /// The folder.
        folder: PathBuf,
        /// The output.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk is full, or would be.
    #[error(
        "{}: expected {} free on the disk of {}, found {}; free some space or choose another folder",
        path.display(), size(*needed), folder.display(), size(*free)
    )]
    Space {
        /// The output.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A limit of this process or user on file sizes.
    #[error("{}: {} could not be reserved in {}: {source}; check `ulimit -f` and the disk quota", path.display(), size(*needed), folder.display())]
    Quota {
        /// The output.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// Bytes that were tried.
        needed: u64,
        /// The system's error.
        source: io::Error,
    },
    /// An output that is also another output or an input.
    #[error("{output} {} is the same file as {other} {}; choose another name", path.display(), same.display())]
    SameFile {
        /// Role of the output.
        output: String,
        /// The output.
        path: PathBuf,
        /// Role of the other file.
        other: String,
        /// The other file, as given.
        same: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The operation that failed, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// Bytes that this process can still write to the disk of `folder`; an empty path is the working folder.
///
/// # Errors
/// The system's error.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(or_working_folder(folder))?;
    // Some blocks are reserved for root.
    let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    Ok(blocks.saturating_mul(disk.f_frsize))
}

/// Refuses when the disk of `folder` has less than `bytes` free for `path`.
///
/// # Errors
/// [`Error::Space`], [`Error::Io`].
pub fn require_space(path: &Path, folder: &Path, bytes: u64) -> Result<(), Error> {
    let free = free_space(folder).map_err(Error::io("determine the free space of", folder))?;
    if free >= bytes {
        return Ok(());
    }
    Err(Error::Space { path: path.to_owned(), folder: folder.to_owned(), needed: bytes, free })
}

/// The folder of a file; the working folder for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
