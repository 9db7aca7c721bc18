//! Errors of bags: the file, the expected and the found value, and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why a bag cannot be read.
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
    /// The file is something else.
    #[error("{path} is not a ROS 2 bag: expected {expected}, found {found}; {advice}")]
    NotABag {
        /// The file or folder.
        path: PathBuf,
        /// Kinds of bag.
        expected: &'static str,
        /// Value found.
        found: String,
        /// Remedy.
        advice: String,
    },
    /// A bag without messages.
    #[error(
        "{path} is empty: expected at least one message, found {found}; check the topics with `ros2 topic hz` and record again"
    )]
    Empty {
        /// The bag.
        path: PathBuf,
        /// Content found.
        found: String,
    },
    /// The file is truncated.
    #[error(
        "{path} is truncated: the {what} at byte {offset} needs {needed} bytes, found {available}; the recorder did not \
         finish the file; {advice}"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The incomplete part.
        what: &'static str,
        /// Its offset in the file, in bytes.
        offset: u64,
        /// Bytes needed.
        needed: u64,
        /// Bytes found.
        available: u64,
        /// Remedy.
        advice: String,
    },
    /// The file contradicts itself.
    #[error("{path} is damaged at {place}: expected {expected}, found {found}; {advice}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Position in the file.
        place: String,
        /// Value expected.
        expected: String,
        /// Value found.
        found: String,
        /// Remedy.
        advice: Box<str>,
    },
    /// An entry of metadata.yaml is missing or invalid.
    #[error("{path}: expected {expected}, found {found}; {advice}")]
    Metadata {
        /// The metadata.yaml.
        path: PathBuf,
        /// The key and its expected value.
        expected: String,
        /// Value found.
        found: String,
        /// Remedy.
        advice: String,
    },
    /// metadata.yaml lists a missing file.
    #[error(
        "{metadata} lists '{file}': expected it beside metadata.yaml, found {found}; restore the file, or rewrite the \
         metadata with `ros2 bag reindex`"
    )]
    MissingFile {
        /// The metadata.yaml.
        metadata: PathBuf,
        /// The listed file.
        file: String,
        /// Object found instead.
        found: String,
    },
    /// Unsupported compression.
    #[error("{path}: expected {expected} in {place}, found {found}; {advice}")]
    Compression {
        /// The file.
        path: PathBuf,
        /// The compressed part.
        place: String,
        /// Supported compressions.
        expected: &'static str,
        /// The compression found.
        found: String,
        /// Remedy.
        advice: &'static str,
    },
    /// A file that is compressed as a whole cannot be decompressed.
    #[error("cannot decompress {path} to a temporary file in {folder}: {source}; {advice}")]
    Unpacking {
        /// The compressed file.
        path: PathBuf,
        /// Folder of the temporary file.
        folder: String,
        /// Error of the decoder or the system.
        source: io::Error,
        /// Remedy.
        advice: &'static str,
    },
    /// Decompresses to more than the limit.
    #[error(
        "{path}: {place} decompresses to {size}, expected at most {limit} bytes; the file is damaged, or must be rewritten in \
         smaller chunks (`ros2 bag convert`)"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The compressed part.
        place: String,
        /// Its size.
        size: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Messages of a topic are not CDR.
    #[error(
        "{path}: topic {topic}: expected messages serialized as 'cdr', found '{found}'; \
         convert the bag to ROS 2 (`rosbags-convert` reads ROS 1 bags) or leave the topic out"
    )]
    Serialization {
        /// The bag.
        path: PathBuf,
        /// The topic.
        topic: String,
        /// Its serialization.
        found: String,
    },
    /// A caller's topic index.
    #[error("{path}: expected the index of one of {count} topics, found {index}")]
    UnknownTopic {
        /// The bag.
        path: PathBuf,
        /// The index.
        index: usize,
        /// Number of topics.
        count: usize,
    },
    /// SQLite refused.
    #[error("cannot {doing} {path}: {source}; {advice}")]
    Sqlite {
        /// The operation that failed, as a verb.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's error.
        source: Box<rusqlite::Error>,
        /// Remedy.
        advice: String,
    },
}

impl Error {
    /// For `map_err` on operations of the system.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
