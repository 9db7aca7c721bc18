//! Resampling and the evaluation transform: checksums of OpenCV's, Pillow's and torchvision's results (`tests/data/resize`), the
//! recipes written out naively, and the properties that the fast loops could break.

use proptest::prelude::*;
use vla_base::sys::simd::Simd;
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::image::EvalTransform;
use vla_policy::encode::resize::{AreaResize, Filter, FilterResize, Packed, Rows, Size, Window};
use vla_policy::family::N1D6;
use vla_policy::processor::ImageTransformSpec;

const TRANSFORM: ImageTransformSpec = N1D6.image(256, 0.95);

fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

/// The picture of `golden.py`.
fn picture(edges: bool, size: Size) -> Vec<u8> {
    let mut state = (size.width * 65_536 + size.height) as u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if edges { 255 * (state >> 31) as u8 } else { (state >> 24) as u8 }
    };
    (0..3 * size.width * size.height).map(|_| byte()).collect()
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

fn collect(mut rows: impl Rows, size: Size) -> Vec<u8> {
    (0..size.height).flat_map(|y| rows.row(y).to_vec()).collect()
}

fn area(data: &[u8], input: Size, output: Size) -> Vec<u8> {
    area_window(data, input, output, Window::full(output))
}

fn area_window(data: &[u8], input: Size, output: Size, window: Window) -> Vec<u8> {
    let mut plan = AreaResize::plan(input, output, window).expect("a recipe");
    assert_eq!(plan.size(), window.size);
    collect(plan.over(Packed { data, width: input.width }), window.size)
}

fn filtered(data: &[u8], input: Size, output: Size, filter: Filter) -> Vec<u8> {
    let mut plan = FilterResize::plan(input, output, filter).expect("a recipe");
    assert_eq!(plan.size(), output);
    collect(plan.over(Packed { data, width: input.width }), output)
}

fn frame(size: Size, data: &[u8]) -> Pixels<'_> {
    Pixels::new(PixelFormat::Rgb8, size.width, size.height, 3 * size.width, data).expect("consistent")
}

#[test]
fn opencv_pillow_and_torchvision_give_the_same_bytes() {
    let golden = include_str!("../data/resize/golden.txt");
    assert_eq!(golden.lines().count(), 100);
    for line in golden.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let side = |i: usize| words[i].parse().expect("a side");
        let (input, output) = (size(side(2), side(3)), size(side(4), side(5)));
        let data = picture(words[1] == "edges", input);
        let filter = match words[0] {
            "area" => None,
            "bicubic" => Some(Filter::PILLOW_BICUBIC),
            "torchvision_bicubic" => Some(Filter::TORCHVISION_BICUBIC),
            "torchvision_bilinear" => Some(Filter::TORCHVISION_BILINEAR),
            other => panic!("{other}"),
        };
        let result = filter.map_or_else(|| area(&data, input, output), |by| filtered(&data, input, output, by));
        assert_eq!(format!("{:08x}", crc32(&result)), words[6], "{line}");
    }
}

#[test]
fn impossible_plans_are_refused() {
    let (five, nine) = (size(5, 5), size(9, 9));
    assert!(AreaResize::plan(size(0, 5), nine, Window::full(nine)).is_none());
    assert!(AreaResize::plan(five, size(9, 3), Window::full(size(9, 3))).is_none(), "one axis grows, one shrinks");
    for window in [
        Window { x: 1, y: 0, size: nine },
        Window { x: 0, y: 9, size: size(1, 1) },
        Window { x: 0, y: 0, size: size(0, 1) },
        Window { x: usize::MAX, y: 0, size: size(2, 1) },
    ] {
        assert!(AreaResize::plan(five, nine, window).is_none(), "{window:?}");
    }
    assert!(FilterResize::plan(five, size(0, 1), Filter::PILLOW_BICUBIC).is_none());
}

