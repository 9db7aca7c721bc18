//! One pass over a bag's messages: its files merged by log time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;

use super::unpack::{self, Unpack};
use super::{BagFile, BagMessage, BagReader, Error, MessagePacking, Storage};
use vla_base::time::Stamp;

type FileMessages = Box<dyn Iterator<Item = Result<BagMessage, Error>> + Send>;

/// Messages of a bag: see [`BagReader::messages`]. A file is opened when its time has come.
pub struct Messages<'a> {
    bag: &'a BagReader,
    topics: Vec<usize>,
    /// Each file that has messages left, by the time of its next one (or of its first, before it is opened).
    queue: BinaryHeap<Reverse<(Stamp, usize)>>,
    open: Vec<Option<Opened>>,
    failed: bool,
}

struct Opened {
    messages: FileMessages,
    next: Option<BagMessage>,
}

impl<'a> Messages<'a> {
    pub(super) fn new(bag: &'a BagReader, topics: &[usize]) -> Self {
        let mut queue = BinaryHeap::with_capacity(bag.files.len());
        for (file, BagFile { start, .. }) in bag.files.iter().enumerate() {
            if let Some(start) = start {
                queue.push(Reverse((*start, file)));
            }
        }
        let open = bag.files.iter().map(|_| None).collect();
        Self { bag, topics: topics.to_vec(), queue, open, failed: false }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<BagMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.step() {
            Ok(message) => message.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl Messages<'_> {
    fn step(&mut self) -> Result<Option<BagMessage>, Error> {
        while let Some(Reverse((_, file))) = self.queue.pop() {
            let message = match self.open.get_mut(file).and_then(Option::as_mut) {
                Some(opened) => opened.next.take(),
                None => None,
            };
            self.advance(file)?;
            if let Some(message) = message {
                return self.plain(message).map(Some);
            }
        }
        Ok(None)
    }

    /// Queues the file's next message. Opens the file at the first call and closes it after its last message.
    fn advance(&mut self, file: usize) -> Result<(), Error> {
        let Some(slot) = self.open.get_mut(file) else { return Ok(()) };
        let opened = match slot {
            Some(opened) => opened,
            None => slot.insert(Opened { messages: read_file(self.bag, file, &self.topics)?, next: None }),
        };
        opened.next = opened.messages.next().transpose()?;
        match &opened.next {
            Some(message) => self.queue.push(Reverse((message.log_time, file))),
            None => *slot = None,
        }
        Ok(())
    }

    /// Decompresses a message that was compressed individually.
    fn plain(&self, mut message: BagMessage) -> Result<BagMessage, Error> {
        let may_be_plain = matches!(self.bag.packing, MessagePacking::None | MessagePacking::Unknown);
        if may_be_plain && !unpack::is_zstd(&message.data) {
            return Ok(message);
        }
        let topic = self.bag.topics.get(message.topic).map_or("?", |topic| topic.name.as_str());
        let place = format!("the message of {topic} at {}", message.log_time);
        let path = self.bag.path.clone();
        let refuse = |expected, found, advice| Error::Compression {
            path: path.clone(),
            place: place.clone(),
            expected,
            found,
            advice,
        };
        if self.bag.packing == MessagePacking::None {
            let advice = "open the folder with the bag's metadata.yaml instead of the bare file";
            return Err(refuse("serialized CDR", "a zstd frame".to_owned(), advice));
        }
        match unpack::unpack("zstd", &message.data, unpack::MAX_UNPACKED) {
            Ok(data) => message.data = Bytes::from(data),
            Err(Unpack::TooLarge) => {
                let (size, limit) = ("more".to_owned(), unpack::MAX_UNPACKED);
                return Err(Error::TooLarge { path, place, size, limit });
            }
            Err(Unpack::Corrupt(error)) => {
                return Err(refuse("a zstd frame", error.to_string(), "copy the bag again"));
            }
            Err(Unpack::Unknown) => {
                return Err(refuse("a zstd frame", "another".to_owned(), "copy the bag again"));
            }
        }
        Ok(message)
    }
}

/// One file's messages of these topics (indices into the bag's).
fn read_file(bag: &BagReader, file: usize, topics: &[usize]) -> Result<FileMessages, Error> {
    let Some(file) = bag.files.get(file) else { return Ok(Box::new(std::iter::empty())) };
    let wanted: Vec<Option<usize>> = file.topics.iter().map(|topic| topics.contains(topic).then_some(*topic)).collect();
    Ok(match &file.storage {
        Storage::Mcap(file) => Box::new(file.messages(wanted)?),
        Storage::Sqlite(file) => Box::new(file.messages(&wanted)?),
    })
}
