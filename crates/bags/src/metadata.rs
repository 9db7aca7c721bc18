//! metadata.yaml, the list of files of a rosbag2 folder (every version to 9).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;

/// Name of the file in a bag's folder.
pub const FILE_NAME: &str = "metadata.yaml";

/// Larger than any list of files; a size that a hostile file cannot exceed before it is parsed.
const MAX_BYTES: u64 = 16 << 20;

const REINDEX: &str = "write it anew with `ros2 bag reindex`, or open the .mcap or .db3 file itself";

/// Whether messages are zstd frames (rosbag2's `--compression-mode message`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum MessagePacking {
    /// None is.
    #[default]
    None,
    /// Every one is.
    Zstd,
    /// There is no metadata.yaml that says it: those that begin as one are.
    Unknown,
}

/// What reading needs of metadata.yaml.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// The bag's files, in their order; each exists.
    pub files: Vec<PathBuf>,
    /// Compression of single messages.
    pub packing: MessagePacking,
    /// Messages by topic, for files that do not say it themselves.
    pub counts: BTreeMap<String, u64>,
    /// Message types by topic, for files that do not say them themselves.
    pub types: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Document {
    rosbag2_bagfile_information: Information,
}

#[derive(Deserialize)]
struct Information {
    relative_file_paths: Vec<String>,
    #[serde(default)]
    compression_format: Option<String>,
    #[serde(default)]
    compression_mode: Option<String>,
    #[serde(default)]
    topics_with_message_count: Vec<TopicCount>,
}

#[derive(Deserialize)]
struct TopicCount {
    topic_metadata: TopicName,
    message_count: u64,
}

#[derive(Deserialize)]
struct TopicName {
    name: String,
    #[serde(default, rename = "type")]
    type_name: String,
}

impl Metadata {
    /// Reads `folder/metadata.yaml` and finds its files.
    pub(super) fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let information = Information::load(folder, &path)?;
        let packing = information.packing(&path)?;
        Ok(Self { files: information.files(folder, &path)?, packing, ..information.topics() })
    }

    /// As [`Self::load`]; without a usable metadata.yaml, which a recorder writes last, every bag file of the folder.
    pub(super) fn recover(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let (mut metadata, problem) = match Information::load(folder, &path) {
            Ok(information) => {
                let packing = information.packing(&path)?;
                let listed = information.files(folder, &path);
                let (files, problem) = listed.map_or_else(|error| (Vec::new(), Some(error)), |files| (files, None));
                (Self { files, packing, ..information.topics() }, problem)
            }
            Err(error) => (Self { packing: MessagePacking::Unknown, ..Self::default() }, Some(error)),
        };
        if let Some(error) = problem {
            metadata.files = bag_files(folder);
            if metadata.files.is_empty() {
                return Err(error);
            }
            let (bag, files, reason) = (folder.display(), metadata.files.len(), unlisted(&error));
            tracing::warn!(%bag, files, "{reason}: every bag file of the folder is read");
        }
        Ok(metadata)
    }
}

