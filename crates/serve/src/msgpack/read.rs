//! Reads a message into a tree of bounded depth and size.

use super::Value;
use crate::Refusal;

/// Deepest nesting; an observation has five levels.
const MAX_DEPTH: usize = 16;
/// Most values of a message, keys included. An observation has a few dozen.
const MAX_VALUES: usize = 1 << 14;

/// Reads the value that `message` consists of.
///
/// # Errors
/// [`Refusal::Message`] for what is no msgpack, is nested too deeply, has too many values, or has bytes after its end.
pub(crate) fn parse(message: &[u8]) -> Result<Value<'_>, Refusal> {
    let mut reader = Reader { rest: message, values: MAX_VALUES };
    let value = reader.value(MAX_DEPTH)?;
    match reader.rest.len() {
        0 => Ok(value),
        more => Err(refused(format!("expected one msgpack value, found {more} bytes after it"))),
    }
}

fn refused(reason: String) -> Refusal {
    Refusal::Message(reason)
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Values that may follow.
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Refusal> {
        self.values = self.values.checked_sub(1).ok_or_else(|| {
            refused(format!(
                "expected a message of at most {MAX_VALUES} values, found more; send arrays as NumPy arrays"
            ))
        })?;
        let marker = self.number::<1>()? as u8;
        Ok(match marker {
            0x00..=0x7f => Value::Integer(i64::from(marker)),
            0xe0..=0xff => Value::Integer(i64::from(marker.cast_signed())),
            0x80..=0x8f => self.map(u64::from(marker & 0x0f), depth)?,
            0x90..=0x9f => self.array(u64::from(marker & 0x0f), depth)?,
            0xa0..=0xbf => self.text(u64::from(marker & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4 => self.sized::<1>()?,
            0xc5 => self.sized::<2>()?,
            0xc6 => self.sized::<4>()?,
            0xca => Value::Float(f64::from(f32::from_bits(self.number::<4>()? as u32))),
            0xcb => Value::Float(f64::from_bits(self.number::<8>()?)),
            0xcc => Value::Integer(self.number::<1>()? as i64),
            0xcd => Value::Integer(self.number::<2>()? as i64),
            0xce => Value::Integer(self.number::<4>()? as i64),
            0xcf => {
                let value = self.number::<8>()?;
                // Beyond i64 only floating point holds it.
                i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer)
            }
            0xd0 => Value::Integer(i64::from((self.number::<1>()? as u8).cast_signed())),
            0xd1 => Value::Integer(i64::from((self.number::<2>()? as u16).cast_signed())),
            0xd2 => Value::Integer(i64::from((self.number::<4>()? as u32).cast_signed())),
            0xd3 => Value::Integer(self.number::<8>()?.cast_signed()),
            0xd9 => self.long_text::<1>()?,
            0xda => self.long_text::<2>()?,
            0xdb => self.long_text::<4>()?,
            0xdc => self.long_array::<2>(depth)?,
            0xdd => self.long_array::<4>(depth)?,
            0xde => self.long_map::<2>(depth)?,
            0xdf => self.long_map::<4>(depth)?,
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
                return Err(refused(format!(
                    "expected msgpack without extension types, found the byte 0x{marker:02x}"
                )));
            }
        })
    }

    /// A big-endian number.
    fn number<const N: usize>(&mut self) -> Result<u64, Refusal> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Refusal> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| {
            refused(format!("expected {length} more bytes of msgpack, found {}: the message is cut", self.rest.len()))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn sized<const N: usize>(&mut self) -> Result<Value<'a>, Refusal> {
        let length = self.number::<N>()?;
        Ok(Value::Bytes(self.take(length)?))
    }

    fn text(&mut self, length: u64) -> Result<Value<'a>, Refusal> {
        let bytes = self.take(length)?;
        // Old packers write bytes as text.
        Ok(std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text))
    }

    fn long_text<const N: usize>(&mut self) -> Result<Value<'a>, Refusal> {
        let length = self.number::<N>()?;
        self.text(length)
    }

    fn long_array<const N: usize>(&mut self, depth: usize) -> Result<Value<'a>, Refusal> {
        let length = self.number::<N>()?;
        self.array(length, depth)
    }

    fn long_map<const N: usize>(&mut self, depth: usize) -> Result<Value<'a>, Refusal> {
        let length = self.number::<N>()?;
        self.map(length, depth)
    }

    fn array(&mut self, length: u64, depth: usize) -> Result<Value<'a>, Refusal> {
        let (length, depth) = (self.length(length)?, deeper(depth)?);
        let mut values = Vec::with_capacity(length);
        for _ in 0..length {
            values.push(self.value(depth)?);
        }
        Ok(Value::Array(values))
    }

    fn map(&mut self, length: u64, depth: usize) -> Result<Value<'a>, Refusal> {
        let (length, depth) = (self.length(length.saturating_mul(2))? / 2, deeper(depth)?);
        let mut entries = Vec::with_capacity(length);
        for _ in 0..length {
            let key = self.value(depth)?;
            entries.push((key, self.value(depth)?));
        }
        Ok(Value::Map(entries))
    }

    /// A number of values to come, each of at least one byte: checked before memory is taken for them.
    fn length(&self, length: u64) -> Result<usize, Refusal> {
        let most = self.values.min(self.rest.len());
        usize::try_from(length).ok().filter(|length| *length <= most).ok_or_else(|| {
            refused(format!("expected at most {most} more msgpack values, found a list or dictionary of {length}"))
        })
    }
}

fn deeper(depth: usize) -> Result<usize, Refusal> {
    let too_deep = || refused(format!("expected msgpack of at most {MAX_DEPTH} levels, found a deeper one"));
    depth.checked_sub(1).ok_or_else(too_deep)
}

#[cfg(test)]
mod tests;
