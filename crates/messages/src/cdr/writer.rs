//! Writes plain CDR into a reused buffer.

use super::{HEADER, Order};
use crate::header::HeaderView;
use vla_base::time::{Span, Stamp};

/// Writes one message front to back. Padding is zero, so equal values give equal bytes.
///
/// # Panics
/// Strings and sequences of 2^32 elements or more have no CDR form.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    order: Order,
}

impl<'a> Writer<'a> {
    /// Clears `out` (its capacity is kept) and starts a little-endian message in it.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&[0, 1, 0, 0]);
        Self { out, order: Order::Little }
    }

    /// As [`Self::new`] for a big-endian message, which the readers accept too.
    pub fn big_endian(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&[0; HEADER]);
        Self { out, order: Order::Big }
    }

    fn align(&mut self, to: usize) {
        let body = self.out.len() - HEADER;
        self.out.resize(HEADER + body.next_multiple_of(to), 0);
    }

    fn primitive<const N: usize>(&mut self, mut little: [u8; N]) {
        self.align(N);
        if self.order == Order::Big {
            little.reverse();
        }
        self.out.extend_from_slice(&little);
    }

    /// `uint8`.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// `uint32`.
    pub fn u32(&mut self, value: u32) {
        self.primitive(value.to_le_bytes());
    }

    /// `int32`.
    pub fn i32(&mut self, value: i32) {
        self.primitive(value.to_le_bytes());
    }

    /// `uint64`.
    pub fn u64(&mut self, value: u64) {
        self.primitive(value.to_le_bytes());
    }

    /// `float32`.
    pub fn f32(&mut self, value: f32) {
        self.primitive(value.to_le_bytes());
    }

    /// `float64`.
    pub fn f64(&mut self, value: f64) {
        self.primitive(value.to_le_bytes());
    }

    /// Length of a sequence; its elements follow.
    pub fn length(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("a CDR sequence has fewer than 2^32 elements"));
    }

    /// `string`.
    pub fn string(&mut self, value: &str) {
        self.length(value.len() + 1);
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(0);
    }

    /// `string[]`.
    pub fn strings<S: AsRef<str>>(&mut self, values: &[S]) {
        self.length(values.len());
        for value in values {
            self.string(value.as_ref());
        }
    }

    /// `uint8[]`.
    pub fn bytes(&mut self, values: &[u8]) {
        self.length(values.len());
        self.out.extend_from_slice(values);
    }

    /// `float32[]`.
    pub fn floats(&mut self, values: &[f32]) {
        self.length(values.len());
        for &value in values {
            self.f32(value);
        }
    }

    /// `float64[]`.
    pub fn doubles(&mut self, values: &[f64]) {
        self.length(values.len());
        for &value in values {
            self.f64(value);
        }
    }

    /// `builtin_interfaces/Time`; seconds beyond its 32 bits saturate.
    pub fn stamp(&mut self, value: Stamp) {
        let (sec, nanosec) = value.parts();
        self.i32(sec);
        self.u32(nanosec);
    }

    /// `builtin_interfaces/Duration`; seconds beyond its 32 bits saturate.
    pub fn span(&mut self, value: Span) {
        self.stamp(Stamp::from_nanos(value.nanos()));
    }

    /// `std_msgs/Header`.
    pub fn header(&mut self, header: HeaderView<'_>) {
        self.stamp(header.stamp);
        self.string(header.frame_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_buffer_keeps_its_capacity_and_nothing_else() {
        let mut out = Vec::with_capacity(64);
        Writer::new(&mut out).string("first, longer");
        let capacity = out.capacity();
        Writer::new(&mut out).u8(5);
        assert_eq!((out.as_slice(), out.capacity()), (&[0, 1, 0, 0, 5][..], capacity));
    }

    #[test]
    fn alignment_counts_from_after_the_encapsulation_header() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.u8(1);
        writer.u64(2);
        assert_eq!(out, [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}
