//! MCAP files: the mapped file is never copied; messages of chunks that are not packed are slices of it.

mod chunk;
mod frame;
mod index;
mod registry;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::mcap::records::{Record, op};
use bytes::Bytes;

use self::frame::{Cut, Frames, MESSAGE_HEAD, message_head};
use self::index::{Index, Unit};
use super::{BagMessage, Error, OnDamage, Topic};
use vla_base::time::Stamp;

pub(super) use self::frame::MAGIC;

/// What to do about a damaged file.
const ADVICE: &str = "copy the bag again, read what is left of it with --recover, or rewrite that with `mcap recover IN.mcap -o \
                      OUT.mcap`";

/// The last log time (ns) that [`Stamp`] has. Above it lie times before 1970, which MCAP does not have, as recorders write them.
const LAST: u64 = i64::MAX as u64;

/// One MCAP file, indexed.
#[derive(Debug)]
pub(super) struct McapFile {
    shared: Arc<Shared>,
    pub topics: Vec<Topic>,
    pub message_count: u64,
    /// Log time of the first and the last message.
    pub bounds: Option<(Stamp, Stamp)>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: Bytes,
    registry: registry::Registry,
    units: Vec<Unit>,
    /// Channels of chunks: see [`Unit::channels`].
    channels: Vec<u16>,
    on_damage: OnDamage,
    /// The log says that the file is damaged.
    reported: AtomicBool,
}

impl McapFile {
    /// Indexes the bytes of a file that begins with [`MAGIC`]; `path` is for messages.
    pub(super) fn open(path: &Path, file: Bytes, on_damage: OnDamage) -> Result<Self, Error> {
        let Index { registry, units, channels, is_salvaged, counts, message_count, bounds } =
            index::read(path, &file, on_damage)?;
        let bounds = match bounds {
            Some((first, last)) => {
                if last > LAST {
                    let (bag, latest) = (path.display(), last);
                    tracing::warn!(%bag, latest, "messages logged after the year 2262, or before 1970, are left out");
                }
                Some((stamp(path, first)?, stamp(path, last.min(LAST))?))
            }
            None => None,
        };
        let (registry, topics) = registry.into_topics(counts.as_ref());
        let (path, reported) = (path.to_path_buf(), AtomicBool::new(is_salvaged));
        let shared = Arc::new(Shared { path, file, registry, units, channels, on_damage, reported });
        Ok(Self { shared, topics, message_count, bounds })
    }

    /// Messages by log time, then position in the file. `wanted[i]` is the index of this file's topic `i` in
    /// [`BagMessage::topic`]; `None` leaves it out, and with it chunks that have only such topics.
    ///
    /// # Errors
    /// When the file contradicts itself about a wanted topic.
    pub(super) fn messages(&self, wanted: Vec<Option<usize>>) -> Result<McapMessages, Error> {
        self.shared.registry.judge(&self.shared.path, &|topic| is_wanted(&wanted, topic))?;
        Ok(McapMessages { shared: Arc::clone(&self.shared), wanted, next_unit: 0, ready: BinaryHeap::new() })
    }
}

fn is_wanted(wanted: &[Option<usize>], topic: usize) -> bool {
    wanted.get(topic).is_some_and(Option::is_some)
}

/// See [`McapFile::messages`].
pub(super) struct McapMessages {
    shared: Arc<Shared>,
    wanted: Vec<Option<usize>>,
    next_unit: usize,
    /// Messages of the units read so far; holds as many chunks as overlap in time.
    ready: BinaryHeap<Reverse<Ready>>,
}

struct Ready {
    /// Log time (ns), the unit's offset, the message's offset in the unit: the order.
    key: (u64, usize, usize),
    topic: usize,
    data: Bytes,
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Ready {}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ready {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Iterator for McapMessages {
    type Item = Result<BagMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let shared = Arc::clone(&self.shared);
        // A unit that begins no later than the next message may hold an earlier one.
        while let Some(unit) = shared.units.get(self.next_unit)
            && self.ready.peek().is_none_or(|Reverse(first)| unit.start <= first.key.0)
        {
            self.next_unit += 1;
            if let Err(error) = self.load(&shared, *unit) {
                return Some(Err(error));
            }
        }
        let Reverse(Ready { key, topic, data }) = self.ready.pop()?;
        Some(stamp(&shared.path, key.0).map(|log_time| BagMessage { topic, log_time, data }))
    }
}

impl McapMessages {
    /// Whether the unit may hold a message of a wanted topic.
    fn needs(&self, shared: &Shared, unit: Unit) -> bool {
        let listed = unit.channels.and_then(|(start, end)| shared.channels.get(start..end));
        let is_wanted =
            |channel: &u16| shared.registry.topic_of(*channel).is_none_or(|topic| is_wanted(&self.wanted, topic));
        listed.is_none_or(|listed| listed.iter().any(is_wanted))
    }

