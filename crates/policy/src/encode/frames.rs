//! The frames of an observation to pixel values: decoded, resampled and normalised side by side on a few threads.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::image::EvalTransform;
use super::resize::Size;
use crate::observation::{CameraSample, Exif, Transport};
use crate::processor::ImageTransformSpec;
use crate::{Error, frames};
use vla_base::sys::pool::Pool;
use vla_base::tensor::{DType, Data, HostTensor};
use vla_messages::{CompressedImageView, FrameDecoder, ImageView, Pixels};

/// Value of a black pixel after normalisation.
const BLACK: f32 = -1.0;

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

/// Encodes the images of one observation. Each image has its own decoder and plans, so threads share nothing, and the result
/// does not depend on which thread encodes what. Allocates nothing once it has seen a frame of each image.
pub struct FrameEncoder {
    images: Vec<Image>,
    pool: Pool,
}

/// One image of the model's input.
struct Image {
    camera: String,
    decoder: FrameDecoder,
    transform: EvalTransform,
    size: Size,
    /// Why the frame of the last encoding was refused.
    error: Option<Error>,
}

impl FrameEncoder {
    /// An encoder of images, each with the camera that it is named by in errors and its size. It uses `threads` threads, the
    /// caller's among them, and no more than there are images; 0: as many as there are CPU cores.
    ///
    /// # Errors
    /// The system's, when a thread cannot be started.
    pub fn new(
        transform: &ImageTransformSpec,
        images: impl IntoIterator<Item = (String, Size)>,
        threads: usize,
    ) -> io::Result<Self> {
        let image = |(camera, size)| {
            let (decoder, transform) = (FrameDecoder::new(), EvalTransform::new(transform));
            Image { camera, decoder, transform, size, error: None }
        };
        let images: Vec<Image> = images.into_iter().map(image).collect();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let pool = Pool::new("encode", threads.min(images.len()))?;
        Ok(Self { images, pool })
    }

    /// Threads in use, the caller's among them.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Encodes one frame for each image of `range`, in their order. `values` has the place of each image, `[3, height, width]`
    /// values in [-1, 1].
    ///
    /// # Errors
    /// [`Error::Camera`] of the first image whose frame cannot be used; all others are encoded.
    pub fn encode<'f, 'v>(
        &mut self,
        range: Range<usize>,
        frames: impl Iterator<Item = Frame<'f>> + Send,
        values: impl Iterator<Item = &'v mut [f32]> + Send,
    ) -> Result<(), Error> {
        let images = self.images.get_mut(range).unwrap_or_default();
        // One thread, or one for each image: nothing is gained by handing over.
        let threads = self.pool.threads();
        let room = if threads == 1 || threads >= images.len() { 0 } else { MOST_WAITING };
        let jobs = images.iter_mut().zip(frames).zip(values);
        let jobs = jobs.map(|((image, frame), values)| Job { image, frame, values });
        let jobs = Mutex::new(Jobs { new: jobs, decoded: [const { None }; MOST_WAITING], waiting: 0, room });
        let next = || lock(&jobs).next();
        let keep = |job| lock(&jobs).keep(job);
        self.pool.run(&|| {
            while let Some(stage) = next() {
                let convert = match stage {
                    Stage::Decode(mut job) => {
                        job.decode();
                        keep(job)
                    }
                    Stage::Convert(job) => Some(job),
                };
                convert.into_iter().for_each(Job::convert);
            }
        });
        let errors = images.iter_mut().map(|image| image.error.take());
        errors.fold(None, Option::or).map_or(Ok(()), Err)
    }

