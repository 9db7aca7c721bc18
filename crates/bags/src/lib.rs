//! ROS 2 bags: reads MCAP and rosbag2's SQLite files, writes MCAP.
//!
//! [`BagReader`] returns serialized messages in log-time order, as a topic delivers them. An MCAP file is mapped, and messages
//! of uncompressed chunks are slices of the mapping ([`bytes::Bytes`]); that, and errors that name the damaged record of a
//! truncated file, is why it does not use `mcap`'s own indexed reader. [`BagWriter`] writes one MCAP file that `ros2 bag`,
//! Foxglove and the Python readers open; the same calls give the same bytes, and the file appears only when it is complete.
//!
//! ```
//! use vla_bags::{BagReader, BagWriter};
//! use vla_base::time::Stamp;
//!
//! let file = std::env::temp_dir().join(format!("vla_bags-{}.mcap", std::process::id()));
//! let mut writer = BagWriter::create(&file)?;
//! let topic = writer.add_topic("/task", "std_msgs/msg/String", "string data")?;
//! writer.write(topic, Stamp::from_nanos(20), &[0, 1, 0, 0, 3, 0, 0, 0, b'g', b'o', 0])?;
//! writer.finish()?;
//!
//! let bag = BagReader::open(&file)?;
//! let task = bag.find("/task").ok_or("a topic")?;
//! let message = bag.messages(&[task])?.next().ok_or("a message")??;
//! assert_eq!(message.log_time, Stamp::from_nanos(20));
//! std::fs::remove_file(&file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod mcap;
mod messages;
mod metadata;
mod sqlite;
mod unpack;
mod unpacked;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use self::error::Error;
use self::mcap::McapFile;
pub use self::messages::Messages;
pub use self::metadata::FILE_NAME as METADATA_FILE_NAME;
use self::metadata::{MessagePacking, Metadata};
use self::sqlite::SqliteFile;
use self::unpacked::Unpacked;
use vla_base::time::Stamp;
pub use vla_recorder::{BagWriter, Qos, TopicId};

/// A recorded topic. A name with two types or serializations is two topics, each of which can be read separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Full name, e.g. `/joint_states`.
    pub name: String,
    /// Message type, e.g. `sensor_msgs/msg/JointState`; empty when the bag does not say.
    pub type_name: String,
    /// Serialization of its messages; only `cdr` can be read.
    pub serialization: String,
    /// Number of messages, if the bag states it (a bare .db3 file does not).
    pub count: Option<u64>,
}

/// One recorded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BagMessage {
    /// Index into [`BagReader::topics`].
    pub topic: usize,
    /// Time at which the recorder received it.
    pub log_time: Stamp,
    /// The serialized message, with its CDR encapsulation header. May share (and keep alive) a mapped file or an
    /// unpacked chunk.
    pub data: Bytes,
}

/// An open bag: topics, time bounds, and any number of iterations over its messages.
#[derive(Debug)]
pub struct BagReader {
    path: PathBuf,
    files: Vec<BagFile>,
    topics: Vec<Topic>,
    message_count: u64,
    start: Stamp,
    end: Stamp,
    packing: MessagePacking,
    on_damage: OnDamage,
}

/// What becomes of a bag that its recorder did not finish, or a damaged one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OnDamage {
    /// It is refused.
    Refuse,
    /// Messages that can be read are; the log says what is lost.
    Skip,
}

#[derive(Debug)]
struct BagFile {
    storage: Storage,
    /// This file's topics as indices into the bag's.
    topics: Vec<usize>,
    start: Option<Stamp>,
}

#[derive(Debug)]
enum Storage {
    Mcap(McapFile),
    Sqlite(SqliteFile),
}

/// The files of a bag: itself, or metadata.yaml and the files that it lists. Does not check that they are a bag.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_path_buf()];
    }
    let listed = Metadata::load(path).map_or_else(|_| metadata::bag_files(path), |metadata| metadata.files);
    std::iter::once(path.join(METADATA_FILE_NAME)).chain(listed).collect()
}