    fn load(&mut self, shared: &Shared, unit: Unit) -> Result<(), Error> {
        let Shared { path, file, registry, .. } = shared;
        if !self.needs(shared, unit) {
            return Ok(());
        }
        if shared.on_damage == OnDamage::Skip {
            self.salvage(shared, unit);
            return Ok(());
        }
        let frame = frame::frame(file, unit.offset).map_err(|at| cut(path, "record", at))?;
        match frame.opcode {
            op::MESSAGE => self.take(shared, unit, file, unit.offset, frame.body),
            op::CHUNK => {
                let data = chunk::contents(path, file, &frame)?;
                for frame in Frames::new(&data, 0) {
                    let frame = frame.map_err(|cut| index::in_chunk(path, unit.offset, &cut))?;
                    match frame.opcode {
                        op::MESSAGE => self.take(shared, unit, &data, frame.body.start, frame.body)?,
                        op::CHANNEL => {
                            if let Record::Channel(channel) = parse(path, &data, op::CHANNEL, frame.body)? {
                                registry.agree(path, &channel, &|topic| is_wanted(&self.wanted, topic))?;
                            }
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            found => {
                let expected = format!("a chunk (opcode {})", op::CHUNK);
                Err(damaged(path, format!("byte {}", unit.offset), expected, format!("opcode {found}")))
            }
        }
    }

    /// Messages of a unit that may be damaged, up to the first one that cannot be read.
    fn salvage(&mut self, shared: &Shared, unit: Unit) {
        let Shared { path, file, .. } = shared;
        let is_chunk = file.get(unit.offset) == Some(&op::CHUNK);
        let (data, mut error) = match is_chunk {
            true => chunk::salvaged(path, file, unit.offset),
            false => (file.clone(), None),
        };
        let frames = Frames::new(&data, if is_chunk { 0 } else { unit.offset });
        for frame in frames.take(if is_chunk { usize::MAX } else { 1 }).map_while(Result::ok) {
            if frame.opcode == op::MESSAGE
                && let Err(damage) = self.take(shared, unit, &data, frame.body.start, frame.body)
            {
                error = error.or(Some(damage));
                break;
            }
        }
        if let Some(error) = error
            && !shared.reported.swap(true, Ordering::Relaxed)
        {
            let bag = path.display();
            tracing::warn!(%bag, "{}: what can be read is used", index::lost(&error));
        }
    }

    fn take(&mut self, shared: &Shared, unit: Unit, bytes: &Bytes, at: usize, body: Range<usize>) -> Result<(), Error> {
        let head = bytes.get(body.clone()).and_then(message_head);
        let (channel, log_time) = head.ok_or_else(|| short_message(&shared.path, body.len()))?;
        let topic = shared.registry.topic_of(channel).ok_or_else(|| unknown_channel(&shared.path, channel))?;
        if log_time < unit.start {
            let place = format!("the chunk at byte {}", unit.offset);
            let expected = format!("messages from {} ns", unit.start);
            return Err(damaged(&shared.path, place, expected, format!("one of {log_time} ns")));
        }
        if let Some(topic) = self.wanted.get(topic).copied().flatten().filter(|_| log_time <= LAST) {
            let data = bytes.slice(body.start + MESSAGE_HEAD..body.end);
            self.ready.push(Reverse(Ready { key: (log_time, unit.offset, at), topic, data }));
        }
        Ok(())
    }
}

/// A record's fields. Never called for attachments, whose parser in `mcap` 0.26 panics on short ones.
fn parse<'a>(path: &Path, bytes: &'a [u8], opcode: u8, body: Range<usize>) -> Result<Record<'a>, Error> {
    let at = body.start;
    let body = bytes.get(body).unwrap_or_default();
    ::mcap::parse_record(opcode, body).map_err(|error| {
        let place = format!("the record at byte {}", at.saturating_sub(frame::HEAD));
        damaged(path, place, format!("a record of opcode {opcode}"), error.to_string())
    })
}

fn stamp(path: &Path, nanos: u64) -> Result<Stamp, Error> {
    let signed = i64::try_from(nanos).ok().map(Stamp::from_nanos);
    signed.ok_or_else(|| {
        damaged(path, "a log time".to_owned(), format!("at most {} ns", i64::MAX), format!("{nanos} ns"))
    })
}

fn damaged(path: &Path, place: String, expected: String, found: String) -> Error {
    Error::Damaged { path: path.to_path_buf(), place, expected, found, advice: ADVICE.into() }
}

fn cut(path: &Path, what: &'static str, Cut { offset, needed, available }: Cut) -> Error {
    let name = path.display();
    let advice =
        format!("--recover reads the messages before that place, `mcap recover {name} -o recovered.mcap` saves them");
    Error::Truncated { path: path.to_path_buf(), what, offset, needed, available, advice }
}

fn short_message(path: &Path, found: usize) -> Error {
    damaged(path, "a message".to_owned(), format!("at least {MESSAGE_HEAD} bytes"), format!("{found}"))
}

fn unknown_channel(path: &Path, channel: u16) -> Error {
    damaged(path, "a message".to_owned(), "a channel described before it".to_owned(), format!("channel {channel}"))
}
