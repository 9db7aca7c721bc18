//! JPEG and PNG frames to pixels.

use std::io::Cursor;

use super::compressed_image::{Codec, CompressedImageView};
use super::error::Error;
use super::jpeg;
use super::orientation::upright;
use super::pixels::{PixelFormat, Pixels, check_size};

const JPEG: &str = "JPEG";
const PNG: &str = "PNG";

/// Scans of a progressive JPEG. Encoders write about ten; a small file of thousands would stall the node.
const MAX_SCANS: u32 = 500;

/// Decodes `sensor_msgs/CompressedImage` into a buffer that is kept from frame to frame, one camera or several.
///
/// JPEG goes through libjpeg-turbo with its default settings (accurate integer DCT, smooth chroma upsampling): the
/// pixels are those of Pillow and OpenCV. Colour profiles are not applied, and the EXIF orientation of a JPEG by
/// [`Self::decode_upright`] only. PNG: 8 bits a sample
/// or fewer, palette, grey and alpha included; alpha is dropped.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// Made when first needed, and anew after an error: an aborted header leaves the old one in the middle of it.
    jpeg: Option<turbojpeg::Decompressor>,
    buffer: Vec<u8>,
    /// A JPEG without bytes too many in its header, or with the end marker that it lacked.
    mended: Vec<u8>,
    /// A frame that was turned upright.
    turned: Vec<u8>,
    /// One row of it before.
    row: Vec<u8>,
}

impl FrameDecoder {
    /// A decoder with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frame's pixels. Its first bytes say what it is.
    ///
    /// A JPEG is used when all its rows were decoded from its data, whatever libjpeg-turbo has to warn of: bytes too many before a
    /// marker, no end marker behind the last row.
    ///
    /// # Errors
    /// Those of [`CompressedImageView::frame_header`], [`Error::Colours`] for CMYK JPEG, 16-bit and animated PNG,
    /// [`Error::Damaged`] when it is truncated or corrupt. A frame with a damaged row is refused, not filled with grey.
    pub fn decode<'b>(&'b mut self, image: &CompressedImageView<'_>) -> Result<Pixels<'b>, Error> {
        let (format, width, height) = match image.frame_header()?.codec {
            Codec::Jpeg => self.decode_jpeg(image.data)?,
            Codec::Png => self.decode_png(image.data)?,
        };
        Pixels::new(format, width, height, width * format.bytes_per_pixel(), &self.buffer)
    }

    /// As [`Self::decode`], turned and mirrored as the frame's EXIF orientation says.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_upright<'b>(&'b mut self, image: &CompressedImageView<'_>) -> Result<Pixels<'b>, Error> {
        let orientation = image.frame_header()?.orientation;
        if orientation == 1 {
            return self.decode(image);
        }
        let (mut turned, mut row) = (std::mem::take(&mut self.turned), std::mem::take(&mut self.row));
        let size = self.decode(image).map(|pixels| upright(&pixels, orientation, &mut row, &mut turned));
        (self.turned, self.row) = (turned, row);
        let (width, height) = size?;
        let format = PixelFormat::Rgb8;
        Pixels::new(format, width, height, width * format.bytes_per_pixel(), &self.turned)
    }

    fn decode_jpeg(&mut self, data: &[u8]) -> Result<(PixelFormat, usize, usize), Error> {
        let Self { jpeg, buffer, mended, .. } = self;
        let damaged = |error: turbojpeg::Error| damaged_jpeg(data, &error);
        let mut decoder = jpeg.take().map_or_else(new_decompressor, Ok).map_err(damaged)?;
        mended.clear();
        let header = match decoder.read_header(data) {
            Err(error) if Warning::of(&error) == Some(Warning::StrayBytes) => {
                jpeg::without_stray_bytes(data, mended);
                decoder.read_header(mended)
            }
            header => header,
        };
        let header = header.map_err(damaged)?;
        let size = (header.width, header.height);
        check_size(size.0, size.1)?;
        if matches!(header.colorspace, turbojpeg::Colorspace::CMYK | turbojpeg::Colorspace::YCCK) {
            return Err(Error::Colours { codec: JPEG, found: "CMYK", expected: "YCbCr, RGB or grey" });
        }
        buffer.resize(size.0 * size.1 * 3, 0);
        let source = if mended.is_empty() { data } else { &**mended };
        let mut decoded = decompress(&mut decoder, source, buffer, size);
        if let Err(error) = &decoded
            && Warning::of(error) == Some(Warning::NoEnd)
            && jpeg::is_complete(source, false)
        {
            // Whether the last row was whole is not said; with an end marker the decoder says so.
            if mended.is_empty() {
                mended.extend_from_slice(data);
            }
            mended.extend_from_slice(&[0xff, 0xd9]);
            decoded = decompress(&mut decoder, mended, buffer, size);
        }
        match decoded {
            Err(error) if !is_harmless(&error, data) => return Err(damaged(error)),
            _ => *jpeg = Some(decoder),
        }
        Ok((PixelFormat::Rgb8, size.0, size.1))
    }

    fn decode_png(&mut self, data: &[u8]) -> Result<(PixelFormat, usize, usize), Error> {
        let damaged = |error: png::DecodingError| {
            let reason = error.to_string();
            Error::Damaged { codec: PNG, length: data.len(), reason }
        };
        let mut decoder = png::Decoder::new(Cursor::new(data));
        decoder.set_transformations(png::Transformations::EXPAND);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let header = decoder.read_header_info().map_err(damaged)?;
        let (width, height) = (header.width as usize, header.height as usize);
        check_size(width, height)?;
        if header.bit_depth == png::BitDepth::Sixteen {
            let found = "16 bits a sample (a depth image?)";
            return Err(Error::Colours { codec: PNG, found, expected: "8 bits a sample or fewer" });
        }
        let mut reader = decoder.read_info().map_err(damaged)?;
        if reader.info().is_animated() {
            return Err(Error::Colours { codec: PNG, found: "animated", expected: "a single frame" });
        }
        let size = reader.output_buffer_size().ok_or(Error::TooLarge { width, height })?;
        self.buffer.resize(size, 0);
        let (colours, _) = reader.output_color_type();
        reader.next_frame(&mut self.buffer).map_err(damaged)?;
        let format = match colours {
            png::ColorType::Rgb => PixelFormat::Rgb8,
            png::ColorType::Rgba => PixelFormat::Rgba8,
            png::ColorType::Grayscale => PixelFormat::Mono8,
            png::ColorType::GrayscaleAlpha => {
                drop_alpha(&mut self.buffer);
                PixelFormat::Mono8
            }
            // EXPAND leaves no palette.
            png::ColorType::Indexed => {
                return Err(Error::Colours { codec: PNG, found: "a palette", expected: "colours" });
            }
        };
        Ok((format, width, height))
    }
}

