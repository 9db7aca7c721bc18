//! Every set of instructions that the loops are compiled for gives what OpenCV's `INTER_AREA` recipes, written out one
//! pixel at a time, give; at sizes that no vector register divides, and for pictures that make ties.

use proptest::prelude::*;
use vla_base::sys::simd::Simd;
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::image::EvalTransform;
use vla_policy::encode::resize::{AreaResize, Filter, FilterResize, Packed, Rows, Size, Window};
use vla_policy::family::N1D6;
use vla_policy::processor::ImageTransformSpec;

const TRANSFORM: ImageTransformSpec = N1D6.image(256, 0.95);

/// The portable path and the one that this machine takes.
fn paths() -> [Simd; 2] {
    [Simd::PORTABLE, Simd::widest()]
}

fn collect(mut rows: impl Rows, size: Size) -> Vec<u8> {
    (0..size.height).flat_map(|y| rows.row(y).to_vec()).collect()
}

fn area(data: &[u8], input: Size, output: Size, simd: Simd) -> Option<Vec<u8>> {
    let mut plan = AreaResize::plan(input, output, Window::full(output))?.with_simd(simd);
    Some(collect(plan.over(Packed { data, width: input.width }), output))
}

fn bicubic(data: &[u8], input: Size, output: Size, simd: Simd) -> Vec<u8> {
    let mut plan = FilterResize::plan(input, output, Filter::PILLOW_BICUBIC).expect("a recipe").with_simd(simd);
    collect(plan.over(Packed { data, width: input.width }), output)
}

/// A picture of a few levels, which makes flat parts and ties likely.
fn picture(size: Size, levels: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut level = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        levels[(state >> 33) as usize % levels.len()]
    };
    (0..3 * size.width * size.height).map(|_| level()).collect()
}

/// Sample `channel` of pixel (x, y).
fn at(data: &[u8], size: Size, x: usize, y: usize, channel: usize) -> u8 {
    data[3 * (y * size.width + x) + channel]
}

/// `value(x, y, channel)` of every sample of an image of `size`.
fn image(size: Size, value: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
    let pixels = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
    pixels.flat_map(|(x, y)| [0, 1, 2].map(|channel| value(x, y, channel))).collect()
}

/// Input pixels under output pixel `d`, with their weights.
fn cell(d: usize, input: usize, output: usize) -> Vec<(usize, f32)> {
    let scale = 1.0 / (output as f64 / input as f64);
    let (from, to) = (d as f64 * scale, d as f64 * scale + scale);
    let width = scale.min(input as f64 - from);
    let last = to.floor().min((input - 1) as f64);
    let first = from.ceil().min(last);
    let mut cell = Vec::new();
    if first - from > 1e-3 {
        cell.push((first as usize - 1, ((first - from) / width) as f32));
    }
    cell.extend((first as usize..last as usize).map(|i| (i, (1.0 / width) as f32)));
    if to - last > 1e-3 {
        cell.push((last as usize, ((to - last).min(1.0).min(width) / width) as f32));
    }
    cell
}

/// Single precision, along x and then along y, one rounding to even at the end.
fn naive_shrink(data: &[u8], input: Size, output: Size) -> Vec<u8> {
    image(output, |x, y, channel| {
        let mut sum = 0.0f32;
        for (row, by) in cell(y, input.height, output.height) {
            let mut across = 0.0f32;
            for (column, weight) in cell(x, input.width, output.width) {
                across += f32::from(at(data, input, column, row, channel)) * weight;
            }
            sum += by * across;
        }
        sum.round_ties_even() as u8
    })
}

/// Whole numbers of pixels: their mean; of 2 by 2 with halves rounded up, else to even.
fn naive_reduce(data: &[u8], input: Size, output: Size) -> Vec<u8> {
    let (columns, rows) = (input.width / output.width, input.height / output.height);
    image(output, |x, y, channel| {
        let block = (0..rows).flat_map(|j| (0..columns).map(move |i| (i, j)));
        let sum: u32 = block.map(|(i, j)| u32::from(at(data, input, x * columns + i, y * rows + j, channel))).sum();
        let mean = sum as f32 * (1.0 / (columns * rows) as f32);
        if columns == 2 && rows == 2 { ((sum + 2) / 4) as u8 } else { mean.round_ties_even() as u8 }
    })
}

/// Source pixel of `d` and the weights of it and of its neighbour, of 2048.
fn pair(d: usize, input: usize, output: usize) -> (usize, i32, i32) {
    let ratio = output as f64 / input as f64;
    let index = (d as f64 * (1.0 / ratio)).floor() as usize;
    let past = ((d + 1) as f64 - (index + 1) as f64 * ratio) as f32;
    let part = if past <= 0.0 { 0.0 } else { past - past.floor() };
    let (index, part) = if index + 1 >= input { (input - 1, 0.0) } else { (index, part) };
    let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i32;
    (index, fixed(1.0 - part), fixed(part))
}

