//! Frames to pixels.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;
use vla_base::sys::simd::Simd;
use vla_policy::encode::EvalTransform;
use vla_policy::encode::resize::{Filter, FilterResize, Packed, Size};
use vla_policy::family::N1D7;
use vla_policy::processor::{Framing, ImageTransformSpec};
use vla_trt_tests::vectors::{json, oracle_n1d7};

use crate::oracle_processor::{Image, size};

/// The transform of one image of the manifest.
fn transform(entry: &Value) -> ImageTransformSpec {
    let edge = entry["shortest_image_edge"].as_u64().expect("an edge") as usize;
    let image = N1D7.image(edge, entry["crop_fraction"].as_f64().expect("a fraction"));
    let framing = match entry["use_albumentations"].as_bool() {
        Some(true) => image.framing,
        _ => Framing::Stretched { target: size(&entry["image_target_size"]), crop: size(&entry["image_crop_size"]) },
    };
    ImageTransformSpec { letterbox: entry["letter_box_transform"].as_bool().expect("a flag"), framing, ..image }
}

/// Fails where a sample of the transformed frame differs from `expected`; returns how many samples there were.
fn compare(what: &str, spec: &ImageTransformSpec, simd: Simd, input: &Image, expected: &Image) -> usize {
    let mut transform = EvalTransform::new(spec).with_simd(simd);
    let mut data = vec![0; expected.data.len()];
    let found = transform.apply_u8(&input.pixels(), &mut data).expect("a result");
    expected.assert_equals(what, found, Packed { data: &data, width: found.width })
}

#[test]
fn every_image_is_bit_exact_with_and_without_letterbox_and_by_torchvision() {
    let Some(oracle) = oracle_n1d7() else { return };
    let manifest = json(&oracle.join("transforms/manifest.json"));
    let images = manifest["images"].as_array().expect("images");
    assert!(images.len() >= 20);
    let mut samples = [0; 2];
    for entry in images {
        let n = entry["n"].as_str().expect("a number");
        let file = |name: &str| Image::read(&oracle.join("transforms/images").join(name));
        let (input, before) = (file(entry["input"].as_str().expect("a name")), file(&format!("{n}_s3_resize.png")));
        let last = if entry["out_equals_s3"] == true { before.clone() } else { file(&format!("{n}_out.png")) };
        assert_eq!(last.size, size(&entry["out_hw"]));
        let spec = transform(entry);
        assert_eq!(spec.smart_resize.image_tokens(last.size) as u64, entry["tokens"].as_u64().expect("tokens"));
        let mut resize = FilterResize::plan(before.size, last.size, Filter::TORCHVISION_BICUBIC).expect("a recipe");
        samples[0] += last.assert_equals(&format!("{n}: smart resize"), resize.size(), resize.over(before.rows()));
        for simd in [Simd::PORTABLE, Simd::widest()] {
            samples[1] += compare(&format!("{n}: all together"), &spec, simd, &input, &last);
        }
    }
    eprintln!("{} images, samples of the last step and of all together {samples:?}, none differs", images.len());
}

#[test]
fn frames_of_the_recorded_observations_are_bit_exact() {
    let Some(oracle) = oracle_n1d7() else { return };
    let (mut frames, mut samples) = (0, 0);
    for observation in ["obs0", "obs1", "obs2", "obs3", "obs4", "obs5"] {
        let folder = oracle.join("tiny").join(observation);
        let meta = json(&folder.join("meta.json"));
        let letterbox = meta["letter_box_transform"].as_bool().unwrap_or_default();
        let spec = ImageTransformSpec { letterbox, ..N1D7.image(256, 0.95) };
        for camera in meta["cameras"].as_array().expect("cameras") {
            let camera = camera.as_str().expect("a name");
            for time in 0..meta["video_delta_indices"].as_array().expect("times").len() {
                let file = |kind: &str| Image::read(&folder.join(format!("{kind}_{camera}_{time}.png")));
                let what = format!("{observation} {camera} {time}");
                samples += compare(&what, &spec, Simd::widest(), &file("raw"), &file("proc"));
                frames += 1;
            }
        }
    }
    assert!(frames >= 15, "{frames}");
    eprintln!("{frames} frames, {samples} samples, none differs");
}

#[test]
fn sizes_are_those_of_the_image_processor() {
    let Some(oracle) = oracle_n1d7() else { return };
    let sizes = json(&oracle.join("transforms/smart_resize.json"));
    let rows = sizes["rows"].as_array().expect("rows");
    assert!(rows.len() >= 150);
    for row in rows.iter().filter(|row| row[2].is_u64()) {
        let side = |at: usize| row[at].as_u64().expect("a side") as usize;
        let [input, output] = [0, 2].map(|at| Size { width: side(at + 1), height: side(at) });
        assert_eq!(N1D7.smart_resize.size(input), output, "{input:?}");
    }
}

/// Pixels `[3, height, width]` of an image in the order of the vendor's `pixel_values`: patches of 16x16 in groups of 2x2, each
/// channel, time, row, column, both times the same.
fn patches(pixels: &[f32], size: Size) -> Vec<f32> {
    const PATCH: usize = 16;
    let mut out = Vec::with_capacity(2 * pixels.len());
    for group_y in (0..size.height).step_by(2 * PATCH) {
        for group_x in (0..size.width).step_by(2 * PATCH) {
            for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (top, left) = (group_y + dy * PATCH, group_x + dx * PATCH);
                for plane in pixels.chunks_exact(size.width * size.height) {
                    for _time in 0..2 {
                        for y in top..top + PATCH {
                            out.extend_from_slice(&plane[y * size.width + left..][..PATCH]);
                        }
                    }
                }
            }
        }
    }
    out
}

fn floats(path: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(path).expect("tensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let data = tensors.tensor(name).expect("a tensor").data();
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
}

#[test]
fn pixel_values_are_the_vendors_to_the_last_bit() {
    let Some(oracle) = oracle_n1d7() else { return };
    let input = Image::read(&oracle.join("transforms/images/01_in.png"));
    let mut transform = EvalTransform::new(&N1D7.image(256, 0.95));
    let size = transform.prepare(input.size.width, input.size.height).expect("a size");
    let mut pixels = vec![0.0; 3 * size.width * size.height];
    transform.apply(&input.pixels(), &mut pixels).expect("a result");
    let expected = floats(&oracle.join("transforms/pixel_values_01.safetensors"), "pixel_values");
    let found = patches(&pixels, size);
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(found, expected)| found.to_bits() == expected.to_bits()));
}
