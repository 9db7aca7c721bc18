//! Protobuf messages by their fields, so that what is not changed keeps its bytes, those of fields unknown to our schema too.

use bytes::{BufMut as _, Bytes, BytesMut};

/// One field of a message.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Its number.
    pub tag: u64,
    /// Key and value as they lie in the message.
    pub raw: Bytes,
    /// The value: of a message or text its bytes without the length.
    pub value: Bytes,
}

/// The fields of a message, in its order. Nothing is copied.
///
/// # Errors
/// What is wrong with the message.
pub(crate) fn fields(message: &Bytes) -> Result<Vec<Field>, String> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let start = at;
        let key = varint(message, &mut at)?;
        let length = match key & 7 {
            0 => {
                let value = at;
                varint(message, &mut at)?;
                let length = at - value;
                at = value;
                length
            }
            1 => 8,
            2 => usize::try_from(varint(message, &mut at)?).map_err(|error| error.to_string())?,
            5 => 4,
            kind => return Err(format!("a field of the unknown kind {kind} at byte {start}")),
        };
        let end = at.checked_add(length).filter(|end| *end <= message.len());
        let end = end.ok_or_else(|| format!("a field at byte {start} that ends beyond its message"))?;
        fields.push(Field { tag: key >> 3, raw: message.slice(start..end), value: message.slice(at..end) });
        at = end;
    }
    Ok(fields)
}

fn varint(message: &Bytes, at: &mut usize) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.get(*at).ok_or("a number that ends beyond its message")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits".to_owned())
}

fn put_varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8(value.to_le_bytes()[0] & 0x7f | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value.to_le_bytes()[0]);
}

/// Key and length in front of a message or text of `length` bytes.
pub(crate) fn prefix(tag: u64, length: usize) -> Bytes {
    let mut buffer = BytesMut::new();
    put_varint(&mut buffer, tag << 3 | 2);
    put_varint(&mut buffer, length as u64);
    buffer.freeze()
}

/// A whole field with a message or text.
pub(crate) fn field(tag: u64, value: &[u8]) -> Bytes {
    let mut buffer = BytesMut::from(prefix(tag, value.len()));
    buffer.put_slice(value);
    buffer.freeze()
}

/// A whole field with a number that is not negative.
pub(crate) fn number(tag: u64, value: u64) -> Bytes {
    let mut buffer = BytesMut::new();
    put_varint(&mut buffer, tag << 3);
    put_varint(&mut buffer, value);
    buffer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_fields() {
        let message: Bytes =
            [number(1, 8), field(2, b"vla"), number(900, 1 << 40), field(7, &[0; 300])].concat().into();
        let found = fields(&message).expect("whole");
        assert_eq!(found.iter().map(|field| field.tag).collect::<Vec<_>>(), [1, 2, 900, 7]);
        assert_eq!(found.iter().map(|field| field.raw.clone()).collect::<Vec<_>>().concat(), message);
        assert_eq!((found[1].value.as_ref(), found[3].value.len()), (b"vla".as_slice(), 300));
    }

    #[test]
    fn cut_and_endless_messages_are_refused() {
        for message in [
            &[0x0a][..],
            &[0x0a, 5, 0],
            &[0x09, 1],
            &[0x08, 0x80],
            &[0x0b],
            &[0xff; 11],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert!(fields(&Bytes::copy_from_slice(message)).is_err(), "{message:x?}");
        }
    }
}
