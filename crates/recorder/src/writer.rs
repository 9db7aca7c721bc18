//! MCAP as rosbag2 writes it: profile `ros2`, schemas as `ros2msg`, messages as CDR, QoS with every channel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ::mcap::records::{MessageHeader, Metadata};
use ::mcap::{Compression, WriteOptions, Writer};

use super::{Error, metadata};
use vla_base::sys::fs::{Replacement, create_new};
use vla_base::time::Stamp;

/// Quality of service that a topic's publisher offered, kept in the bag so that a player offers the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qos {
    /// Reliable, else best effort.
    pub reliable: bool,
    /// Transient local (late subscribers get the last messages), else volatile.
    pub transient_local: bool,
    /// Messages kept (history is keep last).
    pub depth: u32,
}

impl Qos {
    /// ROS 2's default: reliable, volatile, depth 10.
    pub const RELIABLE: Self = Self { reliable: true, transient_local: false, depth: 10 };
    /// SensorDataQoS: best effort, volatile, depth 5.
    pub const SENSOR_DATA: Self = Self { reliable: false, transient_local: false, depth: 5 };
    /// A latched value: reliable, transient local, depth 1.
    pub const LATCHED: Self = Self { reliable: true, transient_local: true, depth: 1 };

    /// rosbag2's YAML. Policies as numbers (`rmw`'s enums), which Humble reads, and Jazzy reads in bags whose
    /// metadata is of a version before 9; durations are `RMW_DURATION_INFINITE`.
    pub(crate) fn yaml(self) -> String {
        let (reliability, durability) = (if self.reliable { 1 } else { 2 }, if self.transient_local { 1 } else { 2 });
        let forever = "    sec: 9223372036\n    nsec: 854775807\n";
        format!(
            "- history: 1\n  depth: {}\n  reliability: {reliability}\n  durability: {durability}\n  deadline:\n{forever}  \
             lifespan:\n{forever}  liveliness: 1\n  liveliness_lease_duration:\n{forever}  \
             avoid_ros_namespace_conventions: false",
            self.depth
        )
    }
}

/// Names a topic of one [`BagWriter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(u16);

/// Writes one MCAP file, first under a temporary name beside it: [`finish`](Self::finish) puts the file at its name, and a writer
/// dropped before leaves nothing behind. A file of a [`Recording`](super::Recording) is at its name from the beginning.
///
/// The bytes depend on the calls alone (not on time, threads or the file's name).
pub struct BagWriter {
    path: PathBuf,
    /// `None` only while being dropped or finished.
    writer: Option<Writer<BufWriter<Sink>>>,
    topics: BTreeMap<u16, Written>,
    bounds: Option<(u64, u64)>,
}

/// Where the bytes go.
enum Sink {
    /// To a temporary name, until the file is complete.
    Replacement(Replacement),
    /// To their place: what is there so far can be read after the process was killed.
    InPlace(File),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Replacement(file) => file.write(bytes),
            Self::InPlace(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Replacement(file) => file.flush(),
            Self::InPlace(file) => file.flush(),
        }
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Replacement(file) => file.seek(to),
            Self::InPlace(file) => file.seek(to),
        }
    }
}

struct Written {
    name: String,
    type_name: String,
    qos: Qos,
    count: u64,
}