impl Information {
    fn load(folder: &Path, path: &Path) -> Result<Self, Error> {
        let size = match std::fs::metadata(path) {
            Ok(attributes) if attributes.is_file() => attributes.len(),
            Ok(_) => return Err(bad(path, "a file", "something else".to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(no_metadata(folder)),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        if size > MAX_BYTES {
            return Err(bad(path, &format!("at most {MAX_BYTES} bytes"), format!("{size} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let document: Document = serde_yaml::from_str(&text).map_err(|error| {
            bad(path, "a rosbag2 metadata.yaml (key rosbag2_bagfile_information)", error.to_string())
        })?;
        Ok(document.rosbag2_bagfile_information)
    }

    /// The listed files.
    fn files(&self, folder: &Path, path: &Path) -> Result<Vec<PathBuf>, Error> {
        if self.relative_file_paths.is_empty() {
            return Err(bad(path, "at least one file in relative_file_paths", "none".to_owned()));
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for listed in &self.relative_file_paths {
            let file = find(folder, path, listed)?;
            if files.contains(&file) {
                return Err(bad(path, "every file once in relative_file_paths", format!("'{listed}' twice")));
            }
            files.push(file);
        }
        Ok(files)
    }

    /// Counts and types of the topics.
    fn topics(self) -> Metadata {
        let topics = &self.topics_with_message_count;
        let counts = topics.iter().map(|topic| (topic.topic_metadata.name.clone(), topic.message_count)).collect();
        let topics = self.topics_with_message_count.into_iter().map(|topic| topic.topic_metadata);
        let types = topics.map(|topic| (topic.name, topic.type_name)).collect();
        Metadata { counts, types, ..Metadata::default() }
    }

    fn packing(&self, path: &Path) -> Result<MessagePacking, Error> {
        let mode = self.compression_mode.as_deref().unwrap_or_default().to_ascii_lowercase();
        let format = self.compression_format.as_deref().unwrap_or_default();
        let refuse = |expected, found, advice| Error::Compression {
            path: path.to_path_buf(),
            place: "compression_mode".to_owned(),
            expected,
            found,
            advice,
        };
        match (mode.as_str(), format) {
            ("" | "none", _) => Ok(MessagePacking::None),
            ("message", "zstd") => Ok(MessagePacking::Zstd),
            // What is packed as a whole shows it by its first bytes.
            ("file", "zstd") => Ok(MessagePacking::None),
            _ => Err(refuse(
                "no compression, or files or messages packed with zstd",
                format!("'{mode}' ({format})"),
                "rewrite the bag without it: `ros2 bag convert`",
            )),
        }
    }
}

/// Until version 3 the paths began with the folder's own name, so the bare name is tried second. A recorder that was stopped
/// lists files as packed that are not yet, and playing a packed bag leaves them unpacked: the name without and with `.zstd`
/// comes last.
fn find(folder: &Path, metadata: &Path, listed: &str) -> Result<PathBuf, Error> {
    let listed_path = Path::new(listed);
    let named = |listed: &Path| [Some(folder.join(listed)), listed.file_name().map(|name| folder.join(name))];
    let packed = PathBuf::from(format!("{listed}.zstd"));
    let unpacked = listed.strip_suffix(".zstd").map(Path::new);
    let names = [Some(listed_path), unpacked, Some(&packed)];
    let found = names.into_iter().flatten().flat_map(named).flatten().find(|path| path.is_file());
    found.ok_or_else(|| Error::MissingFile {
        metadata: metadata.to_path_buf(),
        file: listed.to_owned(),
        found: listing(folder),
    })
}

/// Why the files are not those that metadata.yaml lists, without the advice.
fn unlisted(error: &Error) -> String {
    match error {
        Error::NotABag { .. } => format!("the folder has no {FILE_NAME}"),
        Error::MissingFile { file, .. } => format!("{FILE_NAME} lists '{file}', which is not there"),
        error => error.to_string(),
    }
}

fn bad(path: &Path, expected: &str, found: String) -> Error {
    let (expected, advice) = (expected.to_owned(), REINDEX.to_owned());
    Error::Metadata { path: path.to_path_buf(), expected, found, advice }
}

/// The bag files of a folder in the order of their numbers. Of a file that is there both as it was recorded and packed as a whole,
/// the former: the recorder ended while it packed it.
pub(super) fn bag_files(folder: &Path) -> Vec<PathBuf> {
    let mut names = bag_names(folder);
    let unpacked: Vec<String> = names.iter().filter(|name| !name.ends_with(".zstd")).cloned().collect();
    names.retain(|name| name.strip_suffix(".zstd").is_none_or(|name| !unpacked.iter().any(|other| other == name)));
    names.sort_by_cached_key(|name| (number(name), name.clone()));
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// The number at the end of a file's name, as recorders count: `bag_10.mcap` comes after `bag_9.mcap`.
fn number(name: &str) -> u64 {
    let stem = name.split('.').next().unwrap_or_default();
    let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem.get(stem.len() - digits..).and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn no_metadata(folder: &Path) -> Error {
    Error::NotABag {
        path: folder.to_path_buf(),
        expected: "a folder with metadata.yaml, or a .mcap or .db3 file",
        found: listing(folder),
        advice: "open one of its .mcap or .db3 files, read all of them with --recover, or write the metadata with `ros2 bag \
                 reindex`"
            .to_owned(),
    }
}

/// Lists the bag files in a folder, for error messages.
fn listing(folder: &Path) -> String {
    let mut names = bag_names(folder);
    names.sort();
    match names.as_slice() {
        [] => "no .mcap or .db3 file in the folder".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        names => names.join(", "),
    }
}

fn bag_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| [".mcap", ".db3", ".zstd"].iter().any(|end| name.ends_with(end))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_metadata_come_in_the_order_of_their_numbers_and_each_once() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["bag_10.mcap", "bag_9.mcap.zstd", "bag_2.mcap", "bag_2.mcap.zstd", "notes.txt"] {
            std::fs::write(dir.path().join(name), b"").expect("written");
        }
        let names = bag_files(dir.path()).into_iter().map(|path| path.file_name().map(|name| name.to_owned()));
        let names: Vec<String> = names.map(|name| name.expect("a name").into_string().expect("UTF-8")).collect();
        assert_eq!(names, ["bag_2.mcap", "bag_9.mcap.zstd", "bag_10.mcap"]);
    }
}
