//! Pictures of the cameras: one entity for each.

use re_chunk::{Chunk, ChunkBuilder};
use re_log_types::{EntityPath, EntityPathPart};
use re_sdk_types::AsComponents;
use re_sdk_types::archetypes::{EncodedImage, Image};
use re_sdk_types::components::MediaType;

use super::file::{RrdStream, time_point};
use crate::Error;
use vla_base::time::Stamp;
use vla_messages::{CompressedImageView, FrameDecoder, ImageView, Pixels};
use vla_policy::observation::{Exif, FrameOptions, Transport};

/// Bytes of one camera's pictures that are written together.
const BATCH: usize = 1 << 20;

/// A picture as Rerun takes it, and its bytes.
type Picture = (Box<dyn AsComponents>, usize);

/// The pictures of one camera.
pub(super) struct Camera {
    entity: EntityPath,
    waiting: Option<ChunkBuilder>,
    bytes: usize,
}

impl Camera {
    pub(super) fn new(name: &str) -> Self {
        let entity = EntityPath::new(vec![EntityPathPart::new("cameras"), EntityPathPart::new(name)]);
        Self { entity, waiting: None, bytes: 0 }
    }

    /// Adds a picture.
    pub(super) fn push(&mut self, file: &mut RrdStream, at: Stamp, picture: Picture) -> Result<(), Error> {
        let (picture, bytes) = picture;
        let rows = self.waiting.take().unwrap_or_else(|| Chunk::builder(self.entity.clone()));
        self.waiting = Some(rows.with_archetype_auto_row(time_point(at), picture.as_ref()));
        self.bytes += bytes;
        if self.bytes >= BATCH { self.flush(file) } else { Ok(()) }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self, file: &mut RrdStream) -> Result<(), Error> {
        self.bytes = 0;
        self.waiting.take().map_or(Ok(()), |rows| file.write(rows))
    }
}

/// The picture of a camera's message.
///
/// # Errors
/// A damaged message; an encoding that the node does not read either.
pub(super) fn picture(
    (transport, options): (Transport, FrameOptions),
    message: &[u8],
    decoder: &mut FrameDecoder,
) -> Result<Picture, vla_messages::Error> {
    match transport {
        Transport::Raw => Ok(rgb(&ImageView::parse(message)?.pixels_as(options.encoding)?)),
        Transport::Compressed => {
            let image = CompressedImageView::parse(message)?;
            if image.frame_header()?.orientation != 1 && options.exif == Exif::Apply {
                return Ok(rgb(&decoder.decode_upright(&image)?));
            }
            let media_type = if image.data.starts_with(&[0xff]) { MediaType::jpeg() } else { MediaType::png() };
            let encoded = EncodedImage::new(image.data).with_media_type(media_type);
            Ok((Box::new(encoded), image.data.len()))
        }
    }
}

fn rgb(pixels: &Pixels<'_>) -> Picture {
    let mut scratch = vec![0; 3 * pixels.width];
    let mut data = Vec::with_capacity(3 * pixels.width * pixels.height);
    (0..pixels.height).for_each(|row| data.extend_from_slice(pixels.row_rgb(row, &mut scratch)));
    let bytes = data.len();
    (Box::new(Image::from_rgb24(data, [pixels.width as u32, pixels.height as u32])), bytes)
}
