//! A bag of many files that grows: rotation, the bound of its size, files that can be read alone.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::metadata::{self, File};
use super::writer::{BagWriter, Qos, TopicId};
use super::{Error, folder};
use vla_base::sys::disk::RESERVE;
use vla_base::sys::fs::{free_space, replace};
use vla_base::time::{Span, Stamp};

/// Bytes of a chunk: no more than one is lost when the process is killed, beside what came since the last flush.
const CHUNK: u64 = 1 << 20;
/// Bytes of a message in the file beside its data: its record, and its entry in the index.
const OVERHEAD: u64 = 47;

/// A topic of a recording.
#[derive(Clone, Debug)]
pub struct RecordedTopic {
    /// Full name.
    pub name: String,
    /// Message type, e.g. `sensor_msgs/msg/JointState`.
    pub type_name: String,
    /// `ros2msg` text of the type with its dependencies.
    pub schema: &'static str,
    /// Quality of service for a player.
    pub qos: Qos,
    /// Last different messages that every new file begins with; 0 for a topic that repeats itself. For static transforms and
    /// instructions.
    pub kept: usize,
}

/// Where a recording goes and how large it may become.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Folder of the recordings. It is made if its parent is there.
    pub folder: PathBuf,
    /// Name of the node: a recording is a folder `<node>_<UTC time>` in it.
    pub node: String,
    /// Greatest size of all recordings of this node, in bytes. Above it the oldest recordings, then the oldest files of this one, are
    /// removed.
    pub max_bytes: u64,
    /// Size after which a new file begins, in bytes; at most half of `max_bytes`.
    pub max_file_bytes: u64,
    /// Time in the log after which a new file begins.
    pub max_file: Span,
}

/// A recording. [`Self::write`] opens its first file.
#[derive(Debug)]
pub struct Recording {
    options: Options,
    topics: Vec<RecordedTopic>,
    /// The folder of this recording, once a file was begun.
    run: Option<PathBuf>,
    number: u32,
    open: Option<Open>,
    finished: VecDeque<(File, u64, Vec<u64>)>,
    kept: Vec<VecDeque<Vec<u8>>>,
    removed: u64,
}

/// The file that is written.
struct Open {
    path: PathBuf,
    writer: BagWriter,
    ids: Vec<TopicId>,
    /// Messages of each topic.
    counts: Vec<u64>,
    bytes: u64,
    /// Messages since the beginning, without those that every file begins with.
    news: u64,
    start: Stamp,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("path", &self.path).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Recording {
    /// A recording of these topics. Nothing is written yet.
    pub fn new(options: Options, topics: Vec<RecordedTopic>) -> Self {
        let max_file_bytes = options.max_file_bytes.min(options.max_bytes / 2);
        let kept = topics.iter().map(|_| VecDeque::new()).collect();
        Self {
            options: Options { max_file_bytes, ..options },
            topics,
            run: None,
            number: 0,
            open: None,
            finished: VecDeque::new(),
            kept,
            removed: 0,
        }
    }

    /// The file that is being written.
    pub fn file(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.path.as_path())
    }

    /// Files and recordings that were removed for [`Options::max_bytes`].
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// Appends a serialized message of a topic (its index); begins a new file where one is due.
    ///
    /// # Errors
    /// When writing fails. The file so far stays, and the next message begins another.
    pub fn write(&mut self, topic: usize, log_time: Stamp, data: &[u8]) -> Result<(), Error> {
        let written = self.try_write(topic, log_time, data);
        if written.is_err() {
            self.abandon();
        }
        written
    }

    fn try_write(&mut self, topic: usize, log_time: Stamp, data: &[u8]) -> Result<(), Error> {
        let is_due = |open: &Open| {
            let age = (log_time - open.start).abs();
            open.news > 0
                && (open.bytes + data.len() as u64 > self.options.max_file_bytes || age > self.options.max_file)
        };
        if self.open.as_ref().is_some_and(is_due) {
            self.finish()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(log_time)?,
        };
        self.keep(topic, data);
        let written = open.write(topic, log_time, data);
        self.open = Some(open);
        written
    }

    /// Gives what was written to the system, which then has it whatever becomes of the process, and looks after the disk's space.
    ///
    /// # Errors
    /// As [`Self::write`]; [`Error::Space`] when the disk is nearly full: the recording pauses then.
    pub fn flush(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let flushed = open.writer.flush().and_then(|()| room(&self.options.folder));
        if let Err(Error::Space { .. }) = &flushed {
            self.finish().ok();
        } else if flushed.is_err() {
            self.abandon();
        }
        flushed
    }

