//! Which frame becomes which image of which tensor.

use std::collections::BTreeMap;

use super::*;
use crate::family::N1D6;
use crate::observation::{FrameOptions, Transport};
use vla_base::time::Stamp;
use vla_engines::frames::{FrameSlots, TABLE_WORDS};
use vla_engines::{BoundInput, StageOutput, StageReport, StageTime, Symbols};
use vla_messages::{HeaderView, write};

const TRANSFORM: ImageTransformSpec = N1D6.image(256, 0.95);
/// What 640x480 and 640x360 become.
const NORMAL: [usize; 2] = [252, 336];
const WIDE: [usize; 2] = [252, 448];

/// Keeps what is written to its inputs.
#[derive(Default)]
struct Buffers {
    pixels: BTreeMap<String, Vec<f32>>,
    /// In place of them, where the pipeline takes frames: memory of slots, and the size of an image.
    slots: BTreeMap<String, (Vec<f32>, [usize; 2])>,
}

impl Inference for Buffers {
    fn kind(&self) -> &'static str {
        "none"
    }

    fn prepare(&mut self, _: &Symbols, _: u32) -> Result<(), vla_engines::Error> {
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), vla_engines::Error> {
        let values = tensor.as_f32().expect("pixels are f32").to_vec();
        self.pixels.insert(name.to_owned(), values);
        Ok(())
    }

    fn input_buffer_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        self.pixels.get_mut(name).map(Vec::as_mut_slice)
    }

    fn accept_frames(&mut self, name: &str) -> bool {
        self.slots.contains_key(name)
    }

    fn frames_mut(&mut self, name: &str) -> Option<FrameSlots<'_>> {
        let (memory, size) = self.slots.get_mut(name)?;
        Some(FrameSlots::new(memory, *size))
    }

    fn execute(&mut self, _: &mut [StageTime]) -> Result<(), vla_engines::Error> {
        Ok(())
    }

    fn inspect(&mut self, _: &mut dyn FnMut(StageOutput<'_>)) -> Result<(), vla_engines::Error> {
        Ok(())
    }

    fn read(&mut self, _: &str, _: &mut HostTensor) -> Result<(), vla_engines::Error> {
        Ok(())
    }

    fn shapes(&self, _: &mut dyn FnMut(BoundInput<'_>)) {}

    fn host_inputs(&self) -> Vec<TensorSpec> {
        Vec::new()
    }

    fn tensor(&self, _: &str) -> Option<&TensorSpec> {
        None
    }

    fn reports(&self) -> &[StageReport] {
        &[]
    }
}

fn spec(name: &str, images: usize, [height, width]: [usize; 2]) -> TensorSpec {
    let dims = [images, 3, height, width].map(Dim::Fixed).to_vec();
    TensorSpec { name: name.to_owned(), dtype: DType::F32, dims }
}

/// A frame of one grey.
fn sample(grey: u8, (width, height): (u32, u32)) -> CameraSample {
    let data = vec![grey; (width * height) as usize];
    let bytes = write::image(HeaderView::default(), width, height, "mono8", width, &data).into();
    let (transport, options) = (Transport::Raw, FrameOptions::default());
    CameraSample { name: "view".into(), stamp: Stamp::default(), transport, options, bytes }
}

/// Encodes an observation, and returns the grey of each image of each tensor.
fn greys(
    (cameras, blank, times, threads): (&[&str], &[&str], usize, usize),
    tensors: &[TensorSpec],
    observed: &Observation,
) -> Result<Vec<Vec<u8>>, Error> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (cameras, blank) = (owned(cameras), owned(blank));
    let options = ViewOptions { cameras: &cameras, blank: &blank, times, transform: &TRANSFORM, threads };
    let mut views = Views::new(options, tensors)?;
    let lengths = tensors.iter().map(|tensor| {
        let sides = tensor.dims.iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { 0 });
        (tensor.name.clone(), vec![f32::NAN; sides.product()])
    });
    let mut buffers = Buffers { pixels: lengths.collect(), ..Buffers::default() };
    for _ in 0..2 {
        views.encode(observed, &mut buffers)?;
    }
    let grey = |image: &[f32]| {
        assert!(image.iter().all(|value| *value == image[0]), "one grey");
        (image[0] * 127.5 + 127.5).round() as u8
    };
    let images = |tensor: &TensorSpec| {
        let values = &buffers.pixels[&tensor.name];
        let Dim::Fixed(images) = tensor.dims[0] else { panic!("fixed") };
        values.chunks_exact(values.len() / images).map(grey).collect()
    };
    Ok(tensors.iter().map(images).collect())
}

#[test]
fn stacked_images_are_ordered_by_time_then_view() {
    let frame = |grey| sample(grey, (640, 480));
    let observed = Observation {
        cameras: [13, 23].map(frame).to_vec(),
        earlier_frames: [11, 12, 21, 22].map(frame).to_vec(),
        ..Observation::default()
    };
    for threads in [1, 2, 4] {
        let found = greys((&["a", "b"], &[], 3, threads), &[spec("pixels", 6, NORMAL)], &observed);
        assert_eq!(found.expect("encodes"), [[11, 21, 12, 22, 13, 23]], "{threads} threads");
    }
}

