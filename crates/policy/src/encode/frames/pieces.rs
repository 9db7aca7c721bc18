//! The bands of one image: rows that are resampled, or copied for a device.

use std::ops::Range;

use super::{Band, Place, failure};
use crate::encode::resize::{CHANNELS, Size};
use crate::frames;
use vla_messages::Pixels;

/// The bands of an opened frame that no thread has taken yet.
pub(super) struct Pieces<'j> {
    camera: &'j str,
    pixels: Pixels<'j>,
    bands: std::slice::IterMut<'j, Band>,
    target: Target<'j>,
}

/// Places of their rows.
enum Target<'j> {
    /// Resampled rows: of red, green and blue.
    Planes { planes: [&'j mut [f32]; CHANNELS], width: usize },
    /// The frame itself, its rows from `row` on.
    Frame { bytes: &'j mut [u8], row: usize },
}

impl<'j> Pieces<'j> {
    /// Refuses pixels that do not become an image of `size`.
    pub(super) fn new(
        camera: &'j str,
        pixels: Pixels<'j>,
        size: Size,
        bands: &'j mut [Band],
        place: Place<'j>,
    ) -> Result<Self, String> {
        let Some(Band { transform, .. }) = bands.first_mut() else { return Err("an image without rows".to_owned()) };
        frames::expect(transform, size, pixels.width, pixels.height)?;
        let place = match place {
            Place::Pixels(values) => values,
            Place::Slot(slot) => {
                let transform = transform.on_device(pixels.width, pixels.height).map_err(|error| error.to_string())?;
                let taken = match transform {
                    Some(transform) => slot.into_frame(transform),
                    None => Err(slot),
                };
                match taken {
                    Ok(bytes) => {
                        let target = Target::Frame { bytes, row: 0 };
                        return Ok(Self { camera, pixels, bands: bands.iter_mut(), target });
                    }
                    Err(slot) => slot.into_pixels(),
                }
            }
        };
        let plane = size.width * size.height;
        if place.len() != CHANNELS * plane {
            return Err(format!("an image of {} values has place for {}", CHANNELS * plane, place.len()));
        }
        let (red, rest) = place.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let target = Target::Planes { planes: [red, green, blue], width: size.width };
        Ok(Self { camera, pixels, bands: bands.iter_mut(), target })
    }
}

impl<'j> Iterator for Pieces<'j> {
    type Item = Piece<'j>;

    fn next(&mut self) -> Option<Piece<'j>> {
        let left = self.bands.len();
        let band = self.bands.next()?;
        let (camera, pixels) = (self.camera, self.pixels);
        Some(match &mut self.target {
            Target::Planes { planes, width } => {
                let samples = band.rows.len() * *width;
                let planes = planes.each_mut().map(|plane| plane.split_off_mut(..samples).unwrap_or_default());
                Piece::Resample { camera, pixels, band, planes }
            }
            Target::Frame { bytes, row } => {
                let rows = *row..*row + (pixels.height - *row).div_ceil(left);
                *row = rows.end;
                let bytes = bytes.split_off_mut(..rows.len() * pixels.width * CHANNELS).unwrap_or_default();
                Piece::Copy { pixels, rows, bytes }
            }
        })
    }
}

/// The work on one band.
pub(super) enum Piece<'j> {
    /// Rows of the image.
    Resample { camera: &'j str, pixels: Pixels<'j>, band: &'j mut Band, planes: [&'j mut [f32]; CHANNELS] },
    /// Rows of the frame.
    Copy { pixels: Pixels<'j>, rows: Range<usize>, bytes: &'j mut [u8] },
}

impl Piece<'_> {
    /// Resamples or copies the rows.
    pub(super) fn convert(self) {
        match self {
            Self::Resample { camera, pixels, band: Band { rows, transform, error }, planes } => {
                let converted = transform.apply_rows(&pixels, rows.clone(), planes);
                *error = converted.err().map(|error| failure(camera, error.to_string()));
            }
            Self::Copy { pixels, rows, bytes } => {
                let to = bytes.chunks_exact_mut(pixels.width * CHANNELS);
                rows.zip(to).for_each(|(row, to)| pixels.copy_row_rgb(row, to));
            }
        }
    }
}
