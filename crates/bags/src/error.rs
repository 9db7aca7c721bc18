//! Everything that can be wrong with a bag, in words: which file, what was expected, what was found, what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a bag cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own reason.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a ROS 2 bag: expected {expected}, found {found}; {advice}")]
    NotABag {
        /// The file or folder.
        path: PathBuf,
        /// What a bag would be.
        expected: &'static str,
        /// What is there.
        found: String,
        /// What to do next.
        advice: String,
    },
    /// A readable bag without a message in it.
    #[error(
        "{path} is empty: expected at least one message, found {found}; record again, and look at `ros2 topic hz` first"
    )]
    Empty {
        /// The bag.
        path: PathBuf,
        /// How it is empty.
        found: String,
    },
    /// The file ends before its content does.
    #[error(
        "{path} is cut off: the {what} at byte {offset} needs {needed} bytes, {available} are left; \
         the recorder did not finish the file: {advice}"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is incomplete.
        what: &'static str,
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// What to do next.
        advice: String,
    },
    /// The file contradicts itself.
    #[error("{path} is damaged at {place}: expected {expected}, found {found}; {advice}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
        /// What to do next.
        advice: Box<str>,
    },
    /// metadata.yaml does not say what it must.
    #[error("{path}: expected {expected}, found {found}; {advice}")]
    Metadata {
        /// The metadata.yaml.
        path: PathBuf,
        /// The key and what it should hold.
        expected: String,
        /// What it holds.
        found: String,
        /// What to do next.
        advice: String,
    },
    /// metadata.yaml lists a file that is not there.
    #[error(
        "{metadata} lists '{file}': expected it beside metadata.yaml, found {found}; put the file back, or write the \
         metadata anew with `ros2 bag reindex`"
    )]
    MissingFile {
        /// The metadata.yaml.
        metadata: PathBuf,
        /// The file as it is listed.
        file: String,
        /// What is there instead.
        found: String,
    },
    /// Packed in a way that is not read here.
    #[error("{path}: expected {expected} in {place}, found {found}; {advice}")]
    Compression {
        /// The file.
        path: PathBuf,
        /// What is packed.
        place: String,
        /// The compressions that are read.
        expected: &'static str,
        /// The compression found.
        found: String,
        /// What to do next.
        advice: &'static str,
    },
    /// A file that is packed as a whole cannot be unpacked.
    #[error("cannot unpack {path} to a temporary file in {folder}: {source}; {advice}")]
    Unpacking {
        /// The packed file.
        path: PathBuf,
        /// Where to.
        folder: String,
        /// What the decoder or the system says.
        source: io::Error,
        /// What to do next.
        advice: &'static str,
    },
    /// Unpacks to more than is plausible.
    #[error(
        "{path}: {place} unpacks to {size}, expected at most {limit} bytes; \
         this is a damaged or hostile file, or a bag that must be rewritten in smaller chunks (`ros2 bag convert`)"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is packed.
        place: String,
        /// Its size in words.
        size: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// One topic, two types.
    #[error(
        "{path}: topic {topic} was expected to have one type, found '{first}' and '{second}'; \
         separate them with `ros2 bag convert`"
    )]
    ConflictingTypes {
        /// The bag.
        path: PathBuf,
        /// The topic.
        topic: String,
        /// Its type (and serialization) where it was first seen.
        first: String,
        /// The other one.
        second: String,
    },
    /// Messages of a topic are not CDR.
    #[error(
        "{path}: messages of topic {topic} were expected to be serialized as 'cdr', found '{found}'; \
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
    #[error("{path}: no topic with index {index}, expected less than {count}")]
    UnknownTopic {
        /// The bag.
        path: PathBuf,
        /// The index asked for.
        index: usize,
        /// The topics there are.
        count: usize,
    },
    /// SQLite refused.
    #[error("cannot {doing} {path}: {source}; {advice}")]
    Sqlite {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's own reason.
        source: Box<rusqlite::Error>,
        /// What to do next.
        advice: String,
    },
    /// The MCAP library refused to write.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The bag being written.
        path: PathBuf,
        /// The library's reason.
        source: Box<mcap::McapError>,
    },
    /// The file to write cannot be begun or put in place.
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
}

impl Error {
    /// For `map_err` on operations of the system.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
