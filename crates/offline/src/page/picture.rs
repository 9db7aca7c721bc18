//! Small pictures of camera frames, inside the page.

use super::html::{Block, Html, Tone};
use vla_messages::{CompressedImageView, FrameDecoder, ImageView, Pixels};
use vla_policy::observation::{Exif, FrameOptions, Transport};

/// Longer side of a picture. Shown at half this size on common screens, so that details stay visible.
const SIDE: usize = 320;
/// JPEG quality.
const QUALITY: i32 = 75;

/// A camera frame, made small, or why there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    label: String,
    content: Content,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    Jpeg { data: Vec<u8>, width: usize, height: usize },
    Missing(String),
}

impl Picture {
    /// A frame as a JPEG of at most 320 pixels a side.
    pub fn new(label: &str, frame: &Pixels<'_>) -> Self {
        let (width, height, rgb) = shrink(frame);
        let image = turbojpeg::Image {
            pixels: rgb.as_slice(),
            width,
            pitch: 3 * width,
            height,
            format: turbojpeg::PixelFormat::RGB,
        };
        match turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x2) {
            Ok(data) => Self { label: label.to_owned(), content: Content::Jpeg { data: data.to_vec(), width, height } },
            Err(error) => Self::missing(label, &error.to_string()),
        }
    }

    /// The frame of a camera's message, or why it cannot be decoded.
    pub fn of_message(
        label: &str,
        (transport, options): (Transport, FrameOptions),
        message: &[u8],
        decoder: &mut FrameDecoder,
    ) -> Self {
        let picture = match transport {
            Transport::Raw => ImageView::parse(message)
                .and_then(|image| image.pixels_as(options.encoding))
                .map(|frame| Self::new(label, &frame)),
            Transport::Compressed => CompressedImageView::parse(message)
                .and_then(|image| match options.exif {
                    Exif::Ignore => decoder.decode(&image),
                    Exif::Apply => decoder.decode_upright(&image),
                })
                .map(|frame| Self::new(label, &frame)),
        };
        picture.unwrap_or_else(|error| Self::missing(label, &error.to_string()))
    }

    /// The place of a frame that there is not, with the reason.
    pub fn missing(label: &str, reason: &str) -> Self {
        Self { label: label.to_owned(), content: Content::Missing(reason.to_owned()) }
    }

    /// Bytes of the picture; 0 when it is missing.
    pub fn size(&self) -> usize {
        match &self.content {
            Content::Jpeg { data, .. } => data.len(),
            Content::Missing(_) => 0,
        }
    }
}

impl Block for Picture {
    fn write(&self, html: &mut Html) {
        html.raw("<div class=\"picture\">");
        match &self.content {
            Content::Jpeg { data, width, height } => {
                html.markup(format_args!("<img width=\"{width}\" height=\"{height}\""));
                html.attribute("alt", &self.label);
                html.raw(" src=\"data:image/jpeg;base64,");
                html.raw(&base64(data));
                html.raw("\">");
            }
            Content::Missing(reason) => html.element("div", "none", reason),
        }
        html.element("span", "", &self.label);
        html.raw("</div>");
    }
}

/// A moment with what the cameras showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Heading, for example its time and kind.
    pub title: String,
    /// Its colour.
    pub tone: Tone,
    /// What happened.
    pub text: String,
    /// One a camera.
    pub pictures: Vec<Picture>,
}

impl Block for Moment {
    fn write(&self, html: &mut Html) {
        html.markup(format_args!("<article class=\"moment {}\">", self.tone.class()));
        html.element("h3", "", &self.title);
        html.element("p", "text", &self.text);
        html.group("pictures", |html| self.pictures.iter().for_each(|picture| html.add(picture)));
        html.raw("</article>\n");
    }
}

/// The frame as RGB, each pixel the mean of those that it covers. Never larger than before.
fn shrink(frame: &Pixels<'_>) -> (usize, usize, Vec<u8>) {
    let longer = frame.width.max(frame.height);
    let to = |side: usize| (side * SIDE.min(longer)).div_ceil(longer).max(1);
    let (width, height) = (to(frame.width), to(frame.height));
    let mut out = Vec::with_capacity(3 * width * height);
    let mut scratch = vec![0; 3 * frame.width];
    let mut sums = vec![0u32; 3 * width];
    for row in 0..height {
        let rows = covered(row, height, frame.height);
        sums.fill(0);
        for y in rows.clone() {
            let source = frame.row_rgb(y, &mut scratch);
            for (column, sums) in sums.chunks_exact_mut(3).enumerate() {
                for x in covered(column, width, frame.width) {
                    sums.iter_mut().zip(&source[3 * x..]).for_each(|(sum, value)| *sum += u32::from(*value));
                }
            }
        }
        for (column, sums) in sums.chunks_exact(3).enumerate() {
            let count = (rows.len() * covered(column, width, frame.width).len()).max(1) as u32;
            out.extend(sums.iter().map(|sum| ((sum + count / 2) / count).min(255) as u8));
        }
    }
    (width, height, out)
}

/// Pixels of `before` that pixel `index` of `after` covers; at least one.
fn covered(index: usize, after: usize, before: usize) -> std::ops::Range<usize> {
    let start = index * before / after;
    start..((index + 1) * before / after).max(start + 1)
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for group in data.chunks(3) {
        let bits = group.iter().chain([&0; 2]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS[bits >> shift & 63];
            text.push(if index <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_messages::PixelFormat;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        pairs.iter().for_each(|(data, text)| assert_eq!(base64(data.as_bytes()), *text));
        assert_eq!(base64(&[255, 254, 253, 0]), "//79AA==");
    }

    #[test]
    fn a_frame_is_made_small_by_means_and_never_larger() {
        let data: Vec<u8> = (0..4 * 2).flat_map(|pixel| [pixel * 10; 3]).collect();
        let small = Pixels::new(PixelFormat::Rgb8, 4, 2, 12, &data).expect("pixels");
        assert_eq!(shrink(&small), (4, 2, data.clone()));

        let wide = [vec![0u8; 640 * 10], vec![100u8; 640 * 10]].concat();
        let wide = Pixels::new(PixelFormat::Mono8, 640, 20, 640, &wide).expect("pixels");
        let (width, height, rgb) = shrink(&wide);
        assert_eq!((width, height, rgb.len()), (320, 10, 320 * 10 * 3));
        assert!(
            rgb[..320 * 5 * 3].iter().all(|value| *value == 0) && rgb[320 * 5 * 3..].iter().all(|value| *value == 100)
        );
        assert_eq!(shrink(&Pixels::new(PixelFormat::Mono8, 1, 5000, 1, &[7; 5000]).expect("pixels")).0, 1);
    }

    #[test]
    fn a_picture_shows_the_frame_and_a_missing_one_its_reason() {
        let frame = Pixels::new(PixelFormat::Mono8, 8, 8, 8, &[90; 64]).expect("pixels");
        let mut html = Html::default();
        html.add(&Picture::new("front", &frame));
        assert!(html.as_str().contains("src=\"data:image/jpeg;base64,/9j/"), "{}", html.as_str());
        let mut html = Html::default();
        html.add(&Picture::missing("front", "no <picture>"));
        assert!(html.as_str().contains("no &lt;picture&gt;") && !html.as_str().contains("<img"));
    }
}
