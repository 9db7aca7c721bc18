//! Where a file's messages are: from its summary when that is whole, else by reading every record once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use ::mcap::records::{ChunkIndex, Footer, Record, Statistics, op};
use bytes::Bytes;

use super::super::{Error, OnDamage};
use super::frame::{Frames, HEAD, MAGIC, frame, message_head};
use super::registry::Registry;
use super::{ADVICE, chunk, cut, damaged, parse};

/// Opcode, length and body of the footer, then the closing magic.
const TAIL: usize = HEAD + 20 + MAGIC.len();

/// A chunk, or a message outside of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unit {
    /// No message of it is earlier than this log time (ns).
    pub start: u64,
    /// Where its record begins.
    pub offset: usize,
    /// The channels of its messages, as a range of [`Index::channels`]; `None` when the file does not say.
    pub channels: Option<(usize, usize)>,
}

impl Unit {
    fn new(start: u64, offset: usize) -> Self {
        Self { start, offset, channels: None }
    }
}

/// What opening a file finds out.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub registry: Registry,
    /// Sorted by start, then place in the file.
    pub units: Vec<Unit>,
    /// The log says that the file is damaged.
    pub is_salvaged: bool,
    /// Channels of chunks: see [`Unit::channels`].
    pub channels: Vec<u16>,
    /// Messages by channel, when the file says so.
    pub counts: Option<BTreeMap<u16, u64>>,
    pub message_count: u64,
    /// First and last log time (ns); `None` without a message.
    pub bounds: Option<(u64, u64)>,
}

/// Reads the summary, or all records without a valid summary.
pub(super) fn read(path: &Path, file: &Bytes, on_damage: OnDamage) -> Result<Index, Error> {
    let mut index = match (whole(path, file), on_damage) {
        (Ok(index), _) => index,
        (Err(error), OnDamage::Refuse) => return Err(error),
        (Err(error), OnDamage::Skip) => {
            let index = salvage(path, file);
            let (bag, read) = (path.display(), index.message_count);
            tracing::warn!(%bag, "{}: the {read} messages that can be read are used", lost(&error));
            index
        }
    };
    index.units.sort_unstable();
    Ok(index)
}

/// What is wrong with a file, without the advice.
pub(super) fn lost(error: &Error) -> String {
    match error {
        Error::Truncated { what, offset, needed, available, .. } => {
            format!("the file is cut in the {what} at byte {offset}, which needs {needed} bytes and has {available}")
        }
        Error::Damaged { place, expected, found, .. } => {
            format!("the file is damaged at {place}: expected {expected}, found {found}")
        }
        error => error.to_string(),
    }
}

fn whole(path: &Path, file: &Bytes) -> Result<Index, Error> {
    let footer = footer(path, file)?;
    from_summary(path, file, &footer).or_else(|reason| {
        tracing::warn!(bag = %path.display(), reason, "no usable index: reading the whole file once");
        scan(path, file)
    })
}

/// The last record; its absence is how a recording that was cut off shows.
fn footer(path: &Path, file: &Bytes) -> Result<Footer, Error> {
    if !file.ends_with(MAGIC) || file.len() < MAGIC.len() + TAIL {
        return Err(first_cut(path, file));
    }
    let at = file.len() - TAIL;
    match frame(file, at) {
        Ok(frame) if frame.opcode == op::FOOTER && frame.body.len() == 20 => {
            match parse(path, file, op::FOOTER, frame.body)? {
                Record::Footer(footer) => Ok(footer),
                _ => Err(damaged(path, format!("byte {at}"), "a footer".to_owned(), "another record".to_owned())),
            }
        }
        _ => Err(damaged(path, format!("byte {at}"), "a footer of 20 bytes".to_owned(), "something else".to_owned())),
    }
}

/// Names the place where a file without its end stops.
fn first_cut(path: &Path, file: &Bytes) -> Error {
    match Frames::new(file, MAGIC.len()).find_map(Result::err) {
        Some(at) => cut(path, "record", at),
        None => {
            let end = file.len() as u64;
            let at = super::frame::Cut { offset: end, needed: TAIL as u64, available: 0 };
            cut(path, "end of the file (footer and closing magic)", at)
        }
    }
}

#[derive(Default)]
struct Summary {
    registry: Registry,
    chunks: BTreeMap<u64, ChunkIndex>,
    statistics: Option<Statistics>,
}