/// A filter written out: its curve, the distance from which that is 0, and whether weights are 16-bit integers.
type Naive = (Filter, fn(f64) -> f64, f64, bool);

fn cubic(x: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
        _ => 0.0,
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

const NAIVE: [Naive; 3] = [
    (Filter::PILLOW_BICUBIC, cubic, 2.0, false),
    (Filter::TORCHVISION_BICUBIC, cubic, 2.0, true),
    (Filter::TORCHVISION_BILINEAR, triangle, 1.0, true),
];

/// The libraries' arithmetic, one output pixel at a time and in integers throughout.
fn naive_filter(naive: &Naive, data: &[u8], input: Size, output: Size) -> Vec<u8> {
    let across = naive_axis(naive, data, input.width, output.width, |x, y| 3 * (y * input.width + x), input.height);
    let stride = output.width;
    let down = naive_axis(naive, &across, input.height, output.height, |y, x| 3 * (y * stride + x), output.width);
    // The second pass wrote columns.
    let at = |x: usize, y: usize| 3 * (x * output.height + y);
    (0..output.height)
        .flat_map(|y| (0..output.width).flat_map(move |x| at(x, y)..at(x, y) + 3))
        .map(|i| down[i])
        .collect()
}

/// Where each output pixel begins to read, with its weights.
fn naive_weights((_, curve, reach, _): &Naive, input: usize, output: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let weights = |d: usize| {
        let centre = (d as f64 + 0.5) * scale;
        let first = (centre - reach * stretch + 0.5).max(0.0) as usize;
        let end = ((centre + reach * stretch + 0.5) as usize).min(input);
        let weights: Vec<f64> = (first..end).map(|x| curve((x as f64 - centre + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = weights.iter().sum();
        (first, weights.iter().map(|weight| weight / total).collect())
    };
    (0..output).map(weights).collect()
}

/// `lines` lines of `input` pixels to `output` pixels, line after line.
fn naive_axis(
    naive: &Naive,
    data: &[u8],
    input: usize,
    output: usize,
    at: impl Fn(usize, usize) -> usize,
    lines: usize,
) -> Vec<u8> {
    let weights = naive_weights(naive, input, output);
    let mut bits = 22;
    if naive.3 {
        let greatest = weights.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        bits = 0;
        while bits < 22 && ((0.5 + greatest * f64::from(1 << (bits + 1))) as i64) < 1 << 15 {
            bits += 1;
        }
    }
    let fixed = |weight: &f64| {
        let scaled = weight * f64::from(1 << bits);
        (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i64
    };
    let mut out = Vec::new();
    for line in 0..lines {
        for (d, (first, weights)) in weights.iter().enumerate() {
            for channel in 0..3 {
                let source = |x: usize| i64::from(data[at(x, line) + channel]);
                let sum: i64 =
                    weights.iter().enumerate().map(|(tap, weight)| fixed(weight) * source(first + tap)).sum();
                let rounded = if input == output { source(d) } else { (sum + (1 << (bits - 1))) >> bits };
                out.push(rounded.clamp(0, 255) as u8);
            }
        }
    }
    out
}

/// A picture of a few levels, which makes flat parts, overshoots and ties likely.
fn few_levels(size: Size, levels: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut level = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        levels[(state >> 33) as usize % levels.len()]
    };
    (0..3 * size.width * size.height).map(|_| level()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_filter_is_the_naive_recipe_on_every_path(
        (width, height) in (1usize..40, 1usize..40),
        (columns, rows) in (1usize..40, 1usize..40),
        keep in any::<[bool; 2]>(),
        levels in proptest::collection::vec(any::<u8>(), 1..6),
        seed in any::<u64>(),
    ) {
        let kept = |keep: bool, side: usize, other: usize| if keep { side } else { other };
        let input = size(width, height);
        let output = size(kept(keep[0], width, columns), kept(keep[1], height, rows));
        let data = few_levels(input, &levels, seed);
        for naive in &NAIVE {
            let expected = naive_filter(naive, &data, input, output);
            for simd in [Simd::PORTABLE, Simd::widest()] {
                let mut plan = FilterResize::plan(input, output, naive.0).expect("a recipe").with_simd(simd);
                let found = collect(plan.over(Packed { data: &data, width: input.width }), output);
                prop_assert_eq!(&found, &expected, "{:?}", naive.0);
            }
        }
    }

    #[test]
    fn a_window_is_the_part_of_the_whole(
        (width, height) in (1usize..60, 1usize..60),
        (columns, rows) in (1usize..60, 1usize..60),
        corner in (0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0),
        seed in any::<u64>(),
    ) {
        // Both grow or both shrink.
        let (input, output) = if (width <= columns) == (height <= rows) {
            (size(width, height), size(columns, rows))
        } else {
            (size(width, rows), size(columns, height))
        };
        let data = few_levels(input, &[0, 255, 77, 130, 131], seed);
        let Some(_) = AreaResize::plan(input, output, Window::full(output)) else { return Ok(()) };
        let part = |of: usize, fraction: f64| (of as f64 * fraction) as usize;
        let (x, y) = (part(output.width, corner.0), part(output.height, corner.1));
        let kept = size(1 + part(output.width - x - 1, corner.2), 1 + part(output.height - y - 1, corner.3));
        let whole = area(&data, input, output);
        let expected: Vec<u8> = (y..y + kept.height)
            .flat_map(|y| whole[3 * (y * output.width + x)..][..3 * kept.width].to_vec())
            .collect();
        prop_assert_eq!(area_window(&data, input, output, Window { x, y, size: kept }), expected);
    }

    #[test]
    fn a_flat_picture_stays_flat((width, height) in (20usize..300, 20usize..300), level in any::<u8>()) {
        let input = size(width, height);
        let data = vec![level; 3 * width * height];
        let mut transform = EvalTransform::new(&TRANSFORM);
        let output = transform.output_size(width, height).expect("a size");
        let mut out = vec![0.0; 3 * output.width * output.height];
        transform.apply(&frame(input, &data), &mut out).expect("a result");
        let expected = (f32::from(level) - 127.5) / 127.5;
        prop_assert!(out.iter().all(|&value| value == expected));
    }

    #[test]
    fn every_frame_size_is_transformed_or_refused(width in 0usize..100_000, height in 0usize..100_000) {
        let transform = EvalTransform::new(&TRANSFORM);
        match transform.output_size(width, height) {
            Ok(output) => {
                prop_assert!(output.width % 28 == 0 && output.height % 28 == 0);
                prop_assert!((4..=4096).contains(&TRANSFORM.smart_resize.image_tokens(output)));
            }
            Err(error) => {
                let start = format!("frame of {width}x{height}: expected");
                prop_assert!(error.to_string().starts_with(&start), "{}", error);
            }
        }
    }
}

#[test]
fn output_sizes_of_common_cameras() {
    let transform = EvalTransform::new(&TRANSFORM);
    for (input, output, tokens) in [
        ((640, 480), (336, 252), 108),
        ((424, 240), (448, 252), 144),
        ((1920, 1080), (448, 252), 144),
        ((1280, 800), (420, 252), 135),
        ((320, 256), (308, 252), 99),
        ((480, 640), (252, 336), 108),
        ((1344, 376), (924, 252), 297),
        ((224, 224), (252, 252), 81),
    ] {
        let found = transform.output_size(input.0, input.1).expect("a size");
        let image_tokens = TRANSFORM.smart_resize.image_tokens(found);
        assert_eq!((found.width, found.height, image_tokens), (output.0, output.1, tokens), "{input:?}");
    }
}

#[test]
fn frames_that_no_model_was_trained_on_are_refused_with_the_reason() {
    let transform = EvalTransform::new(&TRANSFORM);
    let refusal = |width, height| transform.output_size(width, height).expect_err("refused").to_string();
    assert_eq!(refusal(0, 480), "frame of 0x480: expected at least one pixel");
    let long = refusal(1, 100_000_000);
    assert!(long.contains("expected sides of a ratio of at most 200, found"), "{long}");
}

#[test]
fn a_buffer_of_the_wrong_length_is_refused() {
    let data = picture(false, size(64, 48));
    let mut transform = EvalTransform::new(&TRANSFORM);
    let error = transform.apply(&frame(size(64, 48), &data), &mut [0.0; 5]).expect_err("too short");
    assert_eq!(error.to_string(), "pixels: expected 254016 values, found a buffer of 5");
}

#[test]
fn a_plan_laid_over_another_picture_remembers_nothing_of_the_one_before() {
    // So low that the rows of the picture before are still in the buffers.
    for (input, output) in [(size(2, 2), size(17, 33)), (size(31, 2), size(30, 1)), (size(8, 2), size(4, 1))] {
        let mut plan = AreaResize::plan(input, output, Window::full(output)).expect("a recipe");
        for data in [picture(false, input), picture(true, input)] {
            let found = collect(plan.over(Packed { data: &data, width: input.width }), output);
            assert!(found == area(&data, input, output), "area {input:?} to {output:?}");
        }
    }
    let (input, output) = (size(3, 2), size(28, 28));
    let mut plan = FilterResize::plan(input, output, Filter::PILLOW_BICUBIC).expect("a recipe");
    for data in [picture(false, input), picture(true, input)] {
        let found = collect(plan.over(Packed { data: &data, width: input.width }), output);
        assert!(found == filtered(&data, input, output, Filter::PILLOW_BICUBIC), "bicubic");
    }
}

#[test]
fn one_transform_for_cameras_of_many_sizes_remembers_nothing_of_the_frame_before() {
    let sizes =
        [(64, 48), (640, 480), (300, 300), (53, 40), (256, 256), (512, 512), (100, 70), (90, 60), (91, 60), (92, 60)];
    let mut shared = EvalTransform::new(&TRANSFORM);
    // Few enough to keep their plans, then too many.
    for (round, sizes) in [&sizes[..3], &sizes[..3], &sizes, &sizes].into_iter().enumerate() {
        for &(width, height) in sizes {
            let input = size(width, height);
            let data = picture(round % 2 == 1, input);
            let mut fresh = EvalTransform::new(&TRANSFORM);
            let output = fresh.prepare(width, height).expect("a size");
            let (mut expected, mut found) = (vec![0.0; 3 * output.width * output.height], Vec::new());
            found.resize(expected.len(), f32::NAN);
            fresh.apply(&frame(input, &data), &mut expected).expect("a result");
            assert_eq!(shared.apply(&frame(input, &data), &mut found).expect("a result"), output);
            assert!(expected == found, "{width}x{height}, round {round}");
        }
    }
}

#[test]
fn channels_come_first_and_other_layouts_give_what_their_rgb_gives() {
    let input = size(64, 48);
    let rgb = picture(false, input);
    let bgra: Vec<u8> = rgb.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0], 9]).collect();
    let padded: Vec<u8> = bgra.chunks_exact(4 * 64).flat_map(|row| [row, &[1; 20]].concat()).collect();
    let bgra = Pixels::new(PixelFormat::Bgra8, 64, 48, 4 * 64 + 20, &padded).expect("consistent");
    let mut transform = EvalTransform::new(&TRANSFORM);
    let output = transform.prepare(64, 48).expect("a size");
    let plane = output.width * output.height;
    let (mut planes, mut bytes) = (vec![0.0; 3 * plane], vec![0; 3 * plane]);
    transform.apply(&bgra, &mut planes).expect("a result");
    transform.apply_u8(&frame(input, &rgb), &mut bytes).expect("a result");
    for (i, &byte) in bytes.iter().enumerate() {
        assert_eq!(planes[i % 3 * plane + i / 3], (f32::from(byte) - 127.5) / 127.5);
    }
}