    /// Resamples and normalises a decoded frame into the place of one image, and returns its intermediate images. Allocates.
    ///
    /// # Errors
    /// [`Error::Camera`] when the frame has another size than the policy's.
    pub(crate) fn trace(&mut self, at: usize, frame: &Pixels<'_>, values: &mut [f32]) -> Result<TracedImage, Error> {
        let image = self.images.get_mut(at).ok_or(Error::Internal("an image of the policy"))?;
        image.convert(frame, values)?;
        let Size { width, height } = image.size;
        let mut resampled = HostTensor::zeros(DType::U8, &[height, width, 3]);
        if let Some(Data::U8(out)) = resampled.as_mut().map(HostTensor::data_mut) {
            let done = image.transform.apply_u8(frame, out);
            done.map_err(|error| failure(&image.camera, error.to_string()))?;
        }
        let normalised = HostTensor::from_f32(&[3, height, width], values.to_vec());
        let (Some(resampled), Some(normalised)) = (resampled, normalised) else {
            return Err(Error::Internal("an image of its own size"));
        };
        Ok(TracedImage { camera: image.camera.clone(), resampled, normalised })
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

impl Image {
    fn convert(&mut self, frame: &Pixels<'_>, values: &mut [f32]) -> Result<(), Error> {
        convert(&self.camera, &mut self.transform, self.size, frame, values)
    }
}

/// The work on one image.
struct Job<'i, 'f, 'v> {
    image: &'i mut Image,
    frame: Frame<'f>,
    values: &'v mut [f32],
}

impl Job<'_, '_, '_> {
    /// Decodes a compressed frame into its decoder's memory.
    fn decode(&mut self) {
        let Image { camera, decoder, error, .. } = &mut *self.image;
        *error = None;
        let Frame::Sample(sample) = self.frame else { return };
        if sample.transport != Transport::Compressed {
            return;
        }
        let decoded = CompressedImageView::parse(&sample.bytes).and_then(|image| match sample.options.exif {
            Exif::Ignore => decoder.decode(&image),
            Exif::Apply => decoder.decode_upright(&image),
        });
        *error = decoded.err().map(|error| failure(camera, error.to_string()));
    }

    /// Resamples and normalises the decoded frame.
    fn convert(self) {
        let Self { image, frame, values } = self;
        let Image { camera, decoder, transform, size, error } = image;
        let converted = match frame {
            // The decoder has refused it.
            _ if error.is_some() => return,
            Frame::Black => {
                values.fill(BLACK);
                return;
            }
            Frame::Pixels(frame) => convert(camera, transform, *size, &frame, values),
            Frame::Sample(sample) if sample.transport == Transport::Compressed => decoder
                .last()
                .ok_or(Error::Internal("a decoded frame"))
                .and_then(|frame| convert(camera, transform, *size, &frame, values)),
            Frame::Sample(sample) => ImageView::parse(&sample.bytes)
                .and_then(|image| image.pixels_as(sample.options.encoding))
                .map_err(|error| failure(camera, error.to_string()))
                .and_then(|frame| convert(camera, transform, *size, &frame, values)),
        };
        *error = converted.err();
    }
}

/// Most decoded images that wait for a thread; further ones are converted where they were decoded.
const MOST_WAITING: usize = 32;

/// What is left to do. Decoding takes the longest, so it is begun first: two threads then share three images evenly.
struct Jobs<'i, 'f, 'v, I> {
    new: I,
    decoded: [Option<Job<'i, 'f, 'v>>; MOST_WAITING],
    waiting: usize,
    /// How many may wait.
    room: usize,
}

