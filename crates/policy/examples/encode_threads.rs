//! Frames of several cameras to pixel values on one thread and on several, alternating in one run.
//!
//! ```sh
//! cargo build --release -p vla_policy --example encode_threads
//! taskset -c 0-3 target/release/examples/encode_threads 3 640x480 2,3 jpeg    # cameras, frames, threads, jpeg or raw
//! ```
//!
//! It needs no ROS, no ONNX Runtime and no GPU. The results are compared bit by bit. Printed are medians, and the ratio of the
//! medians of the same run.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use vla_base::time::Stamp;
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
    values: Vec<f32>,
    seconds: Vec<f64>,
}

impl Side {
    fn new(cameras: usize, size: Size, threads: usize) -> Result<Self> {
        let images = (0..cameras).map(|camera| (format!("camera {camera}"), size));
        let encoder = FrameEncoder::new(&TRANSFORM, images, threads)?;
        ensure!(encoder.threads() == threads, "expected {threads} threads, found {}", encoder.threads());
        Ok(Self { encoder, values: vec![0.0; cameras * 3 * size.width * size.height], seconds: Vec::new() })
    }

    fn turn(&mut self, frames: &[CameraSample]) -> Result<()> {
        let image = self.values.len() / frames.len();
        let started = Instant::now();
        self.encoder.encode(0..frames.len(), frames.iter().map(Frame::Sample), self.values.chunks_exact_mut(image))?;
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
        let mut one = Side::new(cameras, output, 1)?;
        let mut several = Side::new(cameras, output, threads)?;
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
