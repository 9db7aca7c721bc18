//! Pixels of camera frames: what the kernel makes of a slot, beside what the host makes of the same frame, bit by bit.

use vla_cuda::launch::{Arguments, Kernel, ResampleArguments};
use vla_engines::frames::{FrameSlots, MOST_STEPS};
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::EvalTransform;
use vla_policy::encode::resize::Size;
use vla_policy::family::{N1D6, N1D7};
use vla_policy::processor::{Framing, ImageTransformSpec};

use crate::support::{Bytes, Random, launch};

/// Random pixels, with areas of black and white.
fn picture(size: Size, random: &mut Random) -> Vec<u8> {
    let mut value = || match random.below(4) {
        0 => 0,
        1 => 255,
        _ => random.below(256) as u8,
    };
    (0..3 * size.width * size.height).map(|_| value()).collect()
}

/// Images of one input: each a frame, or `None` for pixels.
fn check(spec: &ImageTransformSpec, frames: &[Option<Size>], output: Size, random: &mut Random) {
    let size = [output.width, output.height];
    let image = 3 * output.width * output.height;
    let mut slots = Bytes::new(1, 4 * FrameSlots::words(frames.len(), size));
    let mut transform = EvalTransform::new(spec);
    let mut expected = vec![0.0_f32; frames.len() * image];
    let memory = bytemuck::cast_slice_mut(slots.all());
    for ((slot, frame), expected) in
        FrameSlots::new(memory, size).images().zip(frames).zip(expected.chunks_exact_mut(image))
    {
        let Some(frame) = frame else {
            expected.fill_with(|| random.value() as f32);
            slot.into_pixels().copy_from_slice(expected);
            continue;
        };
        let data = picture(*frame, random);
        let pixels = Pixels::new(PixelFormat::Rgb8, frame.width, frame.height, 3 * frame.width, &data).unwrap();
        assert_eq!(transform.apply(&pixels, expected).unwrap(), output, "{frame:?}");
        let on_device = transform.on_device(frame.width, frame.height).unwrap().expect("a device takes it");
        let bytes = slot.into_frame(on_device).unwrap_or_else(|_| panic!("no room for {frame:?}"));
        bytes.copy_from_slice(&data);
    }
    let between = Bytes::new(frames.len(), 4 * image);
    let mut pixels = Bytes::new(frames.len(), 4 * image);
    for step in 0..MOST_STEPS {
        let arguments = ResampleArguments {
            slots: slots.address(),
            between: between.address(),
            pixels: pixels.address(),
            images: frames.len() as i32,
            width: output.width as i32,
            height: output.height as i32,
            step: step as i32,
        };
        launch(Kernel::Resample, Arguments::Resample(arguments), random);
    }
    let made: &[f32] = bytemuck::cast_slice(&pixels.all()[..4 * expected.len()]);
    let differs = made.iter().zip(&expected).position(|(made, expected)| made.to_bits() != expected.to_bits());
    assert_eq!(differs, None, "{spec:?}: {frames:?}");
}

fn sizes<const N: usize>(sizes: [(usize, usize); N]) -> [Size; N] {
    sizes.map(|(width, height)| Size { width, height })
}

#[test]
fn frames_become_the_pixels_that_the_host_makes_of_them() {
    let mut random = Random(41);
    let letterbox = ImageTransformSpec { letterbox: true, ..N1D7.image(64, 0.95) };
    let stretched = ImageTransformSpec {
        framing: Framing::Stretched { target: Size { width: 80, height: 60 }, crop: Size { width: 76, height: 57 } },
        ..N1D7.image(64, 0.95)
    };
    let whole = N1D7.image(64, 1.0);
    for (spec, frames) in [
        // Shrunk by any ratio, by whole numbers, by two, left as they are, and enlarged.
        (&N1D6.image(64, 0.95), sizes([(144, 108), (96, 72), (128, 96), (85, 64), (48, 36), (150, 113)])),
        (&N1D7.image(64, 0.95), sizes([(160, 120), (96, 72), (128, 96), (85, 64), (48, 36), (150, 113)])),
        (&whole, sizes([(128, 128), (64, 64), (64, 48), (160, 120), (85, 64), (100, 75)])),
        (&letterbox, sizes([(120, 90), (90, 120), (256, 64), (64, 48), (64, 64), (160, 20)])),
        (&stretched, sizes([(160, 120), (80, 60), (60, 80), (120, 40), (40, 30), (81, 61)])),
    ] {
        for frame in frames {
            let output = EvalTransform::new(spec).output_size(frame.width, frame.height).unwrap();
            check(spec, &[Some(frame)], output, &mut random);
        }
    }
}

#[test]
fn images_of_one_input_may_be_frames_of_several_sizes_and_pixels() {
    let mut random = Random(42);
    let spec = N1D6.image(64, 0.95);
    let frames = sizes([(128, 96), (64, 48), (144, 108)]).map(Some);
    let output = EvalTransform::new(&spec).output_size(128, 96).unwrap();
    check(&spec, &[frames[0], None, frames[1], frames[2]], output, &mut random);
    check(&spec, &[None, None], output, &mut random);
}

#[test]
fn a_usual_camera_at_full_size() {
    let mut random = Random(43);
    for family in [&N1D6, &N1D7] {
        let spec = family.image(256, 0.95);
        let frame = Size { width: 640, height: 480 };
        let output = EvalTransform::new(&spec).output_size(frame.width, frame.height).unwrap();
        check(&spec, &[Some(frame)], output, &mut random);
    }
}
