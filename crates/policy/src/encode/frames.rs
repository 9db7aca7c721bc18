//! The frames of an observation to pixel values: decoded, resampled and normalised side by side on a few threads.

use std::io;
use std::ops::Range;

use super::image::EvalTransform;
use super::resize::{CHANNELS, Size};
use crate::observation::{CameraSample, Exif, Transport};
use crate::processor::ImageTransformSpec;
use crate::{Error, frames};
use vla_base::sys::pool::Pool;
use vla_base::tensor::{DType, Data, HostTensor};
use vla_engines::frames::FrameSlot;
use vla_messages::{CompressedImageView, FrameDecoder, ImageView, Pixels};

mod pieces;
mod work;

use pieces::{Piece, Pieces};
use work::Work;

/// Value of a black pixel after normalisation.
const BLACK: f32 = -1.0;

/// Most bands that an image is divided into.
const MOST_BANDS: usize = 8;

/// Rows of work that two neighbouring bands both do, about: those from which the filters at the boundary read.
const SHARED_ROWS: usize = 4;

/// What an image is made from.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'f> {
    /// No camera gives it: black.
    Black,
    /// A message, raw or compressed.
    Sample(&'f CameraSample),
    /// Pixels that are decoded already.
    Pixels(Pixels<'f>),
}

impl<'f> From<Option<&'f CameraSample>> for Frame<'f> {
    fn from(sample: Option<&'f CameraSample>) -> Self {
        sample.map_or(Self::Black, Self::Sample)
    }
}

/// Where an image is put.
#[derive(Debug)]
pub enum Place<'p> {
    /// `[3, height, width]` values in [-1, 1].
    Pixels(&'p mut [f32]),
    /// The slot of a device that makes pixels of a frame. It gets the frame where it has room, and pixels else.
    Slot(FrameSlot<'p>),
}

impl<'p> From<&'p mut [f32]> for Place<'p> {
    fn from(pixels: &'p mut [f32]) -> Self {
        Self::Pixels(pixels)
    }
}

impl<'p> From<FrameSlot<'p>> for Place<'p> {
    fn from(slot: FrameSlot<'p>) -> Self {
        Self::Slot(slot)
    }
}

impl<'p> Place<'p> {
    fn into_pixels(self) -> &'p mut [f32] {
        match self {
            Self::Pixels(pixels) => pixels,
            Self::Slot(slot) => slot.into_pixels(),
        }
    }
}

/// Encodes the images of one observation. Each image has its own decoder and each band of its rows its own plans, so threads share
/// nothing, and the result does not depend on which thread encodes what. Allocates nothing once it has seen a frame of each image.
pub struct FrameEncoder {
    images: Vec<Image>,
    pool: Pool,
}

/// One image of the model's input.
struct Image {
    camera: String,
    decoder: FrameDecoder,
    size: Size,
    /// From the top; at least one.
    bands: Vec<Band>,
    /// Why the frame of the last encoding was refused.
    error: Option<Error>,
}

/// Rows of an image that are resampled by themselves.
struct Band {
    rows: Range<usize>,
    transform: EvalTransform,
    /// Why they could not be made at the last encoding.
    error: Option<Error>,
}

impl FrameEncoder {
    /// An encoder of images, each with the camera that it is named by in errors and its size. It uses `threads` threads, the
    /// caller's among them, at most eight an image; images are divided into bands of rows where that lets them finish sooner. 0: one an
    /// image, at most one a CPU core; up to two an image while that is no more than half of the cores.
    ///
    /// # Errors
    /// The system's, when a thread cannot be started.
    pub fn new(
        transform: &ImageTransformSpec,
        images: impl IntoIterator<Item = (String, Size)>,
        threads: usize,
    ) -> io::Result<Self> {
        let images: Vec<(String, Size)> = images.into_iter().collect();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { usual_threads(images.len(), cores()) } else { threads };
        let threads = threads.min(images.len() * MOST_BANDS);
        let rows = images.iter().map(|(_, size)| size.height).max().unwrap_or(0);
        let bands = bands(images.len(), rows, threads);
        let image = |(camera, size): (String, Size)| {
            let band = |index: usize| Band {
                rows: size.height * index / bands..size.height * (index + 1) / bands,
                transform: EvalTransform::new(transform),
                error: None,
            };
            Image { camera, decoder: FrameDecoder::new(), size, bands: (0..bands).map(band).collect(), error: None }
        };
        let images = images.into_iter().map(image).collect();
        let pool = Pool::new("encode", threads)?;
        Ok(Self { images, pool })
    }

