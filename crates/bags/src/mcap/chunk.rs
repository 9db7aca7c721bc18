//! A chunk's records: borrowed from the mapped file when it is not packed, from one new buffer when it is.

use std::ops::Range;
use std::path::Path;

use ::mcap::records::{ChunkHeader, Record, op};
use bytes::Bytes;

use super::super::Error;
use super::super::unpack::{MAX_UNPACKED, Unpack, salvage, unpack};
use super::frame::{Frame, HEAD, frame};
use super::{cut, damaged, parse};

/// Bytes of a chunk's body before its data, without the compression's name.
const FIXED_HEAD: usize = 40;

pub(super) fn header(path: &Path, file: &[u8], frame: &Frame) -> Result<ChunkHeader, Error> {
    match parse(path, file, op::CHUNK, frame.body.clone())? {
        Record::Chunk { header, .. } => Ok(header),
        _ => Err(damaged(path, place(frame), "a chunk".to_owned(), "another record".to_owned())),
    }
}

/// The chunk's records, unpacked and checked against its size and checksum.
pub(super) fn contents(path: &Path, file: &Bytes, frame: &Frame) -> Result<Bytes, Error> {
    let header = header(path, file, frame)?;
    let wrong = |expected: String, found: String| damaged(path, place(frame), expected, found);
    // `header` has checked that the data lies inside the body.
    let start = frame.body.start.saturating_add(FIXED_HEAD + header.compression.len());
    let end = usize::try_from(header.compressed_size).ok().and_then(|size| start.checked_add(size));
    let packed = match end.filter(|end| *end <= frame.body.end) {
        Some(end) => file.slice(start..end),
        None => return Err(wrong(format!("{} bytes of data", header.compressed_size), "fewer".to_owned())),
    };
    let size = header.uncompressed_size;
    let data = if header.compression.is_empty() {
        packed
    } else if size > MAX_UNPACKED {
        return Err(too_large(path, frame, size));
    } else {
        match unpack(&header.compression, &packed, size) {
            Ok(data) => Bytes::from(data),
            Err(Unpack::TooLarge) => return Err(wrong(format!("{size} unpacked bytes"), "more".to_owned())),
            Err(Unpack::Corrupt(error)) => {
                return Err(wrong(format!("{} data", header.compression), error.to_string()));
            }
            Err(Unpack::Unknown) => return Err(unknown(path, frame, &header.compression)),
        }
    };
    if data.len() as u64 != size {
        return Err(wrong(format!("{size} unpacked bytes"), format!("{}", data.len())));
    }
    // 0: not calculated (rosbag2 writes it so by default).
    if header.uncompressed_crc != 0 {
        let found = crc32fast::hash(&data);
        if found != header.uncompressed_crc {
            return Err(wrong(format!("checksum {:08x}", header.uncompressed_crc), format!("{found:08x}")));
        }
    }
    Ok(data)
}

/// The records of the chunk at `offset`, which may be damaged or go beyond the end of the file, as far as they can be unpacked; and
/// what is wrong with it.
pub(super) fn salvaged(path: &Path, file: &Bytes, offset: usize) -> (Bytes, Option<Error>) {
    let (body, error) = match frame(file, offset) {
        Ok(frame) => match contents(path, file, &frame) {
            Ok(data) => return (data, None),
            Err(error) => (frame.body, error),
        },
        Err(at) => ((offset + HEAD).min(file.len())..file.len(), cut(path, "chunk", at)),
    };
    (unpacked(file, body), Some(error))
}

/// The beginning of a chunk's records.
fn unpacked(file: &Bytes, body: Range<usize>) -> Bytes {
    let text = |at: usize| {
        let length = file.get(at..body.end)?.first_chunk::<4>()?;
        file.get(at + 4..body.end)?.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
    };
    // start time, end time, size, checksum; then the compression's name and the size of the data
    let Some(compression) = text(body.start + FIXED_HEAD - 12).and_then(|name| std::str::from_utf8(name).ok()) else {
        return Bytes::new();
    };
    let start = body.start + FIXED_HEAD + compression.len();
    let packed = if start <= body.end { file.slice(start..body.end) } else { Bytes::new() };
    if compression.is_empty() { packed } else { Bytes::from(salvage(compression, &packed, MAX_UNPACKED)) }
}

fn place(frame: &Frame) -> String {
    format!("the chunk at byte {}", frame.body.start.saturating_sub(HEAD))
}

fn too_large(path: &Path, frame: &Frame, size: u64) -> Error {
    let size = format!("{size} bytes");
    Error::TooLarge { path: path.to_path_buf(), place: place(frame), size, limit: MAX_UNPACKED }
}

fn unknown(path: &Path, frame: &Frame, found: &str) -> Error {
    Error::Compression {
        path: path.to_path_buf(),
        place: place(frame),
        expected: "no compression, 'lz4' or 'zstd'",
        found: format!("'{found}'"),
        advice: "rewrite the file with one of these: `mcap compress --compression zstd`",
    }
}
