//! Reads plain CDR in place.

use super::{HEADER, Order};
use crate::error::{Error, hex};
use crate::header::HeaderView;
use vla_base::time::{Span, Stamp};

/// Reads one message front to back. What it returns borrows from the message; nothing is allocated but errors.
///
/// Each method takes the name of the field that it reads, for the error.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    type_name: &'a str,
    /// The message without its encapsulation header.
    body: &'a [u8],
    at: usize,
    order: Order,
}

impl<'a> Reader<'a> {
    /// Starts behind the encapsulation header of `bytes`. `type_name` is for errors.
    ///
    /// # Errors
    /// [`Error::Encapsulation`] for anything but plain CDR.
    pub fn new(type_name: &'a str, bytes: &'a [u8]) -> Result<Self, Error> {
        let refused = |found| Error::Encapsulation { message: type_name.to_owned(), found };
        let Some((header, body)) = bytes.split_at_checked(HEADER) else {
            return Err(refused(format!("of {} bytes", bytes.len())));
        };
        let order = match header {
            [0, 0, ..] => Order::Big,
            [0, 1, ..] => Order::Little,
            _ => return Err(refused(hex(header))),
        };
        Ok(Self { type_name, body, at: 0, order })
    }

    /// The message's type, for errors that are found further up.
    pub fn type_name(&self) -> &'a str {
        self.type_name
    }

    /// Bytes behind the last field that was read: those of the next ones, or what the sender left there.
    pub fn left(&self) -> usize {
        self.body.len() - self.at
    }

    fn truncated(&self, field: &'static str, start: usize, needed: usize) -> Error {
        Error::Truncated {
            message: self.type_name.to_owned(),
            field,
            offset: HEADER + start,
            needed,
            left: self.body.len().saturating_sub(start),
        }
    }

    /// `size` bytes from the next multiple of `align` on.
    fn take(&mut self, field: &'static str, align: usize, size: usize) -> Result<&'a [u8], Error> {
        let start = self.at.next_multiple_of(align);
        let end = start.saturating_add(size);
        let found = self.body.get(start..end).ok_or_else(|| self.truncated(field, start, size))?;
        self.at = end;
        Ok(found)
    }

    /// A primitive of `N` bytes, aligned to `N`, in little-endian order.
    fn primitive<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let start = self.at.next_multiple_of(N);
        let tail = self.body.get(start..).unwrap_or_default();
        let mut found = *tail.first_chunk::<N>().ok_or_else(|| self.truncated(field, start, N))?;
        self.at = start + N;
        if self.order == Order::Big {
            found.reverse();
        }
        Ok(found)
    }

    /// `uint8`, `byte` or `char`.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Error> {
        self.primitive(field).map(u8::from_le_bytes)
    }

    /// `uint32`.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.primitive(field).map(u32::from_le_bytes)
    }

    /// `int32`.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, Error> {
        self.primitive(field).map(i32::from_le_bytes)
    }

    /// `uint64`.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Error> {
        self.primitive(field).map(u64::from_le_bytes)
    }

    /// `float32`.
    pub fn f32(&mut self, field: &'static str) -> Result<f32, Error> {
        self.primitive(field).map(f32::from_le_bytes)
    }

    /// `float64`.
    pub fn f64(&mut self, field: &'static str) -> Result<f64, Error> {
        self.primitive(field).map(f64::from_le_bytes)
    }

    /// `string`, without its terminator. A missing terminator and a length of 0 are taken as Fast CDR takes them.
    ///
    /// # Errors
    /// [`Error::Text`] when it is not UTF-8, [`Error::Truncated`] when its length exceeds the message.
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, Error> {
        let length = self.u32(field)? as usize;
        let bytes = self.take(field, 1, length)?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        std::str::from_utf8(bytes).map_err(|source| Error::Text { message: self.type_name.to_owned(), field, source })
    }

    /// Length of a sequence whose elements take `element` bytes at least.
    ///
    /// # Errors
    /// [`Error::Sequence`] when so many cannot follow; a `Vec` of that capacity is therefore in proportion to the
    /// message.
    pub fn length(&mut self, field: &'static str, element: usize) -> Result<usize, Error> {
        let count = self.u32(field)? as usize;
        let left = self.left();
        if count.checked_mul(element).is_some_and(|needed| needed <= left) {
            Ok(count)
        } else {
            Err(Error::Sequence { message: self.type_name.to_owned(), field, count, element, left })
        }
    }

    /// `uint8[]`, borrowed.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], Error> {
        let count = self.length(field, 1)?;
        self.take(field, 1, count)
    }

    /// `float64[]`, borrowed.
    pub fn doubles(&mut self, field: &'static str) -> Result<Doubles<'a>, Error> {
        let count = self.length(field, 8)?;
        // No element, no padding before it.
        let bytes = if count == 0 { &[] } else { self.take(field, 8, count * 8)? };
        Ok(Doubles { values: bytes.as_chunks().0, order: self.order })
    }

    /// `builtin_interfaces/Time`.
    pub fn stamp(&mut self, field: &'static str) -> Result<Stamp, Error> {
        let (sec, nanosec) = (self.i32(field)?, self.u32(field)?);
        Stamp::from_parts(sec, nanosec).ok_or_else(|| Error::Nanoseconds {
            message: self.type_name.to_owned(),
            field,
            nanosec,
        })
    }

    /// `builtin_interfaces/Duration`.
    pub fn span(&mut self, field: &'static str) -> Result<Span, Error> {
        self.stamp(field).map(|stamp| Span::from_nanos(stamp.nanos()))
    }

    /// `std_msgs/Header`.
    pub fn header(&mut self) -> Result<HeaderView<'a>, Error> {
        Ok(HeaderView { stamp: self.stamp("header.stamp")?, frame_id: self.string("header.frame_id")? })
    }
}