    /// Threads in use, the caller's among them.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Encodes one frame for each image of `range`, in their order. `places` has the place of each image.
    ///
    /// # Errors
    /// [`Error::Camera`] of the first image whose frame cannot be used; all others are encoded.
    pub fn encode<'f, 'p, P: Into<Place<'p>>>(
        &mut self,
        range: Range<usize>,
        frames: impl Iterator<Item = Frame<'f>> + Send,
        places: impl Iterator<Item = P> + Send,
    ) -> Result<(), Error> {
        let images = self.images.get_mut(range).unwrap_or_default();
        // One thread, or one for each image: nothing is gained by handing over.
        let threads = self.pool.threads();
        let hands_over = threads > 1 && threads != images.len();
        let jobs = images.iter_mut().zip(frames).zip(places);
        let work = Work::new(jobs.map(|((image, frame), place)| Job { image, frame, place: place.into() }), hands_over);
        self.pool.run(&|| work.help());
        drop(work);
        let errors = images.iter_mut().map(|image| {
            let bands = image.bands.iter_mut().map(|band| band.error.take());
            bands.fold(image.error.take(), Option::or)
        });
        errors.fold(None, Option::or).map_or(Ok(()), Err)
    }

    /// Resamples and normalises a decoded frame into the place of one image, and returns its intermediate images. Allocates.
    ///
    /// # Errors
    /// [`Error::Camera`] when the frame has another size than the policy's.
    pub(crate) fn trace(&mut self, at: usize, frame: &Pixels<'_>, values: &mut [f32]) -> Result<TracedImage, Error> {
        let missing = Error::Internal("an image of the policy");
        let Some(Image { camera, size, bands, .. }) = self.images.get_mut(at) else { return Err(missing) };
        let Some(Band { transform, .. }) = bands.first_mut() else { return Err(missing) };
        let fail = |reason: String| failure(camera, reason);
        frames::expect(transform, *size, frame.width, frame.height).map_err(fail)?;
        transform.apply(frame, values).map_err(|error| fail(error.to_string()))?;
        let Size { width, height } = *size;
        let mut resampled = HostTensor::zeros(DType::U8, &[height, width, CHANNELS]);
        if let Some(Data::U8(out)) = resampled.as_mut().map(HostTensor::data_mut) {
            transform.apply_u8(frame, out).map_err(|error| fail(error.to_string()))?;
        }
        let normalised = HostTensor::from_f32(&[CHANNELS, height, width], values.to_vec());
        let (Some(resampled), Some(normalised)) = (resampled, normalised) else {
            return Err(Error::Internal("an image of its own size"));
        };
        Ok(TracedImage { camera: camera.clone(), resampled, normalised })
    }
}

/// Intermediate images of one frame.
pub(crate) struct TracedImage {
    /// The camera.
    pub camera: String,
    /// After resampling: 8-bit `[height, width, 3]`.
    pub resampled: HostTensor,
    /// `[3, height, width]` in [-1, 1].
    pub normalised: HostTensor,
}

/// Threads for `images` images where nothing else is said.
fn usual_threads(images: usize, cores: usize) -> usize {
    let one_each = images.min(cores);
    one_each.max((2 * images).min(cores / 2))
}

/// Bands of each of `images` images of `rows` rows, so that `threads` threads are done soonest: one after the other takes a band, which
/// is its own rows and those it shares with its neighbour.
fn bands(images: usize, rows: usize, threads: usize) -> usize {
    if threads <= 1 {
        return 1;
    }
    let rows_of_a_thread = |&bands: &usize| {
        let shared = if bands == 1 { 0 } else { SHARED_ROWS };
        (images * bands).div_ceil(threads) * (rows.div_ceil(bands) + shared)
    };
    (1..=MOST_BANDS).min_by_key(rows_of_a_thread).unwrap_or(1)
}

/// The work on one image.
struct Job<'j> {
    image: &'j mut Image,
    frame: Frame<'j>,
    place: Place<'j>,
}

impl<'j> Job<'j> {
    /// Decodes and checks the frame; its bands are left to do. `None` where there are none: the image is black, or its frame is
    /// refused.
    fn open(self) -> Option<Pieces<'j>> {
        let Self { image, frame, place } = self;
        let Image { camera, decoder, size, bands, error } = image;
        *error = None;
        let pixels = match frame {
            Frame::Black => {
                place.into_pixels().fill(BLACK);
                return None;
            }
            Frame::Pixels(pixels) => Ok(pixels),
            Frame::Sample(sample) => pixels_of(sample, decoder).map_err(|error| error.to_string()),
        };
        let opened = pixels.and_then(|pixels| Pieces::new(camera, pixels, *size, bands, place));
        opened.map_err(|reason| *error = Some(failure(camera, reason))).ok()
    }
}

/// A message's pixels, decoded where it is compressed.
fn pixels_of<'j>(sample: &'j CameraSample, decoder: &'j mut FrameDecoder) -> Result<Pixels<'j>, vla_messages::Error> {
    if sample.transport != Transport::Compressed {
        return ImageView::parse(&sample.bytes)?.pixels_as(sample.options.encoding);
    }
    let image = CompressedImageView::parse(&sample.bytes)?;
    match sample.options.exif {
        Exif::Ignore => decoder.decode(&image),
        Exif::Apply => decoder.decode_upright(&image),
    }
}

fn failure(camera: &str, reason: String) -> Error {
    Error::Camera { camera: camera.to_owned(), reason }
}

#[cfg(test)]
mod tests;
