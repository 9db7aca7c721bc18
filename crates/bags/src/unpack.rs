//! Decompression with a known bound: no buffer grows on the word of a header alone.

use std::io::{self, Read};

/// The most bytes that one chunk or message may unpack to.
pub(super) const MAX_UNPACKED: u64 = 512 << 20;

/// What begins every zstd frame. CDR begins with 0 and a small number, so the two cannot be confused.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

pub(super) fn is_zstd(data: &[u8]) -> bool {
    data.starts_with(&ZSTD_MAGIC)
}

/// Why something could not be unpacked.
#[derive(Debug)]
pub(super) enum Unpack {
    /// Not `zstd` or `lz4`.
    Unknown,
    /// Unpacks to more than the given size.
    TooLarge,
    /// The packed bytes are wrong.
    Corrupt(io::Error),
}

/// Unpacks `packed` by `compression` (MCAP's names) into at most `limit` bytes.
pub(super) fn unpack(compression: &str, packed: &[u8], limit: u64) -> Result<Vec<u8>, Unpack> {
    match compression {
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(Unpack::Corrupt)?;
            read_at_most(decoder, packed.len(), limit)
        }
        "lz4" => read_at_most(lz4::Decoder::new(packed).map_err(Unpack::Corrupt)?, packed.len(), limit),
        _ => Err(Unpack::Unknown),
    }
}

/// Unpacks as far as the packed bytes are whole, into at most `limit` bytes; nothing by an unknown compression.
pub(super) fn salvage(compression: &str, packed: &[u8], limit: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let read = |decoder: Option<&mut dyn Read>, out: &mut Vec<u8>| {
        // What was decoded before the error stays in the buffer.
        decoder.and_then(|decoder| decoder.take(limit).read_to_end(out).ok())
    };
    match compression {
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).ok();
            read(decoder.as_mut().map(|decoder| decoder as &mut dyn Read), &mut out);
        }
        "lz4" => {
            let mut decoder = lz4::Decoder::new(packed).ok();
            read(decoder.as_mut().map(|decoder| decoder as &mut dyn Read), &mut out);
        }
        _ => {}
    }
    out
}

/// The buffer starts at a few times the packed size and grows only with bytes that were really there.
fn read_at_most(decoder: impl Read, packed: usize, limit: u64) -> Result<Vec<u8>, Unpack> {
    let likely = (packed as u64).saturating_mul(4).clamp(256, 4 << 20).min(limit.saturating_add(1));
    let mut out = Vec::with_capacity(usize::try_from(likely).unwrap_or(0));
    decoder.take(limit.saturating_add(1)).read_to_end(&mut out).map_err(Unpack::Corrupt)?;
    if out.len() as u64 > limit {
        return Err(Unpack::TooLarge);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd_of(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).expect("packed")
    }

    #[test]
    fn a_small_frame_that_unpacks_to_a_gigabyte_stops_at_the_limit() {
        let bomb = zstd_of(&vec![0u8; 64 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert!(matches!(unpack("zstd", &bomb, 1000), Err(Unpack::TooLarge)));
        assert_eq!(unpack("zstd", &bomb, 64 << 20).expect("it fits").len(), 64 << 20);
    }

    #[test]
    fn half_a_frame_is_salvaged_up_to_the_cut() {
        let data: Vec<u8> =
            (0..1_000_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
        let packed = zstd_of(&data);
        let found = salvage("zstd", &packed[..packed.len() / 2], u64::MAX);
        assert!(found.len() > data.len() / 4 && data.starts_with(&found), "{} of {}", found.len(), data.len());
        assert_eq!(salvage("zstd", &packed, 1000), data[..1000]);
        assert_eq!(salvage("brotli", &packed, 1000), b"");
        assert_eq!(salvage("lz4", &packed, 1000), b"");
    }

    #[test]
    fn half_a_frame_and_an_unknown_name_are_refused() {
        let packed = zstd_of(b"some bytes that are packed");
        assert!(matches!(unpack("zstd", &packed[..packed.len() / 2], 1000), Err(Unpack::Corrupt(_))));
        assert!(matches!(unpack("lz4", &packed, 1000), Err(Unpack::Corrupt(_))));
        assert!(matches!(unpack("brotli", &packed, 1000), Err(Unpack::Unknown)));
    }
}