/// `Err(reason)` when the file has to be read whole instead; that reading says what is damaged, if anything is.
fn from_summary(path: &Path, file: &Bytes, footer: &Footer) -> Result<Index, String> {
    let (start, end) = (usize::try_from(footer.summary_start).unwrap_or(usize::MAX), file.len() - TAIL);
    if start == 0 {
        return Err("the file has no summary".to_owned());
    }
    if start < MAGIC.len() || start > end {
        return Err("the summary does not lie inside the file".to_owned());
    }
    // The checksum covers the summary and the footer up to the checksum itself.
    if footer.summary_crc != 0 && crc32fast::hash(&file[start..end + HEAD + 16]) != footer.summary_crc {
        return Err("the checksum of the summary is wrong".to_owned());
    }
    let summary = read_summary(path, file, start, end).map_err(|error| error.to_string())?;
    let statistics = summary.statistics.ok_or("the summary has no statistics")?;
    if summary.registry.channel_count() < statistics.channel_count as usize {
        return Err("the summary does not repeat every channel".to_owned());
    }
    if summary.chunks.len() != statistics.chunk_count as usize {
        return Err("the summary does not list every chunk".to_owned());
    }
    let (units, channels) =
        walk(file, start, &summary.chunks).ok_or("the summary's list of chunks does not fit the file")?;
    if units.is_empty() && statistics.message_count > 0 {
        return Err("the summary counts messages, and the file has none".to_owned());
    }
    let counts = statistics.channel_message_counts;
    let whole = counts.values().fold(0u64, |sum, count| sum.saturating_add(*count)) == statistics.message_count;
    Ok(Index {
        registry: summary.registry,
        units,
        channels,
        is_salvaged: false,
        counts: whole.then_some(counts),
        message_count: statistics.message_count,
        bounds: (statistics.message_count > 0).then_some((statistics.message_start_time, statistics.message_end_time)),
    })
}

fn read_summary(path: &Path, file: &Bytes, start: usize, end: usize) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    // Channels may come before their schemas.
    let mut channels = Vec::new();
    for frame in Frames::new(&file[..end], start) {
        let frame = frame.map_err(|at| cut(path, "record of the summary", at))?;
        if !matches!(frame.opcode, op::SCHEMA | op::CHANNEL | op::CHUNK_INDEX | op::STATISTICS) {
            continue;
        }
        match parse(path, file, frame.opcode, frame.body)? {
            Record::ChunkIndex(index) => {
                summary.chunks.insert(index.chunk_start_offset, index);
            }
            Record::Statistics(statistics) => summary.statistics = Some(statistics),
            record @ Record::Channel(_) => channels.push(record),
            record => summary.registry.add(record),
        }
    }
    channels.into_iter().for_each(|channel| summary.registry.add(channel));
    Ok(summary)
}

/// Finds chunks and loose messages of the data section, jumping over what the index describes so that a long
/// recording is opened without touching all of its pages. `None` when index and file disagree.
fn walk(file: &Bytes, end: usize, chunks: &BTreeMap<u64, ChunkIndex>) -> Option<(Vec<Unit>, Vec<u16>)> {
    let (mut units, mut channels) = (Vec::with_capacity(chunks.len()), Vec::new());
    let (mut at, mut used) = (MAGIC.len(), 0);
    while at < end {
        if let Some(index) = chunks.get(&(at as u64)) {
            let first = channels.len();
            channels.extend(index.message_index_offsets.keys());
            // An empty list says that there is none.
            let listed = (channels.len() > first).then_some((first, channels.len()));
            units.push(Unit { channels: listed, ..Unit::new(index.message_start_time, at) });
            let length = index.chunk_length.checked_add(index.message_index_length)?;
            at = usize::try_from(length).ok().filter(|length| *length >= HEAD)?.checked_add(at)?;
            used += 1;
            continue;
        }
        let frame = frame(&file[..end], at).ok()?;
        match frame.opcode {
            op::DATA_END => break,
            op::MESSAGE => {
                let (_, start) = message_head(&file[frame.body.clone()])?;
                units.push(Unit::new(start, at));
            }
            0 | op::FOOTER | op::CHUNK | op::CHUNK_INDEX | op::STATISTICS => return None,
            _ => {}
        }
        at = frame.body.end;
    }
    (at <= end && used == chunks.len()).then_some((units, channels))
}