impl BagReader {
    /// Opens a .mcap or .db3 file, or a folder with metadata.yaml (all of its files).
    ///
    /// # Errors
    ///
    /// See [`Error`]. A bag without messages is an error, and a truncated file is refused. An MCAP file without an index is read
    /// completely once.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, OnDamage::Refuse)
    }

    /// As [`Self::open`], of a bag that its recorder did not finish or that is damaged: reads each file up to the place where it is
    /// cut, leaves out damaged chunks and files that cannot be read at all, and reads a folder without metadata.yaml. Warnings in the
    /// log say what is lost. A bag that is whole reads as with [`Self::open`].
    ///
    /// # Errors
    ///
    /// See [`Error`], when no message can be read.
    pub fn recover(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, OnDamage::Skip)
    }

    fn open_as(path: &Path, on_damage: OnDamage) -> Result<Self, Error> {
        let attributes = std::fs::metadata(path).map_err(Error::io("open", path))?;
        let Metadata { files, packing, counts, types } = match on_damage {
            _ if !attributes.is_dir() => Metadata { files: vec![path.to_path_buf()], ..Metadata::default() },
            OnDamage::Refuse => Metadata::load(path)?,
            OnDamage::Skip => Metadata::recover(path)?,
        };
        let mut bag = Self {
            path: path.to_path_buf(),
            files: Vec::with_capacity(files.len()),
            topics: Vec::new(),
            message_count: 0,
            start: Stamp::default(),
            end: Stamp::default(),
            packing,
            on_damage,
        };
        let mut bounds: Option<(Stamp, Stamp)> = None;
        let mut refused = None;
        for file in &files {
            let (first, last) = match bag.add(file, &types) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) if on_damage == OnDamage::Skip => {
                    tracing::warn!("left out: {error}");
                    refused.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            bounds = Some(bounds.map_or((first, last), |(start, end)| (start.min(first), end.max(last))));
        }
        for topic in &mut bag.topics {
            topic.count = topic.count.or_else(|| counts.get(&topic.name).copied());
        }
        let found = || format!("none ({} topics)", bag.topics.len());
        let empty = || refused.unwrap_or_else(|| Error::Empty { path: path.to_path_buf(), found: found() });
        (bag.start, bag.end) = bounds.ok_or_else(empty)?;
        Ok(bag)
    }

    /// Adds a file; returns the log times of its first and last message.
    fn add(&mut self, path: &Path, types: &BTreeMap<String, String>) -> Result<Option<(Stamp, Stamp)>, Error> {
        let packed = is_packed(path)?.then(|| Unpacked::of(path, self.on_damage)).transpose()?;
        let content = packed.as_ref().map_or_else(|| path.to_path_buf(), Unpacked::path);
        let (storage, mut topics, count, bounds) = match detect(path, &content)? {
            Kind::Mcap => {
                let bytes = vla_base::sys::map::map(&content).map_err(Error::io("map", path))?;
                let file = McapFile::open(path, bytes, self.on_damage)?;
                let (topics, count, bounds) = (file.topics.clone(), file.message_count, file.bounds);
                (Storage::Mcap(file), topics, count, bounds)
            }
            Kind::Sqlite => {
                let file = SqliteFile::open(path, packed, self.on_damage)?;
                let (topics, count, bounds) = (file.topics.clone(), file.message_count, file.bounds);
                (Storage::Sqlite(file), topics, count, bounds)
            }
        };
        for topic in topics.iter_mut().filter(|topic| topic.type_name.is_empty()) {
            topic.type_name = types.get(&topic.name).cloned().unwrap_or_default();
        }
        let topics = topics.into_iter().map(|topic| merge_topic(&mut self.topics, topic)).collect();
        self.files.push(BagFile { storage, topics, start: bounds.map(|(first, _)| first) });
        self.message_count = self.message_count.saturating_add(count);
        Ok(bounds)
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Topics, in the order in which the files describe them.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Index of the first topic with this full name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name == name)
    }

    /// Log time of the first message.
    pub fn start(&self) -> Stamp {
        self.start
    }

    /// Log time of the last message, as the bag states it.
    pub fn end(&self) -> Stamp {
        self.end
    }

    /// Messages of all topics.
    pub fn message_count(&self) -> u64 {
        self.message_count
    }

    /// Messages of these topics (indices into [`Self::topics`]) in log-time order; equal times in the order of the
    /// files and within them. Ends after the first error.
    ///
    /// # Errors
    ///
    /// An index that does not exist, or a topic whose messages are not CDR.
    pub fn messages(&self, topics: &[usize]) -> Result<Messages<'_>, Error> {
        for &index in topics {
            let path = self.path.clone();
            let Some(topic) = self.topics.get(index) else {
                return Err(Error::UnknownTopic { path, index, count: self.topics.len() });
            };
            if topic.serialization != "cdr" {
                let (topic, found) = (topic.name.clone(), topic.serialization.clone());
                return Err(Error::Serialization { path, topic, found });
            }
        }
        Ok(Messages::new(self, topics))
    }
}