/// A borrowed `float64[]`.
#[derive(Clone, Copy, Debug)]
pub struct Doubles<'a> {
    values: &'a [[u8; 8]],
    order: Order,
}

impl<'a> Doubles<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Element `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<f64> {
        self.values.get(index).map(|&bytes| value(bytes, self.order))
    }

    /// The elements in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f64> + Clone + use<'a> {
        let order = self.order;
        self.values.iter().map(move |&bytes| value(bytes, order))
    }
}

fn value(bytes: [u8; 8], order: Order) -> f64 {
    match order {
        Order::Little => f64::from_le_bytes(bytes),
        Order::Big => f64::from_be_bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::Writer;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new("test/Type", bytes).expect("plain CDR")
    }

    #[test]
    fn anything_but_plain_cdr_is_refused_with_its_first_bytes() {
        for (bytes, found) in [(&[][..], "of 0 bytes"), (&[0, 1, 0], "of 3 bytes"), (&[0, 7, 0, 0, 9], "00 07 00 00")] {
            let error = Reader::new("test/Type", bytes).expect_err("refused");
            assert!(error.to_string().starts_with(&format!("test/Type: encapsulation {found}, expected")), "{error}");
        }
    }

    #[test]
    fn both_byte_orders_give_the_same_values_at_the_same_alignment() {
        let write = |mut writer: Writer<'_>| {
            writer.u8(1);
            writer.u64(u64::MAX - 1);
            writer.u8(2);
            writer.f32(0.5);
            writer.string("a\u{e9}");
            writer.f64(-1.25);
            writer.u8(3);
            writer.doubles(&[1.0, f64::MIN_POSITIVE]);
            writer.i32(-7);
        };
        let (mut little, mut big) = (Vec::new(), Vec::new());
        write(Writer::new(&mut little));
        write(Writer::big_endian(&mut big));
        assert_eq!((little.len(), &little[..2], &big[..2]), (big.len(), &[0u8, 1][..], &[0u8, 0][..]));
        for bytes in [&little, &big] {
            let mut r = reader(bytes);
            assert_eq!((r.u8("a"), r.u64("b"), r.u8("c")), (Ok(1), Ok(u64::MAX - 1), Ok(2)));
            assert_eq!((r.f32("d"), r.string("e"), r.f64("f")), (Ok(0.5), Ok("a\u{e9}"), Ok(-1.25)));
            assert_eq!(r.u8("g"), Ok(3));
            let doubles = r.doubles("h").expect("two doubles");
            assert_eq!((doubles.iter().collect::<Vec<_>>(), doubles.get(2)), (vec![1.0, f64::MIN_POSITIVE], None));
            assert_eq!(r.i32("i"), Ok(-7));
        }
    }

    #[test]
    fn an_empty_double_sequence_is_followed_without_padding() {
        let mut r = reader(&[0, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
        assert!(r.doubles("empty").expect("no elements").is_empty());
        assert_eq!(r.u32("next"), Ok(7));
    }

    #[test]
    fn a_string_may_lack_its_terminator_or_have_length_zero() {
        assert_eq!(reader(&[0, 1, 0, 0, 2, 0, 0, 0, b'h', b'i']).string("s"), Ok("hi"));
        assert_eq!(reader(&[0, 1, 0, 0, 0, 0, 0, 0]).string("s"), Ok(""));
        assert_eq!(reader(&[0, 1, 0, 0, 1, 0, 0, 0, 0]).string("s"), Ok(""));
    }

    #[test]
    fn a_string_that_is_not_utf8_or_does_not_fit_is_refused_by_field() {
        let error = reader(&[0, 1, 0, 0, 2, 0, 0, 0, 0xff, 0]).string("header.frame_id").expect_err("refused");
        assert!(error.to_string().contains("`header.frame_id` is expected to be UTF-8"), "{error}");
        let error = reader(&[0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, b'h']).string("format").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "test/Type: `format` at byte 8 needs 4294967295 bytes, found 1: the message is truncated or of another type"
        );
    }

    #[test]
    fn a_sequence_length_that_does_not_fit_is_refused_with_its_numbers() {
        let error = reader(&[0, 1, 0, 0, 0, 0, 0, 0x80, 1, 2, 3]).doubles("position").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "test/Type: `position` announces 2147483648 elements of at least 8 bytes each, found 3 bytes: the message \
             is truncated or of another type"
        );
        // The length fits, the padding before the first element does not.
        let bytes = [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(reader(&bytes).doubles("position"), Err(Error::Truncated { needed: 8, left: 4, .. })));
    }

    #[test]
    fn a_second_of_nanoseconds_is_refused() {
        let error = reader(&[0, 1, 0, 0, 1, 0, 0, 0, 0, 0xca, 0x9a, 0x3b]).stamp("header.stamp").expect_err("refused");
        assert!(error.to_string().contains("`header.stamp.nanosec` is 1000000000"), "{error}");
    }
}
