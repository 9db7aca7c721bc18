//! MCAP's outer grammar: one byte opcode, eight bytes length, body.

use std::ops::Range;

/// First and last bytes of every MCAP file.
pub(crate) const MAGIC: &[u8] = b"\x89MCAP0\r\n";

/// Opcode and length.
pub(super) const HEAD: usize = 9;

/// Where one record lies.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub opcode: u8,
    /// The record's body, in bytes of the buffer it was read from.
    pub body: Range<usize>,
}

/// A record that needs more bytes than there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub offset: u64,
    pub needed: u64,
    pub available: u64,
}

/// The record that begins at `at`.
pub(super) fn frame(bytes: &[u8], at: usize) -> Result<Frame, Cut> {
    let rest = bytes.get(at..).unwrap_or_default();
    let cut = |needed| Cut { offset: at as u64, needed, available: rest.len() as u64 };
    let Some((&opcode, length)) =
        rest.split_first().and_then(|(opcode, rest)| Some((opcode, rest.first_chunk::<8>()?)))
    else {
        return Err(cut(HEAD as u64));
    };
    let needed = u64::from_le_bytes(*length).saturating_add(HEAD as u64);
    if needed > rest.len() as u64 {
        return Err(cut(needed));
    }
    let end = usize::try_from(needed).ok().and_then(|needed| at.checked_add(needed)).ok_or_else(|| cut(needed))?;
    Ok(Frame { opcode, body: at + HEAD..end })
}

/// Records one after the other, from `at` to the end of the buffer; stops after a cut one.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let frame = frame(self.bytes, self.at);
        self.at = frame.as_ref().map_or(self.bytes.len(), |frame| frame.body.end);
        Some(frame)
    }
}

/// The fixed part of a Message record: channel, sequence, log time, publish time.
pub(super) const MESSAGE_HEAD: usize = 22;

/// Channel and log time (ns) of a Message record's body; `None` when it is too short.
pub(super) fn message_head(body: &[u8]) -> Option<(u16, u64)> {
    let head: &[u8; MESSAGE_HEAD] = body.first_chunk()?;
    let channel = u16::from_le_bytes(*head.first_chunk()?);
    let log_time = u64::from_le_bytes(*head.get(6..)?.first_chunk()?);
    Some((channel, log_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_near_the_end_of_u64_is_a_cut_record() {
        let mut bytes = vec![5];
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(frame(&bytes, 0).expect_err("cut"), Cut { offset: 0, needed: u64::MAX, available: 9 });
        assert_eq!(frame(&bytes, 4).expect_err("cut"), Cut { offset: 4, needed: 9, available: 5 });
        assert_eq!(frame(&bytes, 400).expect_err("cut").available, 0);
        assert_eq!(Frames::new(&bytes, 0).count(), 1);
    }
}
