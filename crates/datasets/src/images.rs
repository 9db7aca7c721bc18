//! Cameras whose frames are PNG or JPEG files inside the parquet files.

use std::path::PathBuf;

use vla_messages::{CompressedImageView, FrameDecoder, HeaderView};

use crate::table::{Column, Table};
use crate::{Episode, Error, Frame};

/// The field of LeRobot's images with the file's bytes.
const BYTES: &str = "bytes";

/// The images of one camera in one episode.
pub(crate) struct Images {
    path: PathBuf,
    camera: String,
    episode: usize,
    column: Column,
    length: usize,
    /// The next image in the column.
    next: usize,
    decoder: FrameDecoder,
    rgb: Vec<u8>,
    size: (usize, usize),
}

impl Images {
    pub(crate) fn open(table: &Table, episode: &Episode, camera: &str) -> Result<Self, Error> {
        Ok(Self {
            path: table.path().to_owned(),
            camera: camera.to_owned(),
            episode: episode.index,
            column: table.byte_column(camera, Some(BYTES), episode.first_row)?,
            length: episode.length,
            next: 0,
            decoder: FrameDecoder::new(),
            rgb: Vec::new(),
            size: (0, 0),
        })
    }

    /// The image of a row of the episode, not before the last one.
    pub(crate) fn at(&mut self, frame: usize) -> Result<Frame<'_>, Error> {
        while self.next <= frame {
            let bytes = if self.next < self.length { self.column.read_bytes()? } else { None };
            let Some(bytes) = bytes else {
                return Err(self.failed(format!("expected an image for row {frame}, found {} images", self.next)));
            };
            self.next += 1;
            if self.next > frame {
                self.decode(frame, bytes.data())?;
            }
        }
        if self.next != frame + 1 {
            return Err(self.failed(format!("expected row {} or a later one, found {frame}", self.next)));
        }
        Ok(Frame { width: self.size.0, height: self.size.1, rgb: &self.rgb })
    }

    fn decode(&mut self, frame: usize, data: &[u8]) -> Result<(), Error> {
        let view = CompressedImageView { header: HeaderView::default(), format: "", data };
        let pixels = match self.decoder.decode(&view) {
            Ok(pixels) => pixels,
            Err(error) => return Err(self.failed(format!("image of row {frame}: {error}"))),
        };
        self.size = (pixels.width, pixels.height);
        self.rgb.clear();
        let mut scratch = vec![0; pixels.width * 3];
        for row in 0..pixels.height {
            self.rgb.extend_from_slice(pixels.row_rgb(row, &mut scratch));
        }
        Ok(())
    }

    fn failed(&self, reason: String) -> Error {
        Error::Frame { path: self.path.clone(), camera: self.camera.clone(), episode: self.episode, reason }
    }
}
