//! Frames of several cameras to pixel values on one thread and on several, alternating in one run.
//!
//! ```sh
//! cargo build --release -p vla_policy --example encode_threads
//! taskset -c 0-3 target/release/examples/encode_threads 3 640x480 2,3 jpeg          # cameras, frames, threads, jpeg or raw
//! taskset -c 0-3 target/release/examples/encode_threads 3 640x480 2,3 jpeg frames   # the host's part of encode.device gpu beside it
//! ```
//!
//! It needs no ROS, no ONNX Runtime and no GPU. The results are compared bit by bit. Printed are medians, and the ratio of the
//! medians of the same run. With `frames` both sides have the number of threads: one makes pixels, the other puts the frames into memory for a
//! device, as it does for engine kind `cuda`.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use vla_base::time::Stamp;
use vla_engines::frames::{FrameSlots, TABLE_WORDS};
use vla_messages::{HeaderView, write};
use vla_policy::encode::resize::Size;
use vla_policy::encode::{EvalTransform, Frame, FrameEncoder};
use vla_policy::family::N1D6;
use vla_policy::observation::{CameraSample, FrameOptions, Transport};
use vla_policy::processor::ImageTransformSpec;

const TRANSFORM: ImageTransformSpec = N1D6.image(256, 0.95);
const ROUNDS: usize = 400;
const WARM_UP: usize = 20;

struct Side {
    encoder: FrameEncoder,
    size: Size,
    /// Pixels, or slots for frames.
    values: Vec<f32>,
    seconds: Vec<f64>,
}

impl Side {
    fn new(cameras: usize, size: Size, threads: usize, words: usize) -> Result<Self> {
        let images = (0..cameras).map(|camera| (format!("camera {camera}"), size));
        let encoder = FrameEncoder::new(&TRANSFORM, images, threads)?;
        ensure!(encoder.threads() == threads, "expected {threads} threads, found {}", encoder.threads());
        Ok(Self { encoder, size, values: vec![0.0; words], seconds: Vec::new() })
    }

    fn pixels(cameras: usize, size: Size, threads: usize) -> Result<Self> {
        Self::new(cameras, size, threads, cameras * 3 * size.width * size.height)
    }

    fn frames(cameras: usize, size: Size, threads: usize) -> Result<Self> {
        Self::new(cameras, size, threads, FrameSlots::words(cameras, [size.width, size.height]))
    }

    fn turn(&mut self, frames: &[CameraSample]) -> Result<()> {
        let started = Instant::now();
        let Size { width, height } = self.size;
        let samples = frames.iter().map(Frame::Sample);
        if self.values.len() == frames.len() * 3 * width * height {
            self.encoder.encode(0..frames.len(), samples, self.values.chunks_exact_mut(3 * width * height))?;
        } else {
            let slots = FrameSlots::new(&mut self.values, [width, height]).images();
            self.encoder.encode(0..frames.len(), samples, slots)?;
        }
        self.seconds.push(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn median_ms(&mut self) -> f64 {
        self.seconds.drain(..WARM_UP);
        self.seconds.sort_by(f64::total_cmp);
        1000.0 * self.seconds[self.seconds.len() / 2]
    }
}

/// A picture with edges and texture, so that its JPEG is of a camera's size (some 60 kB at 640x480).
fn picture(width: usize, height: usize, camera: usize) -> Vec<u8> {
    let value = |index: usize| {
        let (x, y, c) = (index / 3 % width, index / 3 / width, index % 3);
        let checker = if (x / 40 + y / 40) % 2 == 0 { 60 } else { 0 };
        let texture = (x * 7 + y * 13 + (x * y) % 31) % 23;
        ((x * 160 / width + (y + 9 * camera) * (c + 1) * 20 / height) + checker + texture).min(255) as u8
    };
    (0..3 * width * height).map(value).collect()
}

fn frame(camera: usize, (width, height): (usize, usize), transport: Transport) -> Result<CameraSample> {
    let (header, pixels) = (HeaderView::default(), picture(width, height, camera));
    let bytes = match transport {
        Transport::Raw => write::image(header, width as u32, height as u32, "rgb8", 3 * width as u32, &pixels),
        Transport::Compressed => {
            let format = turbojpeg::PixelFormat::RGB;
            let image = turbojpeg::Image { pixels: pixels.as_slice(), width, pitch: 3 * width, height, format };
            write::compressed_image(header, "jpeg", &turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x2)?)
        }
    };
    let options = FrameOptions::default();
    Ok(CameraSample { name: "camera".into(), stamp: Stamp::default(), transport, options, bytes: bytes.into() })
}

/// Pixels and frames for a device, on the same number of threads.
fn beside_frames(frames: &[CameraSample], output: Size, threads: usize, (width, height): (usize, usize)) -> Result<()> {
    let mut pixels = Side::pixels(frames.len(), output, threads)?;
    let mut for_device = Side::frames(frames.len(), output, threads)?;
    for _ in 0..ROUNDS {
        pixels.turn(frames)?;
        for_device.turn(frames)?;
    }
    let taken = for_device.values.chunks(TABLE_WORDS).take(frames.len()).all(|table| table[0].to_bits() != 0);
    ensure!(taken, "frames of {width}x{height} are larger than their pixels: the host resamples them");
    let (pixels, for_device) = (pixels.median_ms(), for_device.median_ms());
    println!(
        "{} cameras of {width}x{height}, {threads} threads: pixels {pixels:.3} ms, frames for a device {for_device:.3} ms, ratio {:.2}",
        frames.len(),
        pixels / for_device
    );
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, default: &str| arguments.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let cameras: usize = argument(0, "3").parse()?;
    let sides = argument(1, "640x480");
    let (width, height) = sides.split_once('x').context("expected WIDTHxHEIGHT")?;
    let size = (width.parse()?, height.parse()?);
    let transport = if argument(3, "jpeg") == "raw" { Transport::Raw } else { Transport::Compressed };
    let frames = (0..cameras).map(|camera| frame(camera, size, transport)).collect::<Result<Vec<_>>>()?;
    let output = EvalTransform::new(&TRANSFORM).output_size(size.0, size.1)?;
    for threads in argument(2, "2,3").split(',') {
        let threads: usize = threads.parse()?;
        if argument(4, "") == "frames" {
            beside_frames(&frames, output, threads, size)?;
            continue;
        }
        let mut one = Side::pixels(cameras, output, 1)?;
        let mut several = Side::pixels(cameras, output, threads)?;
        for _ in 0..ROUNDS {
            one.turn(&frames)?;
            several.turn(&frames)?;
        }
        let same = one.values.iter().zip(&several.values).all(|(a, b)| a.to_bits() == b.to_bits());
        ensure!(same, "expected the same values on {threads} threads, found others");
        let (one, several) = (one.median_ms(), several.median_ms());
        println!(
            "{cameras} {transport} cameras of {}x{}: 1 thread {one:.3} ms, {threads} threads {several:.3} ms, ratio {:.2}",
            size.0,
            size.1,
            one / several
        );
    }
    Ok(())
}