    /// Ends the file and describes the recording in its metadata.yaml. The next message begins a new file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (file, path) = (open.file(), open.path);
        open.writer.finish()?;
        let size = std::fs::metadata(&path).map_or(open.bytes, |attributes| attributes.len());
        self.finished.push_back((file, size, open.counts));
        self.describe()
    }

    /// Leaves the file as it is, without its end.
    fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            self.finished.push_back((open.file(), open.bytes, open.counts));
        }
    }

    fn begin(&mut self, now: Stamp) -> Result<Open, Error> {
        let run = match &self.run {
            Some(run) => run.clone(),
            None => self.run.insert(folder::create(&self.options)?).clone(),
        };
        self.make_room(&run);
        room(&self.options.folder)?;
        let path = run.join(format!("{}_{}.mcap", name(&run), self.number));
        let mut writer = BagWriter::create_in_place(&path, CHUNK)?;
        self.number += 1;
        let add =
            |topic: &RecordedTopic| writer.add_topic_with_qos(&topic.name, &topic.type_name, topic.schema, topic.qos);
        let ids = self.topics.iter().map(add).collect::<Result<_, _>>()?;
        let counts = vec![0; self.topics.len()];
        let mut open = Open { path, writer, ids, counts, bytes: 0, news: 0, start: now };
        for (topic, messages) in self.kept.iter().enumerate() {
            messages.iter().try_for_each(|message| open.write(topic, now, message))?;
        }
        open.news = 0;
        self.describe_with(&open)?;
        Ok(open)
    }

    fn keep(&mut self, topic: usize, data: &[u8]) {
        let most = self.topics.get(topic).map_or(0, |topic| topic.kept);
        let Some(kept) = self.kept.get_mut(topic).filter(|_| most > 0) else { return };
        kept.retain(|known| known != data);
        kept.push_back(data.to_vec());
        if kept.len() > most {
            kept.pop_front();
        }
    }

    /// Removes what is oldest until a whole file more fits below the bound.
    fn make_room(&mut self, run: &Path) {
        let most = self.options.max_bytes.saturating_sub(self.options.max_file_bytes);
        let mut earlier = folder::earlier(&self.options, run);
        let own: u64 = self.finished.iter().map(|(_, size, _)| size).sum();
        let mut total = own + earlier.iter().map(|(_, size)| size).sum::<u64>();
        while total > most {
            let (path, size) = if let Some((path, size)) = earlier.pop_front() {
                (path, size)
            } else if let Some((file, size, _)) = self.finished.pop_front() {
                (run.join(file.name), size)
            } else {
                return;
            };
            total -= size;
            self.removed += 1;
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match removed {
                Ok(()) => tracing::info!("removed {}: recordings are above record.max_bytes", path.display()),
                Err(error) => tracing::warn!("cannot remove {}: {error}", path.display()),
            }
        }
    }

    fn describe(&self) -> Result<(), Error> {
        self.write_metadata(None)
    }

    fn describe_with(&self, open: &Open) -> Result<(), Error> {
        self.write_metadata(Some(File { name: name(&open.path), bounds: None, count: 0 }))
    }

    /// metadata.yaml of the recording, with the file that is about to be written.
    fn write_metadata(&self, open: Option<File>) -> Result<(), Error> {
        let Some(run) = &self.run else { return Ok(()) };
        let files: Vec<File> = self.finished.iter().map(|(file, ..)| file.clone()).chain(open).collect();
        let topics = self.topics.iter().enumerate().map(|(index, topic)| metadata::Topic {
            name: &topic.name,
            type_name: &topic.type_name,
            qos: topic.qos,
            count: self.finished.iter().filter_map(|(_, _, counts)| counts.get(index)).sum(),
        });
        let bounds = files.iter().filter_map(|file| file.bounds).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let text = metadata::document(&metadata::text(topics, bounds, &files));
        Ok(replace(&run.join("metadata.yaml"), text.as_bytes())?)
    }
}

impl Open {
    /// Its entry in metadata.yaml.
    fn file(&self) -> File {
        File { name: name(&self.path), bounds: self.writer.bounds(), count: self.counts.iter().sum() }
    }

    fn write(&mut self, topic: usize, log_time: Stamp, data: &[u8]) -> Result<(), Error> {
        let Some(id) = self.ids.get(topic) else { return Ok(()) };
        self.writer.write(*id, log_time, data)?;
        self.bytes += data.len() as u64 + OVERHEAD;
        self.news += 1;
        if let Some(count) = self.counts.get_mut(topic) {
            *count += 1;
        }
        Ok(())
    }
}

/// Space for the rest of the system stays.
fn room(folder: &Path) -> Result<(), Error> {
    let free = free_space(folder).map_err(Error::io("determine the free space of", folder))?;
    if free >= RESERVE {
        return Ok(());
    }
    Err(Error::Space { folder: folder.to_path_buf(), free_mib: free >> 20, needed_mib: RESERVE >> 20 })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