/// Reads every record once, for a file without a summary.
fn scan(path: &Path, file: &Bytes) -> Result<Index, Error> {
    let mut index = Index { counts: Some(BTreeMap::new()), ..Index::default() };
    let end = file.len() - TAIL;
    let mut at = MAGIC.len();
    while at < end {
        let frame = frame(&file[..end], at).map_err(|at| cut(path, "record", at))?;
        match frame.opcode {
            op::DATA_END => break,
            op::CHUNK => {
                let start = chunk::header(path, file, &frame)?.message_start_time;
                index.units.push(Unit::new(start, at));
                let data = chunk::contents(path, file, &frame)?;
                for inner in Frames::new(&data, 0) {
                    let inner = inner.map_err(|cut| in_chunk(path, at, &cut))?;
                    index.note(path, &data, inner.opcode, inner.body)?;
                }
            }
            op::MESSAGE => {
                if let Some((_, start)) = message_head(&file[frame.body.clone()]) {
                    index.units.push(Unit::new(start, at));
                }
                index.note(path, file, frame.opcode, frame.body.clone())?;
            }
            opcode => index.note(path, file, opcode, frame.body.clone())?,
        }
        at = frame.body.end;
    }
    Ok(index)
}

/// Reads every record up to the damage: a cut record ends the file, a damaged chunk gives the records before its damage.
fn salvage(path: &Path, file: &Bytes) -> Index {
    let mut index = Index { counts: Some(BTreeMap::new()), is_salvaged: true, ..Index::default() };
    let mut at = MAGIC.len();
    while at < file.len() {
        let frame = frame(file, at);
        let (opcode, end) = match &frame {
            Ok(frame) => (frame.opcode, frame.body.end),
            Err(_) => (file.get(at).copied().unwrap_or_default(), file.len()),
        };
        match (opcode, &frame) {
            (op::DATA_END, _) => break,
            (op::CHUNK, _) => index.salvage_chunk(path, at, &chunk::salvaged(path, file, at).0),
            // One that cannot be read is left out.
            (op::MESSAGE, Ok(frame)) => {
                let start = message_head(&file[frame.body.clone()]).map(|(_, start)| start);
                let noted = index.note(path, file, op::MESSAGE, frame.body.clone());
                index.units.extend(start.filter(|_| noted.is_ok()).map(|start| Unit::new(start, at)));
            }
            (opcode, Ok(frame)) if index.note(path, file, opcode, frame.body.clone()).is_ok() => {}
            _ => break,
        }
        at = end;
    }
    index
}

impl Index {
    /// Adds the chunk at `offset` with the messages of its `data` that can be read, if there is one.
    fn salvage_chunk(&mut self, path: &Path, offset: usize, data: &Bytes) {
        let mut start = None::<u64>;
        for frame in Frames::new(data, 0).map_while(Result::ok) {
            let time = data.get(frame.body.clone()).and_then(message_head).filter(|_| frame.opcode == op::MESSAGE);
            if self.note(path, data, frame.opcode, frame.body).is_err() {
                break;
            }
            start = time.map(|(_, time)| start.map_or(time, |start| start.min(time))).or(start);
        }
        self.units.extend(start.map(|start| Unit::new(start, offset)));
    }

    fn note(&mut self, path: &Path, bytes: &[u8], opcode: u8, body: Range<usize>) -> Result<(), Error> {
        match opcode {
            op::SCHEMA | op::CHANNEL => {
                self.registry.add(parse(path, bytes, opcode, body)?);
                Ok(())
            }
            op::MESSAGE => {
                let head = bytes.get(body.clone()).and_then(message_head);
                let (channel, time) = head.ok_or_else(|| super::short_message(path, body.len()))?;
                if self.registry.topic_of(channel).is_none() {
                    return Err(super::unknown_channel(path, channel));
                }
                if let Some(counts) = &mut self.counts {
                    *counts.entry(channel).or_insert(0) += 1;
                }
                self.message_count += 1;
                let (first, last) = self.bounds.unwrap_or((time, time));
                self.bounds = Some((first.min(time), last.max(time)));
                Ok(())
            }
            0 => Err(damaged(path, "a record".to_owned(), "an opcode from 1".to_owned(), "0".to_owned())),
            _ => Ok(()),
        }
    }
}

pub(super) fn in_chunk(path: &Path, chunk: usize, cut: &super::frame::Cut) -> Error {
    Error::Damaged {
        path: path.to_path_buf(),
        place: format!("byte {} of the chunk at byte {chunk}", cut.offset),
        expected: format!("a record of {} bytes", cut.needed),
        found: format!("{} bytes to the end of the chunk", cut.available),
        advice: ADVICE.into(),
    }
}
