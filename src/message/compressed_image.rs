//! `sensor_msgs/CompressedImage`.

use super::cdr::Reader;
use super::error::Error;
use super::header::HeaderView;

/// A borrowed `sensor_msgs/CompressedImage`. [`FrameDecoder`](super::FrameDecoder) makes pixels of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompressedImageView<'a> {
    /// Stamp and frame.
    pub header: HeaderView<'a>,
    /// What the sender says it is, e.g. "jpeg" or "rgb8; jpeg compressed bgr8". Senders disagree on the wording, so
    /// the data's first bytes decide, not this.
    pub format: &'a str,
    /// The compressed frame.
    pub data: &'a [u8],
}

impl<'a> CompressedImageView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "sensor_msgs/msg/CompressedImage";

    /// Reads a message in place. The frame itself is not looked at.
    ///
    /// # Errors
    /// Not plain CDR, cut short, or text that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        Ok(Self { header: reader.header()?, format: reader.string("format")?, data: reader.bytes("data")? })
    }
}
