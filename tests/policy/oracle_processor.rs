//! The processor against what the vendor's own code computed (`shared/oracle`), to the last bit.
//!
//! Skipped, aloud, where the oracle is not there.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::EvalTransform;
use vla_policy::encode::resize::{AreaResize, Filter, FilterResize, Packed, Rows, Size, Window};
use vla_policy::family::N1D6;
use vla_policy::processor::ImageTransformSpec;
use vla_trt_tests::vectors::{json, oracle};

/// What the released checkpoints use.
const TRANSFORM: ImageTransformSpec = N1D6.image(256, 0.95);

/// An RGB image in memory.
#[derive(Clone)]
pub(crate) struct Image {
    pub size: Size,
    pub data: Vec<u8>,
}

impl Image {
    pub(crate) fn read(path: &Path) -> Self {
        let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
        let mut data = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut data).expect("a whole PNG");
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        Self { size: Size { width: info.width as usize, height: info.height as usize }, data }
    }

    pub(crate) fn rows(&self) -> Packed<'_> {
        Packed { data: &self.data, width: self.size.width }
    }

    pub(crate) fn pixels(&self) -> Pixels<'_> {
        pixels(self.size, &self.data)
    }

    fn crop(&self, window: Window) -> Self {
        let mut rows = self.rows();
        let part = |y| rows.row(y)[3 * window.x..][..3 * window.size.width].to_vec();
        let data = (window.y..window.y + window.size.height).flat_map(part).collect();
        Self { size: window.size, data }
    }

    /// Fails where a sample differs; returns how many samples there were.
    pub(crate) fn assert_equals(&self, what: &str, size: Size, mut rows: impl Rows) -> usize {
        assert_eq!(self.size, size, "{what}: size");
        let data: Vec<u8> = (0..size.height).flat_map(|y| rows.row(y).to_vec()).collect();
        let wrong = self.data.iter().zip(&data).filter(|(expected, found)| expected != found).count();
        assert_eq!(wrong, 0, "{what}: {wrong} of {} samples differ", data.len());
        data.len()
    }
}

fn pixels(size: Size, data: &[u8]) -> Pixels<'_> {
    Pixels::new(PixelFormat::Rgb8, size.width, size.height, 3 * size.width, data).expect("consistent")
}

/// `[height, width]`
pub(crate) fn size(value: &Value) -> Size {
    let side = |i: usize| value[i].as_u64().expect("a side") as usize;
    Size { width: side(1), height: side(0) }
}

#[test]
fn every_stage_of_the_image_transform_is_bit_exact() {
    let Some(oracle) = oracle() else { return };
    let manifest = json(&oracle.join("transforms/manifest.json"));
    let images = manifest["images"].as_array().expect("images");
    assert!(images.len() >= 13);
    // Samples of: shortest edge whole and cropped, shortest edge again, smart resize, all together.
    let mut samples = [0; 5];
    for entry in images {
        let n = entry["n"].as_str().expect("a number");
        let image = |stage: &str| Image::read(&oracle.join(format!("transforms/images/{n}_{stage}.png")));
        let (input, first, second, output) = (image("in"), image("s1_resize"), image("s3_resize"), image("out"));
        assert_eq!(input.size, size(&entry["in_hw"]));
        let crop = &entry["crop_yx"];
        let [y, x] = [0, 1].map(|i| crop[i].as_u64().expect("an offset") as usize);
        let window = Window { x, y, size: size(&entry["crop_hw"]) };
        let cropped = first.crop(window);

        let mut whole = AreaResize::plan(input.size, first.size, Window::full(first.size)).expect("a recipe");
        samples[0] +=
            first.assert_equals(&format!("{n}: shortest edge, whole"), whole.size(), whole.over(input.rows()));
        let mut part = AreaResize::plan(input.size, first.size, window).expect("a recipe");
        samples[1] +=
            cropped.assert_equals(&format!("{n}: shortest edge, cropped"), part.size(), part.over(input.rows()));
        let mut again = AreaResize::plan(window.size, second.size, Window::full(second.size)).expect("a recipe");
        samples[2] +=
            second.assert_equals(&format!("{n}: shortest edge again"), again.size(), again.over(cropped.rows()));
        let mut smart = FilterResize::plan(second.size, output.size, Filter::PILLOW_BICUBIC).expect("a recipe");
        samples[3] += output.assert_equals(&format!("{n}: smart resize"), smart.size(), smart.over(second.rows()));

        let mut transform = EvalTransform::new(&TRANSFORM);
        let mut data = vec![0; output.data.len()];
        let found = transform.apply_u8(&input.pixels(), &mut data).expect("a result");
        samples[4] +=
            output.assert_equals(&format!("{n}: all together"), found, Packed { data: &data, width: found.width });
        assert_eq!(TRANSFORM.smart_resize.image_tokens(found), entry["tokens"].as_u64().expect("tokens") as usize);
    }
    eprintln!("{} images, samples by stage {samples:?}, none differs", images.len());
}

#[test]
fn views_of_the_recorded_observations_are_bit_exact_with_one_transform_for_all_cameras() {
    let Some(oracle) = oracle() else { return };
    let mut transform = EvalTransform::new(&TRANSFORM);
    let (mut views, mut samples) = (0, 0);
    for observation in ["obs0", "obs1", "obs2", "obs3"] {
        for camera in ["top", "left_wrist", "right_wrist"] {
            let image = |kind: &str| Image::read(&oracle.join(format!("tiny/{observation}/{kind}_{camera}.png")));
            let (raw, processed) = (image("raw"), image("proc"));
            let mut data = vec![0; processed.data.len()];
            let size = transform.apply_u8(&raw.pixels(), &mut data).expect("a result");
            views += 1;
            samples += processed.assert_equals(
                &format!("{observation} {camera}"),
                size,
                Packed { data: &data, width: size.width },
            );
        }
    }
    eprintln!("{views} views, {samples} samples, none differs");
}