fn naive_enlarge(data: &[u8], input: Size, output: Size) -> Vec<u8> {
    image(output, |x, y, channel| {
        let ((column, left, right), (row, above, below)) =
            (pair(x, input.width, output.width), pair(y, input.height, output.height));
        let sample =
            |x: usize, y: usize| i32::from(at(data, input, x.min(input.width - 1), y.min(input.height - 1), channel));
        let across = |y: usize| (sample(column, y) * left + sample(column + 1, y) * right) >> 4;
        ((((above * across(row)) >> 16) + ((below * across(row + 1)) >> 16) + 2) >> 2) as u8
    })
}

fn naive_area(data: &[u8], input: Size, output: Size) -> Vec<u8> {
    if input == output {
        data.to_vec()
    } else if output.width > input.width || output.height > input.height {
        naive_enlarge(data, input, output)
    } else if input.width.is_multiple_of(output.width) && input.height.is_multiple_of(output.height) {
        naive_reduce(data, input, output)
    } else {
        naive_shrink(data, input, output)
    }
}

/// Levels whose means lie on rounding boundaries at many scales, or any.
fn levels() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![0, 1]),
        Just(vec![0, 255]),
        Just(vec![100, 101, 103]),
        prop::collection::vec(any::<u8>(), 1..9)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn area_is_the_naive_recipe_on_every_path(
        (width, height) in (1usize..75, 1usize..40),
        (columns, rows) in (1usize..75, 1usize..40),
        levels in levels(),
        seed in any::<u64>(),
    ) {
        // Both grow or both shrink.
        let (input, output) = if (width <= columns) == (height <= rows) {
            (Size { width, height }, Size { width: columns, height: rows })
        } else {
            (Size { width, height: rows }, Size { width: columns, height })
        };
        let data = picture(input, &levels, seed);
        for simd in paths() {
            let Some(found) = area(&data, input, output, simd) else { return Ok(()) };
            prop_assert_eq!(found, naive_area(&data, input, output), "{:?}", simd);
        }
    }

    #[test]
    fn bicubic_is_the_same_on_every_path(
        (width, height) in (1usize..75, 1usize..30),
        (columns, rows) in (1usize..75, 1usize..30),
        levels in levels(),
        seed in any::<u64>(),
    ) {
        let (input, output) = (Size { width, height }, Size { width: columns, height: rows });
        let data = picture(input, &levels, seed);
        let [portable, widest] = paths().map(|simd| bicubic(&data, input, output, simd));
        prop_assert_eq!(portable, widest);
    }
}

/// At a ratio of 6/5 weights are sixths: of such levels they make sums that would be halves if weights were exact, so
/// single precision and the order of adding decide.
#[test]
fn shrinking_rounds_near_ties_as_opencv_does() {
    for ((width, height), (columns, rows)) in [((60, 48), (50, 40)), ((48, 36), (40, 30)), ((24, 31), (20, 30))] {
        let (input, output) = (Size { width, height }, Size { width: columns, height: rows });
        for (seed, levels) in (0..).zip([&[0u8, 3][..], &[0, 9, 18], &[1, 4, 10], &[0, 27, 54, 126]]) {
            let data = picture(input, levels, seed);
            let expected = naive_shrink(&data, input, output);
            for simd in paths() {
                let found = area(&data, input, output, simd).expect("a recipe");
                assert!(found == expected, "{input:?} to {output:?}, {levels:?}, {simd:?}");
            }
        }
    }
}

#[test]
fn the_transform_is_the_same_on_every_path_and_normalises_to_the_last_bit() {
    for (width, height) in [(640, 480), (424, 240), (97, 61), (512, 512), (301, 700), (1, 3), (40, 40)] {
        let data = picture(Size { width, height }, &[0, 3, 77, 128, 129, 200, 255], width as u64);
        let frame = Pixels::new(PixelFormat::Rgb8, width, height, 3 * width, &data).expect("consistent");
        let [portable, widest] = paths().map(|simd| {
            let mut transform = EvalTransform::new(&TRANSFORM).with_simd(simd);
            let size = transform.prepare(width, height).expect("a size");
            let plane = size.width * size.height;
            let (mut pixels, mut bytes) = (vec![f32::NAN; 3 * plane], vec![0; 3 * plane]);
            transform.apply(&frame, &mut pixels).expect("a result");
            transform.apply_u8(&frame, &mut bytes).expect("a result");
            for (i, &byte) in bytes.iter().enumerate() {
                assert_eq!(pixels[i % 3 * plane + i / 3], (f32::from(byte) - 127.5) / 127.5);
            }
            bytes
        });
        assert!(portable == widest, "{width}x{height}");
    }
}
