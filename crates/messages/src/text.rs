//! `std_msgs/String`.

use super::cdr::Reader;
use super::error::Error;

/// The text of a `std_msgs/String`.
///
/// # Errors
/// Not plain CDR, truncated, or not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Error> {
    Reader::new("std_msgs/msg/String", bytes)?.string("data")
}