#[test]
fn images_of_one_camera_each_are_ordered_by_time_on_any_number_of_threads() {
    let (normal, wide) = ((640, 480), (640, 360));
    let observed = Observation {
        cameras: vec![sample(12, normal), sample(22, wide)],
        earlier_frames: vec![sample(11, normal), sample(21, wide)],
        ..Observation::default()
    };
    // The stages may read them in another order than that of the views.
    let tensors = [spec("pixels.b", 2, WIDE), spec("pixels.a", 2, NORMAL)];
    for threads in [1, 2, 4] {
        let found = greys((&["a", "b"], &[], 2, threads), &tensors, &observed).expect("encodes");
        assert_eq!(found, [[21, 22], [11, 12]], "{threads} threads");
    }
}

#[test]
fn a_blank_view_is_black_and_takes_no_frame() {
    let frame = |grey| sample(grey, (640, 480));
    let observed = Observation {
        cameras: [12, 32].map(frame).to_vec(),
        earlier_frames: [11, 31].map(frame).to_vec(),
        ..Observation::default()
    };
    let found = greys((&["a", "b", "c"], &["b"], 2, 2), &[spec("pixels", 6, NORMAL)], &observed);
    assert_eq!(found.expect("encodes"), [[11, 0, 31, 12, 0, 32]]);
}

#[test]
fn frames_that_are_missing_or_too_many_are_refused() {
    let frame = |grey| sample(grey, (640, 480));
    let tensors = [spec("pixels", 2, NORMAL)];
    for (cameras, earlier) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
        let observed = Observation {
            cameras: vec![frame(1); cameras],
            earlier_frames: vec![frame(2); earlier],
            ..Observation::default()
        };
        let found = greys((&["a"], &[], 2, 1), &tensors, &observed);
        assert!(matches!(found, Err(Error::Cameras { .. })), "{cameras} and {earlier}: {found:?}");
    }
}

#[test]
fn every_camera_needs_one_tensor() {
    for tensors in [vec![spec("pixels.a", 1, NORMAL)], vec![spec("pixels", 2, NORMAL), spec("pixels.b", 1, NORMAL)]] {
        let found = greys((&["a", "b"], &[], 1, 1), &tensors, &Observation::default());
        assert!(matches!(&found, Err(Error::NoPixels { .. })), "{found:?}");
    }
}

#[test]
fn a_pipeline_that_takes_frames_gets_those_that_are_no_larger_than_their_pixels() {
    let frame = |grey, size| sample(grey, size);
    let [height, width] = NORMAL;
    let image = 3 * width * height;
    for threads in [1, 2, 3, 8] {
        let cameras = ["a", "b", "c"].map(str::to_owned);
        let options = ViewOptions { cameras: &cameras, blank: &cameras[2..], times: 1, transform: &TRANSFORM, threads };
        let mut views = Views::new(options, &[spec("pixels", 3, NORMAL)]).expect("views");
        let slots = (vec![f32::NAN; FrameSlots::words(3, [width, height])], [width, height]);
        let mut buffers = Buffers { slots: [("pixels".to_owned(), slots)].into(), ..Buffers::default() };
        views.offer_frames(&mut buffers);
        // The first two change places.
        for sizes in [[(640, 480), (1280, 960)], [(1280, 960), (640, 480)], [(640, 480), (320, 240)]] {
            let observed =
                Observation { cameras: vec![frame(17, sizes[0]), frame(34, sizes[1])], ..Observation::default() };
            views.encode(&observed, &mut buffers).expect("encodes");
            let memory = &buffers.slots["pixels"].0;
            for (at, (size, grey)) in sizes.into_iter().zip([17_u8, 34]).enumerate() {
                let slot = &memory[3 * TABLE_WORDS + at * image..][..image];
                let steps = memory[at * TABLE_WORDS].to_bits();
                let bytes = (3 * size.0 * size.1) as usize;
                if bytes <= 4 * image {
                    assert_eq!(steps, 3, "a frame of {size:?}");
                    assert!(
                        bytemuck::cast_slice::<f32, u8>(slot)[..bytes].iter().all(|&byte| byte == grey),
                        "{size:?}"
                    );
                } else {
                    assert_eq!(steps, 0, "pixels of {size:?}");
                    assert!(slot.iter().all(|&value| value == (f32::from(grey) - 127.5) / 127.5), "{size:?}");
                }
            }
            assert_eq!(memory[2 * TABLE_WORDS].to_bits(), 0);
            assert!(
                memory[3 * TABLE_WORDS + 2 * image..].iter().all(|&value| value == -1.0),
                "the blank view is black"
            );
        }
        views.encode_zeros(&mut buffers).expect("zeros, which no frame becomes");
    }
}
