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

/// What reading needs of metadata.yaml.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The bag's files, in their order; each exists.
    pub files: Vec<PathBuf>,
    /// Every message is a zstd frame (rosbag2's `--compression-mode message`).
    pub message_zstd: bool,
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
        let bad = |expected: &str, found: String, advice: &str| Error::Metadata {
            path: path.clone(),
            expected: expected.to_owned(),
            found,
            advice: advice.to_owned(),
        };
        let size = match std::fs::metadata(&path) {
            Ok(attributes) if attributes.is_file() => attributes.len(),
            Ok(_) => return Err(bad("a file", "something else".to_owned(), REINDEX)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(no_metadata(folder)),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        if size > MAX_BYTES {
            return Err(bad(&format!("at most {MAX_BYTES} bytes"), format!("{size} bytes"), REINDEX));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let document: Document = serde_yaml::from_str(&text).map_err(|error| {
            bad("a rosbag2 metadata.yaml (key rosbag2_bagfile_information)", error.to_string(), REINDEX)
        })?;
        let information = document.rosbag2_bagfile_information;
        if information.relative_file_paths.is_empty() {
            return Err(bad("at least one file in relative_file_paths", "none".to_owned(), REINDEX));
        }
        let message_zstd = information.message_zstd(&path)?;
        let mut files: Vec<PathBuf> = Vec::new();
        for listed in &information.relative_file_paths {
            let file = find(folder, &path, listed)?;
            if files.contains(&file) {
                return Err(bad("every file once in relative_file_paths", format!("'{listed}' twice"), REINDEX));
            }
            files.push(file);
        }
        let topics = &information.topics_with_message_count;
        let counts = topics.iter().map(|topic| (topic.topic_metadata.name.clone(), topic.message_count)).collect();
        let topics = information.topics_with_message_count.into_iter().map(|topic| topic.topic_metadata);
        let types = topics.map(|topic| (topic.name, topic.type_name)).collect();
        Ok(Self { files, message_zstd, counts, types })
    }
}

impl Information {
    fn message_zstd(&self, path: &Path) -> Result<bool, Error> {
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
            ("" | "none", _) => Ok(false),
            ("message", "zstd") => Ok(true),
            // What is packed as a whole shows it by its first bytes.
            ("file", "zstd") => Ok(false),
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

fn no_metadata(folder: &Path) -> Error {
    Error::NotABag {
        path: folder.to_path_buf(),
        expected: "a folder with metadata.yaml, or a .mcap or .db3 file",
        found: listing(folder),
        advice: "open one of its .mcap or .db3 files, or write the metadata with `ros2 bag reindex`".to_owned(),
    }
}

/// Lists the bag files in a folder, for error messages.
fn listing(folder: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| [".mcap", ".db3", ".zstd"].iter().any(|end| name.ends_with(end)))
        .collect();
    names.sort();
    match names.as_slice() {
        [] => "no .mcap or .db3 file in the folder".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        names => names.join(", "),
    }
}
