//! Decoded frames to RGB, as PyAV and torchcodec convert them.
//!
//! libswscale with bilinear chroma, which is what both call. Without another tag the matrix is BT.601 and the range limited. The safe
//! interface of libswscale sets no matrix, so frames with another tag go through FFmpeg's `scale` filter, which is libswscale with one.

use ffmpeg::format::Pixel;
use ffmpeg::software::scaling;
use ffmpeg::util::color::{Range, Space};
use ffmpeg::{Error, filter, frame};
use ffmpeg_next as ffmpeg;

use crate::ColorSpace;

/// Converts frames of one size, format and tag.
pub(super) struct Converter {
    width: u32,
    height: u32,
    format: Pixel,
    tag: (Space, Range),
    kind: Kind,
    rgb: frame::Video,
}

enum Kind {
    Plain(scaling::Context),
    Tagged(filter::Graph),
}

/// The filter's name of a matrix that is not BT.601's.
pub(super) fn other_matrix(space: Space) -> Option<&'static str> {
    match space {
        Space::BT709 => Some("bt709"),
        Space::BT2020NCL | Space::BT2020CL => Some("bt2020"),
        Space::SMPTE240M => Some("smpte240m"),
        Space::FCC => Some("fcc"),
        _ => None,
    }
}

impl Converter {
    pub(super) fn new(frame: &frame::Video, color: ColorSpace) -> Result<Self, Error> {
        let (width, height, format) = (frame.width(), frame.height(), frame.format());
        let tag = (frame.color_space(), frame.color_range());
        // Formats of full range by themselves need no filter.
        let full = tag.1 == Range::JPEG && matches!(format, Pixel::YUV420P | Pixel::YUV422P | Pixel::YUV444P);
        let matrix = other_matrix(tag.0);
        let kind = if color == ColorSpace::Tagged && (matrix.is_some() || full) {
            Kind::Tagged(graph(frame, matrix.unwrap_or("bt601"), full)?)
        } else {
            let flags = scaling::Flags::BILINEAR;
            Kind::Plain(scaling::Context::get(format, width, height, Pixel::RGB24, width, height, flags)?)
        };
        Ok(Self { width, height, format, tag, kind, rgb: frame::Video::empty() })
    }

    /// Whether it is for frames like this one.
    pub(super) fn fits(&self, frame: &frame::Video) -> bool {
        (self.width, self.height, self.format) == (frame.width(), frame.height(), frame.format())
            && self.tag == (frame.color_space(), frame.color_range())
    }

    /// Width and height.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.width as usize, self.height as usize)
    }

    /// Writes the frame as `[height, width, 3]` in the place of what is in `out`.
    pub(super) fn run(&mut self, frame: &frame::Video, out: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Plain(scaler) => scaler.run(frame, &mut self.rgb)?,
            Kind::Tagged(graph) => {
                graph.get("in").ok_or(Error::FilterNotFound)?.source().add(frame)?;
                self.rgb = frame::Video::empty();
                graph.get("out").ok_or(Error::FilterNotFound)?.sink().frame(&mut self.rgb)?;
            }
        }
        let (width, height) = self.size();
        out.clear();
        out.reserve(width * height * 3);
        for row in self.rgb.data(0).chunks(self.rgb.stride(0).max(1)).take(height) {
            out.extend_from_slice(row.get(..width * 3).ok_or(Error::InvalidData)?);
        }
        Ok(())
    }
}

/// A graph that converts with this matrix.
fn graph(frame: &frame::Video, matrix: &str, full: bool) -> Result<filter::Graph, Error> {
    let mut graph = filter::Graph::new();
    let (source, sink) = (filter::find("buffer"), filter::find("buffersink"));
    let (source, sink) = source.zip(sink).ok_or(Error::FilterNotFound)?;
    let format = frame.format().descriptor().ok_or(Error::InvalidData)?.name();
    let arguments = format!(
        "video_size={}x{}:pix_fmt={format}:time_base=1/1000000:pixel_aspect=1/1",
        frame.width(),
        frame.height()
    );
    graph.add(&source, "in", &arguments)?;
    graph.add(&sink, "out", "")?;
    let range = if full { "full" } else { "limited" };
    let chain = format!("scale=in_color_matrix={matrix}:in_range={range}:out_range=full:flags=bilinear,format=rgb24");
    graph.output("in", 0)?.input("out", 0)?.parse(&chain)?;
    graph.validate()?;
    Ok(graph)
}
