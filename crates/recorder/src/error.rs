//! Errors of writing bags.

use std::io;
use std::path::{Path, PathBuf};

/// Why a bag cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// The operation that failed, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// One topic, two types.
    #[error(
        "{path}: topic {topic}: expected one type, found '{first}' and '{second}'; write each to a topic of its name"
    )]
    ConflictingTypes {
        /// The bag.
        path: PathBuf,
        /// The topic.
        topic: String,
        /// Its first type.
        first: String,
        /// The other one.
        second: String,
    },
    /// The MCAP library refused to write.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The bag being written.
        path: PathBuf,
        /// The library's error.
        source: Box<mcap::McapError>,
    },
    /// The output file cannot be created or replaced.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// A stamp that MCAP cannot hold.
    #[error("cannot write {path}: log time {nanos} ns on topic {topic} is before the epoch, expected 0 or later")]
    LogTime {
        /// The bag being written.
        path: PathBuf,
        /// The topic.
        topic: String,
        /// The stamp, in nanoseconds.
        nanos: i64,
    },
    /// A recording may not fill the disk.
    #[error(
        "the disk of {} has {free_mib} MiB free, expected at least {needed_mib} MiB for the rest of the system; free some space, or \
         lower record.max_bytes", folder.display()
    )]
    Space {
        /// Folder of the recording.
        folder: PathBuf,
        /// MiB free.
        free_mib: u64,
        /// MiB that stay free.
        needed_mib: u64,
    },
    /// The system gives no thread.
    #[error("cannot start the recorder's thread: {0}")]
    Thread(io::Error),
}

impl Error {
    /// For `map_err` on operations of the system.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