fn new_decompressor() -> Result<turbojpeg::Decompressor, turbojpeg::Error> {
    let mut jpeg = turbojpeg::Decompressor::new()?;
    jpeg.set_scan_limit(MAX_SCANS)?;
    Ok(jpeg)
}

fn decompress(
    jpeg: &mut turbojpeg::Decompressor,
    data: &[u8],
    buffer: &mut [u8],
    (width, height): (usize, usize),
) -> Result<(), turbojpeg::Error> {
    let format = turbojpeg::PixelFormat::RGB;
    jpeg.decompress(data, turbojpeg::Image { pixels: buffer, width, pitch: width * 3, height, format })
}

/// What libjpeg-turbo warns of although every row may have been decoded. It reports the first warning of a frame only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Warning {
    /// Bytes too many just before the end marker, where some cameras pad their frames. All data before it were in order.
    StrayBytesAtEnd,
    /// Bytes too many before another marker.
    StrayBytes,
    /// The file ended where a marker was expected, or within the data of a row.
    NoEnd,
}

impl Warning {
    fn of(error: &turbojpeg::Error) -> Option<Self> {
        let turbojpeg::Error::TurboJpegError(text) = error else { return None };
        if text.ends_with("extraneous bytes before marker 0xd9") {
            Some(Self::StrayBytesAtEnd)
        } else if text.contains("extraneous bytes before marker") {
            Some(Self::StrayBytes)
        } else if text.ends_with("Premature end of JPEG file") {
            Some(Self::NoEnd)
        } else {
            None
        }
    }
}

/// Whether a warning leaves no doubt that every row was decoded from the frame's data. Behind bytes too many before a restart
/// marker or a scan there may have been more to warn of, so all markers must be there.
fn is_harmless(error: &turbojpeg::Error, data: &[u8]) -> bool {
    match Warning::of(error) {
        Some(Warning::StrayBytesAtEnd) => true,
        Some(Warning::StrayBytes) => jpeg::is_complete(data, true),
        Some(Warning::NoEnd) | None => false,
    }
}

fn damaged_jpeg(data: &[u8], error: &turbojpeg::Error) -> Error {
    let reason = match error {
        turbojpeg::Error::TurboJpegError(text) => text.clone(),
        // libjpeg-turbo leaves -1 as the size when the data end before an image begins.
        turbojpeg::Error::IntegerOverflow("width" | "height") => "it holds no image".to_owned(),
        other => other.to_string(),
    };
    Error::Damaged { codec: JPEG, length: data.len(), reason }
}

/// Grey and alpha to grey, in place.
fn drop_alpha(buffer: &mut Vec<u8>) {
    let pixels = buffer.len() / 2;
    for at in 0..pixels {
        buffer[at] = buffer[2 * at];
    }
    buffer.truncate(pixels);
}
