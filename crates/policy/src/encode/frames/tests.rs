//! Frames of several images, on any number of threads.

use super::*;
use crate::family::{N1D6, N1D7};
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

/// The same as JPEG.
fn compressed(seed: u8, (width, height): (usize, usize)) -> CameraSample {
    let raw = sample(seed, (width as u32, height as u32));
    let pixels = ImageView::parse(&raw.bytes).expect("an image").data.to_vec();
    let image = turbojpeg::Image { pixels, width, pitch: 3 * width, height, format: turbojpeg::PixelFormat::RGB };
    let jpeg = turbojpeg::compress(image.as_deref(), 90, turbojpeg::Subsamp::Sub2x2).expect("a JPEG");
    let bytes = write::compressed_image(HeaderView::default(), "jpeg", &jpeg).into();
    CameraSample { bytes, transport: Transport::Compressed, ..raw }
}

#[test]
fn values_do_not_depend_on_the_number_of_threads() {
    let letterbox = ImageTransformSpec { letterbox: true, ..TRANSFORM };
    for (transform, count) in [(TRANSFORM, 5), (TRANSFORM, 1), (letterbox, 2), (N1D7.image(256, 0.95), 2)] {
        let size = EvalTransform::new(&transform).output_size(640, 480).expect("a size");
        let length = 3 * size.width * size.height;
        let frame = |seed| if seed % 2 == 1 { sample(seed, (640, 480)) } else { compressed(seed, (640, 480)) };
        let frames: Vec<CameraSample> = (0..count).map(frame).collect();
        let of_threads = |threads: usize| {
            let images = (0..frames.len()).map(|camera| (camera.to_string(), size));
            let mut encoder = FrameEncoder::new(&transform, images, threads).expect("threads");
            assert_eq!(encoder.threads(), threads.min(MOST_BANDS * frames.len()));
            let mut values = vec![0.5; frames.len() * length];
            for _ in 0..3 {
                values.fill(0.5);
                let samples = frames.iter().map(Frame::Sample);
                encoder.encode(0..frames.len(), samples, values.chunks_exact_mut(length)).expect("encodes");
            }
            values
        };
        let alone = of_threads(1);
        for threads in [2, 4, 7, 40] {
            assert!(of_threads(threads) == alone, "{count} frames on {threads} threads");
        }
    }
}

#[test]
fn an_image_has_as_many_bands_as_make_the_threads_finish_soonest() {
    for (images, threads, expected) in [(3, 1, 1), (3, 2, 2), (3, 3, 1), (3, 6, 2), (1, 2, 2), (1, 8, 8), (2, 8, 4)] {
        assert_eq!(bands(images, 252, threads), expected, "{images} images, {threads} threads");
    }
    // A thin image is not divided into bands that are little more than what they share.
    assert_eq!(bands(1, 4, 8), 1);
}

#[test]
fn threads_without_a_number_leave_half_of_a_large_machine_free() {
    for (images, cores, expected) in [(3, 1, 1), (3, 2, 2), (3, 4, 3), (3, 8, 4), (3, 16, 6), (1, 64, 2), (0, 4, 0)] {
        assert_eq!(usual_threads(images, cores), expected, "{images} images, {cores} cores");
    }
}

#[test]
fn the_first_camera_with_a_bad_frame_is_named_whatever_thread_found_it() {
    let (good, small) = (sample(1, (640, 480)), sample(2, (640, 360)));
    for threads in [3, 8] {
        let mut encoder = encoder(&["a", "b", "c"], threads);
        for _ in 0..20 {
            let error = encode(&mut encoder, &[Some(&good), Some(&small), Some(&small)]).expect_err("refused");
            assert!(matches!(&error, Error::Camera { camera, .. } if camera == "b"), "{error}");
        }
        encode(&mut encoder, &[Some(&good), Some(&good), Some(&good)]).expect("an old error does not stay");
    }
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
