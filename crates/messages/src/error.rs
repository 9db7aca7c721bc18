//! Errors of messages and frames.

use std::str::Utf8Error;

use super::pixels::{MAX_PIXELS, PixelFormat};
use super::pose::QUATERNION_TOLERANCE;

/// Why a message or a frame was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not plain CDR.
    #[error(
        "{message}: encapsulation {found}, expected 00 00 or 00 01 (plain CDR, as rosbag2, Fast DDS and Cyclone DDS \
         write it); check that this is a serialized ROS 2 message of that type"
    )]
    Encapsulation {
        /// Message type.
        message: String,
        /// The first bytes in hexadecimal, or "of 3 bytes" when there are fewer than four.
        found: String,
    },
    /// A field ends beyond the message.
    #[error(
        "{message}: `{field}` at byte {offset} needs {needed} bytes, found {left}: the message is truncated or of another \
         type"
    )]
    Truncated {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Where the field begins, in bytes from the start of the message.
        offset: usize,
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes found.
        left: usize,
    },
    /// A sequence announces more elements than its message can hold.
    #[error(
        "{message}: `{field}` announces {count} elements of at least {element} bytes each, found {left} bytes: the \
         message is truncated or of another type"
    )]
    Sequence {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Announced elements.
        count: usize,
        /// Smallest size of one element, bytes.
        element: usize,
        /// Bytes found.
        left: usize,
    },
    /// A string is not UTF-8.
    #[error("{message}: `{field}` is expected to be UTF-8: {source}")]
    Text {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Position of the first invalid byte.
        source: Utf8Error,
    },
    /// A time or duration with a second or more of nanoseconds.
    #[error("{message}: `{field}.nanosec` is {nanosec}, expected less than 1000000000")]
    Nanoseconds {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Value found.
        nanosec: u32,
    },
    /// Two arrays of one message that belong together differ in length.
    #[error("{message}: `{field}` has {found} elements, expected {expected} ({why})")]
    Length {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Elements found.
        found: usize,
        /// Elements expected from other fields.
        expected: usize,
        /// These fields.
        why: &'static str,
    },
    /// NaN or an infinity.
    #[error("{message}: `{field}` is {found}, expected a finite number")]
    NotFinite {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Value found.
        found: String,
    },
    /// A quaternion that is no rotation.
    #[error(
        "{message}: `{field}` has length {found}, expected 1 (within {QUATERNION_TOLERANCE}): it is not a rotation; \
         set x, y, z and w of a unit quaternion in the sender"
    )]
    Quaternion {
        /// Message type.
        message: String,
        /// Field, dotted.
        field: &'static str,
        /// Its length.
        found: String,
    },
    /// An unsupported image encoding.
    #[error(
        "image encoding `{found}` is not supported, expected one of {}; set one of them in the camera driver",
        known()
    )]
    Encoding {
        /// The message's `encoding`, at most its first 64 characters.
        found: String,
    },
    /// An encoding that gives the number of bytes of a pixel and not their meaning.
    #[error(
        "image encoding `{found}` does not say which colours the bytes are; set inputs.cameras.<name>.encoding to what the driver \
         fills in (for 8UC3: rgb8 or bgr8; for 8UC1: mono8 or bayer_rggb8, ...), or set the encoding in the camera driver"
    )]
    OpenEncoding {
        /// The message's `encoding`.
        found: String,
    },
    /// An encoding that contradicts the layout in the parameters.
    #[error(
        "image encoding is `{found}`, but inputs.cameras.<name>.encoding says `{layout}`; set it to auto to use the message's own \
         encoding, or correct one of the two"
    )]
    OtherEncoding {
        /// The message's `encoding`, at most its first 64 characters.
        found: String,
        /// Layout of the parameter.
        layout: PixelFormat,
    },
    /// No pixels.
    #[error("image is {width}x{height}, expected at least 1x1; check that the camera is running")]
    Empty {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// More pixels than [`MAX_PIXELS`].
    #[error("image is {width}x{height}, expected at most {MAX_PIXELS} pixels; lower the camera's resolution")]
    TooLarge {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// Fewer pixels than the layout needs.
    #[error("{format} image is {width}x{height}, expected at least {least}x{least}")]
    TooSmall {
        /// Layout.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Fewest rows and columns.
        least: usize,
    },
    /// Subsampled colour on an odd size.
    #[error("{format} image is {width}x{height}, expected an even {side}")]
    OddSize {
        /// Layout.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// The side that must be even.
        side: &'static str,
    },
    /// Rows overlap.
    #[error("{format} image {width} pixels wide has `step` {step}, expected at least {expected} bytes")]
    Step {
        /// Layout.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Bytes a row, as announced.
        step: usize,
        /// Bytes that a row of this layout takes.
        expected: usize,
    },
    /// Fewer bytes than step times height.
    #[error("{format} image {width}x{height} with `step` {step} has {found} bytes of data, expected {expected}")]
    Data {
        /// Layout.
        format: PixelFormat,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes a row.
        step: usize,
        /// Bytes found.
        found: usize,
        /// Bytes expected from step and height.
        expected: usize,
    },
    /// Neither JPEG nor PNG.
    #[error(
        "compressed image with format `{format}` begins with {magic}, expected JPEG (ff d8 ff) or PNG \
         (89 50 4e 47 0d 0a 1a 0a)"
    )]
    Codec {
        /// The message's `format`, at most its first 64 characters.
        format: String,
        /// First bytes in hexadecimal, or "nothing".
        magic: String,
    },
    /// Compressed data whose `format` is not of a colour or grey image.
    #[error("compressed image with format `{format}` is {what}, expected a colour or grey image; {cure}")]
    NoPicture {
        /// The message's `format`, at most its first 64 characters.
        format: String,
        /// Kind found.
        what: &'static str,
        /// Remedy.
        cure: &'static str,
    },
    /// Compressed data in an unsupported colour space.
    #[error("{codec} frame is {found}, expected {expected}")]
    Colours {
        /// JPEG or PNG.
        codec: &'static str,
        /// Kind found.
        found: &'static str,
        /// Kinds supported.
        expected: &'static str,
    },
    /// Damaged compressed data.
    #[error("{codec} frame of {length} bytes is damaged or truncated and is dropped: {reason}")]
    Damaged {
        /// JPEG or PNG.
        codec: &'static str,
        /// Bytes of compressed data.
        length: usize,
        /// The decoder's error.
        reason: String,
    },
}

/// The supported encodings.
fn known() -> String {
    PixelFormat::ENCODINGS.map(|(name, _)| name).join(", ")
}

/// Text of a received message, truncated for display.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The first bytes in hexadecimal, at most eight.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