enum Stage<'i, 'f, 'v> {
    Decode(Job<'i, 'f, 'v>),
    Convert(Job<'i, 'f, 'v>),
}

impl<'i, 'f, 'v, I: Iterator<Item = Job<'i, 'f, 'v>>> Jobs<'i, 'f, 'v, I> {
    fn next(&mut self) -> Option<Stage<'i, 'f, 'v>> {
        if let Some(job) = self.new.next() {
            return Some(Stage::Decode(job));
        }
        // The latest: its pixels may still be in the cache of the thread that asks.
        self.waiting = self.waiting.checked_sub(1)?;
        self.decoded.get_mut(self.waiting)?.take().map(Stage::Convert)
    }

    /// Keeps a decoded image for whichever thread is free next; gives it back when there is no room.
    fn keep(&mut self, job: Job<'i, 'f, 'v>) -> Option<Job<'i, 'f, 'v>> {
        let place = self.decoded.get_mut(self.waiting).filter(|_| self.waiting < self.room);
        let Some(place) = place else { return Some(job) };
        self.waiting += 1;
        place.replace(job)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resamples and normalises a frame that must become an image of `size`.
fn convert(
    camera: &str,
    transform: &mut EvalTransform,
    size: Size,
    frame: &Pixels<'_>,
    values: &mut [f32],
) -> Result<(), Error> {
    let fail = |reason: String| failure(camera, reason);
    frames::expect(transform, size, frame.width, frame.height).map_err(fail)?;
    transform.apply(frame, values).map(drop).map_err(|error| fail(error.to_string()))
}

fn failure(camera: &str, reason: String) -> Error {
    Error::Camera { camera: camera.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::N1D6;
    use crate::observation::FrameOptions;
    use vla_base::time::Stamp;
    use vla_messages::{HeaderView, write};

    const TRANSFORM: ImageTransformSpec = N1D6.image(256, 0.95);
    const SIZE: Size = Size { width: 336, height: 252 };

    fn sample(seed: u8, (width, height): (u32, u32)) -> CameraSample {
        let data: Vec<u8> = (0..3 * width * height).map(|i| (i % 251) as u8 ^ seed).collect();
        let bytes = write::image(HeaderView::default(), width, height, "rgb8", 3 * width, &data).into();
        let (transport, options) = (Transport::Raw, FrameOptions::default());
        CameraSample { name: "view".into(), stamp: Stamp::default(), transport, options, bytes }
    }

    fn encoder(cameras: &[&str], threads: usize) -> FrameEncoder {
        let images = cameras.iter().map(|camera| ((*camera).to_owned(), SIZE));
        FrameEncoder::new(&TRANSFORM, images, threads).expect("threads")
    }

    fn encode(encoder: &mut FrameEncoder, frames: &[Option<&CameraSample>]) -> Result<Vec<f32>, Error> {
        let length = 3 * SIZE.width * SIZE.height;
        let mut values = vec![0.5; frames.len() * length];
        encoder.encode(0..frames.len(), frames.iter().copied().map(Frame::from), values.chunks_exact_mut(length))?;
        Ok(values)
    }

    #[test]
    fn values_do_not_depend_on_the_number_of_threads() {
        let frames: Vec<CameraSample> = (0..5).map(|seed| sample(seed, (640, 480))).collect();
        let frames: Vec<Option<&CameraSample>> = frames.iter().map(Some).collect();
        let names = ["a", "b", "c", "d", "e"];
        let alone = encode(&mut encoder(&names, 1), &frames).expect("encodes");
        for threads in [2, 3, 8] {
            let mut encoder = encoder(&names, threads);
            assert_eq!(encoder.threads(), threads.min(5));
            for _ in 0..3 {
                assert_eq!(encode(&mut encoder, &frames).expect("encodes"), alone);
            }
        }
    }

    #[test]
    fn the_first_camera_with_a_bad_frame_is_named_whatever_thread_found_it() {
        let (good, small) = (sample(1, (640, 480)), sample(2, (640, 360)));
        let mut encoder = encoder(&["a", "b", "c"], 3);
        for _ in 0..20 {
            let error = encode(&mut encoder, &[Some(&good), Some(&small), Some(&small)]).expect_err("refused");
            assert!(matches!(&error, Error::Camera { camera, .. } if camera == "b"), "{error}");
        }
        encode(&mut encoder, &[Some(&good), Some(&good), Some(&good)]).expect("an old error does not stay");
    }

    #[test]
    fn decoded_pixels_become_the_values_of_their_message() {
        let samples: Vec<CameraSample> = (0..3).map(|seed| sample(seed, (640, 480))).collect();
        let from_samples: Vec<Option<&CameraSample>> = samples.iter().map(Some).collect();
        let expected = encode(&mut encoder(&["a", "b", "c"], 1), &from_samples).expect("encodes");
        let images: Vec<ImageView<'_>> =
            samples.iter().map(|sample| ImageView::parse(&sample.bytes).expect("an image")).collect();
        let frames = images.iter().map(|image| Frame::Pixels(image.pixels_as(None).expect("rgb8")));
        let length = 3 * SIZE.width * SIZE.height;
        let mut values = vec![0.5; 3 * length];
        encoder(&["a", "b", "c"], 2).encode(0..3, frames, values.chunks_exact_mut(length)).expect("encodes");
        assert_eq!(values, expected);
    }

    #[test]
    fn a_blank_image_is_what_a_black_frame_becomes() {
        let black = [0; 3 * 640 * 480];
        let bytes = write::image(HeaderView::default(), 640, 480, "rgb8", 1920, &black).into();
        let black = CameraSample { bytes, ..sample(0, (640, 480)) };
        for (letterbox, size) in [(false, SIZE), (true, Size { width: 252, height: 252 })] {
            let images = ["a", "b"].map(|camera| (camera.to_owned(), size));
            let transform = ImageTransformSpec { letterbox, ..TRANSFORM };
            let mut encoder = FrameEncoder::new(&transform, images, 1).expect("threads");
            let length = 3 * size.width * size.height;
            let mut values = vec![0.5; 2 * length];
            let frames = [Frame::Sample(&black), Frame::Black];
            encoder.encode(0..2, frames.into_iter(), values.chunks_exact_mut(length)).expect("encodes");
            let (frame, blank) = values.split_at(length);
            assert_eq!(frame, blank);
        }
    }
}