impl BagWriter {
    /// Creates a bag that replaces `path` (usually ending in `.mcap`) when it is complete.
    ///
    /// # Errors
    ///
    /// [`Error::Output`] when the folder does not exist or cannot be written, or `path` is no name for a file.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let sink = Sink::Replacement(Replacement::create(path)?);
        Self::start(path, sink, WriteOptions::new().compression(Some(Compression::Zstd)))
    }

    /// Creates a new bag that is at its name from the beginning, in chunks of `chunk` bytes that are not compressed.
    pub(crate) fn create_in_place(path: &Path, chunk: u64) -> Result<Self, Error> {
        let sink = Sink::InPlace(create_new(path)?);
        Self::start(path, sink, WriteOptions::new().compression(None).chunk_size(Some(chunk)))
    }

    fn start(path: &Path, sink: Sink, options: WriteOptions) -> Result<Self, Error> {
        let mut bag = Self { path: path.to_path_buf(), writer: None, topics: BTreeMap::new(), bounds: None };
        let options = options
            .profile("ros2")
            .library(concat!("vla_trt ", env!("CARGO_PKG_VERSION")))
            // On the calling thread: packed bytes that do not depend on the number of processors.
            .compression_threads(0);
        bag.writer = Some(options.create(BufWriter::new(sink)).map_err(write_failed(&bag.path))?);
        Ok(bag)
    }

    /// Ends the chunk and gives everything to the system: it can be read from now on, whatever becomes of the process.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        self.writer()?.flush().map_err(write_failed(&path))
    }

    /// First and last log time (ns).
    pub(crate) fn bounds(&self) -> Option<(u64, u64)> {
        self.bounds
    }

    /// Adds a topic with ROS 2's default QoS. `schema` is the type's `ros2msg` text with its dependencies.
    ///
    /// # Errors
    ///
    /// When writing fails.
    pub fn add_topic(&mut self, name: &str, type_name: &str, schema: &str) -> Result<TopicId, Error> {
        self.add_topic_with_qos(name, type_name, schema, Qos::RELIABLE)
    }

    /// [`add_topic`](Self::add_topic), saying what QoS the topic had.
    ///
    /// # Errors
    ///
    /// When writing fails, or the topic was added with another type.
    pub fn add_topic_with_qos(
        &mut self,
        name: &str,
        type_name: &str,
        schema: &str,
        qos: Qos,
    ) -> Result<TopicId, Error> {
        let path = self.path.clone();
        if let Some(known) = self.topics.values().find(|topic| topic.name == name && topic.type_name != type_name) {
            let (topic, first, second) = (name.to_owned(), known.type_name.clone(), type_name.to_owned());
            return Err(Error::ConflictingTypes { path, topic, first, second });
        }
        let failed = write_failed(&path);
        let metadata = BTreeMap::from([("offered_qos_profiles".to_owned(), qos.yaml())]);
        let writer = self.writer()?;
        let schema = writer.add_schema(type_name, "ros2msg", schema.as_bytes()).map_err(failed)?;
        let id = writer.add_channel(schema, name, "cdr", &metadata).map_err(failed)?;
        let topic = Written { name: name.to_owned(), type_name: type_name.to_owned(), qos, count: 0 };
        self.topics.entry(id).or_insert(topic);
        Ok(TopicId(id))
    }

    /// Appends a serialized message (with its CDR encapsulation header). Its publish time is its log time.
    ///
    /// # Errors
    ///
    /// When writing fails, or the log time is before the epoch.
    pub fn write(&mut self, topic: TopicId, log_time: Stamp, data: &[u8]) -> Result<(), Error> {
        let known = self.topics.get(&topic.0);
        let time = u64::try_from(log_time.nanos()).map_err(|_negative| Error::LogTime {
            path: self.path.clone(),
            topic: known.map_or_else(String::new, |topic| topic.name.clone()),
            nanos: log_time.nanos(),
        })?;
        // MCAP's 32 bits wrap around, as recorders do.
        let sequence = known.map_or(0, |topic| topic.count as u32);
        let header = MessageHeader { channel_id: topic.0, sequence, log_time: time, publish_time: time };
        let path = self.path.clone();
        self.writer()?.write_to_known_channel(&header, data).map_err(write_failed(&path))?;
        if let Some(topic) = self.topics.get_mut(&topic.0) {
            topic.count += 1;
        }
        let (first, last) = self.bounds.unwrap_or((time, time));
        self.bounds = Some((first.min(time), last.max(time)));
        Ok(())
    }

    /// Writes the index, brings the file to the disk and puts it at its name.
    ///
    /// # Errors
    ///
    /// When writing fails (a full disk, most often); nothing is left behind then.
    pub fn finish(mut self) -> Result<(), Error> {
        let record = Metadata {
            name: "rosbag2".to_owned(),
            metadata: BTreeMap::from([("serialized_metadata".to_owned(), self.description())]),
        };
        let failed = write_failed(&self.path);
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.write_metadata(&record).map_err(failed)?;
        writer.finish().map_err(failed)?;
        let io = |source| Error::Io { doing: "write", path: self.path.clone(), source };
        match writer.into_inner().into_inner().map_err(|error| io(error.into_error()))? {
            Sink::Replacement(file) => Ok(file.commit()?),
            Sink::InPlace(file) => file.sync_all().map_err(io),
        }
    }

    fn description(&self) -> String {
        let topics = self.topics.values();
        let topics = topics.map(|Written { name, type_name, qos, count }| metadata::Topic {
            name,
            type_name,
            qos: *qos,
            count: *count,
        });
        metadata::text(topics, self.bounds, &[])
    }

    fn writer(&mut self) -> Result<&mut Writer<BufWriter<Sink>>, Error> {
        self.writer.as_mut().ok_or_else(|| Error::Io {
            doing: "write",
            path: self.path.clone(),
            source: std::io::Error::other("the bag was finished before"),
        })
    }
}

impl Drop for BagWriter {
    fn drop(&mut self) {
        // Without the index that dropping the library's writer would still write.
        if let Some(writer) = self.writer.take() {
            drop(writer.into_inner());
        }
    }
}

/// For `map_err` on the library's results.
fn write_failed(path: &Path) -> impl Fn(::mcap::McapError) -> Error + Copy + '_ {
    move |source| Error::Write { path: path.to_path_buf(), source: Box::new(source) }
}