/// Adds a topic to a list, or its count to the topic of the same name, type and serialization; returns its index.
fn merge_topic(topics: &mut Vec<Topic>, topic: Topic) -> usize {
    let is_same = |known: &Topic| {
        known.name == topic.name && known.type_name == topic.type_name && known.serialization == topic.serialization
    };
    let index = topics.iter().position(is_same);
    if let Some(known) = index.and_then(|index| topics.get_mut(index)) {
        known.count = known.count.zip(topic.count).map(|(known, more)| known.saturating_add(more));
    }
    index.unwrap_or_else(|| {
        topics.push(topic);
        topics.len() - 1
    })
}

/// Whether the file is compressed as a whole.
fn is_packed(path: &Path) -> Result<bool, Error> {
    let attributes = std::fs::metadata(path).map_err(Error::io("open", path))?;
    Ok(attributes.is_file() && unpack::is_zstd(&head(path)?))
}

/// The first bytes of a file.
fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::with_capacity(16);
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    file.take(16).read_to_end(&mut head).map_err(Error::io("read", path))?;
    Ok(head)
}

enum Kind {
    Mcap,
    Sqlite,
}

/// Detects the storage from the first bytes, because file names are often wrong. `content`: path of the decompressed bytes;
/// `path` is for messages.
fn detect(path: &Path, content: &Path) -> Result<Kind, Error> {
    let attributes = std::fs::metadata(content).map_err(Error::io("open", path))?;
    let head = if attributes.is_file() { head(content)? } else { Vec::new() };
    if head.starts_with(mcap::MAGIC) {
        return Ok(Kind::Mcap);
    }
    if head.starts_with(sqlite::MAGIC) {
        return Ok(Kind::Sqlite);
    }
    if attributes.is_file() && head.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf(), found: "a file of 0 bytes".to_owned() });
    }
    let name = path.display();
    let (found, advice) = if !attributes.is_file() {
        ("neither a file nor a folder".to_owned(), "give the path of a bag".to_owned())
    } else if head.starts_with(b"#ROSBAG") {
        let advice = format!("convert it with `rosbags-convert --src {name} --dst FOLDER`");
        ("a ROS 1 bag".to_owned(), advice)
    } else if unpack::is_zstd(&head) {
        (
            "a zstd file in a zstd file".to_owned(),
            format!("decompress it (`zstd -d {name} -o FILE`) and open the result"),
        )
    } else if head.starts_with(&[0x1f, 0x8b]) {
        ("a gzip file".to_owned(), format!("decompress it (`gunzip -k {name}`) and open the result"))
    } else {
        (format!("first bytes '{}'", head.escape_ascii()), "give the path of a .mcap or .db3 file".to_owned())
    };
    Err(Error::NotABag { path: path.to_path_buf(), expected: "an MCAP or an SQLite file", found, advice })
}
