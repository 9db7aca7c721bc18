//! `std_msgs/Header`.

use super::cdr::Reader;
use super::error::Error;
use vla_base::time::Stamp;

/// A borrowed `std_msgs/Header`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeaderView<'a> {
    /// When the data were taken, ROS time of the sender.
    pub stamp: Stamp,
    /// Coordinate frame.
    pub frame_id: &'a str,
}

/// The stamp of any message that starts with a `std_msgs/Header`; nothing behind it is read.
///
/// # Errors
/// [`Error::Encapsulation`], [`Error::Truncated`] or [`Error::Nanoseconds`], naming `type_name`.
pub fn header_stamp(type_name: &str, bytes: &[u8]) -> Result<Stamp, Error> {
    Reader::new(type_name, bytes)?.stamp("header.stamp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_is_read_without_looking_further() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0xff];
        assert_eq!(header_stamp("a/B", &bytes), Ok(Stamp::from_nanos(2_000_000_009)));
        let error = header_stamp("a/B", &bytes[..10]).expect_err("cut");
        assert!(error.to_string().starts_with("a/B: `header.stamp` at byte 8 needs 4 bytes, found 2"), "{error}");
    }
}
