//! Errors of data sets: the file, what was expected and found, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data set cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder is something else.
    #[error(
        "{} is not a LeRobot data set: expected the file meta/info.json, found none; give the folder that contains meta, data and \
         videos", path.display()
    )]
    NotADataset {
        /// The folder.
        path: PathBuf,
    },
    /// A version that is not read.
    #[error(
        "{}: codebase_version: expected v2.0, v2.1 or v3.0, found '{found}'; convert the data set with LeRobot's own script \
         (lerobot.datasets.v21, v30)", path.display()
    )]
    Version {
        /// meta/info.json.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A file of the metadata is wrong.
    #[error("{}: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The entry, what was expected and found.
        reason: String,
    },
    /// A file that the metadata names is missing.
    #[error(
        "episode {episode}: expected the file {}, found none; download the data set again or complete it, or choose other episodes \
         (--episodes)", path.display()
    )]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// The episode that needs it.
        episode: usize,
    },
    /// A file that is only a pointer to the real one.
    #[error("{}: expected a {kind} file, found a Git LFS pointer; run `git lfs pull` in the data set", path.display())]
    Pointer {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
    },
    /// A parquet file that cannot be read.
    #[error("{}: cannot read it as parquet: {reason}; the file is damaged or cut short: download it again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's message.
        reason: String,
    },
    /// A parquet file of another schema.
    #[error("{}: column '{column}': expected {expected}, found {found}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The rows of a file are not those of the metadata.
    #[error("{}: episode {episode}: expected {expected}, found {found}; the data set is incomplete or damaged", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// The episode.
        episode: usize,
        /// What the metadata says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// No such episode.
    #[error("{}: expected an episode from 0 to {last}, found {episode}; choose others (--episodes)", path.display())]
    NoEpisode {
        /// The data set.
        path: PathBuf,
        /// The number that was asked for.
        episode: usize,
        /// The last episode.
        last: usize,
    },
    /// No such frame.
    #[error("{}: episode {episode}: expected a frame from 0 to {last}, found {frame}", path.display())]
    NoFrame {
        /// The data set.
        path: PathBuf,
        /// The episode.
        episode: usize,
        /// The number that was asked for.
        frame: usize,
        /// The last frame of the episode.
        last: usize,
    },
    /// Text that names no column, episode or key.
    #[error("'{text}': {reason}")]
    Syntax {
        /// The text.
        text: String,
        /// What was expected.
        reason: String,
    },
    /// The columns of the policy's keys are not known.
    #[error(
        "{}: the columns of the policy's {} are not known:\n  {}\nThe data set has {features}; assign columns with --column, for \
         example --column state.KEY=observation.state[0:7]", path.display(),
        if problems.len() == 1 { "key" } else { "keys" },
        problems.join("\n  ")
    )]
    Join {
        /// The data set.
        path: PathBuf,
        /// One line a key.
        problems: Vec<String>,
        /// Features of the data set with their shapes.
        features: String,
    },
    /// A camera that is not in the data set.
    #[error("{}: no camera '{camera}'; the data set's cameras are {cameras}", path.display())]
    NoCamera {
        /// The data set.
        path: PathBuf,
        /// The feature's name.
        camera: String,
        /// Those that there are.
        cameras: String,
    },
    /// A frame cannot be decoded.
    #[error("{}: camera '{camera}', episode {episode}: {reason}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// The camera's feature.
        camera: String,
        /// The episode.
        episode: usize,
        /// What was expected and found.
        reason: String,
    },
    /// A file of a new data set cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Writing {
        /// The file.
        path: PathBuf,
        /// The system's or the writer's message.
        reason: String,
    },
    /// A row does not fit the data set that is being written.
    #[error("{}: expected {expected} {what}, found {found}", path.display())]
    Layout {
        /// The data set.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// As the first rows have it.
        expected: usize,
        /// As this row has it.
        found: usize,
    },
    /// A frame cannot be stored.
    #[error("cannot store a frame as PNG: {reason}")]
    Png {
        /// The encoder's message.
        reason: String,
    },
    /// Video frames in a build without FFmpeg.
    #[error(
        "camera '{camera}' is stored as video ({}), and this build reads none; install libavcodec-dev, libavfilter-dev, \
         libavformat-dev, libavutil-dev, libswscale-dev and libclang-dev (apt-get install), then build the tool with the feature `dataset`: cargo \
         build --release -p vla-trt --features dataset", path.display()
    )]
    NoVideo {
        /// The camera's feature.
        camera: String,
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn metadata(path: &Path, reason: impl Into<String>) -> Self {
        Self::Metadata { path: path.to_owned(), reason: reason.into() }
    }
}
