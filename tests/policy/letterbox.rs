//! The letterbox: checksums of the vendor's evaluation transform with it (`tests/data/letterbox`), and that a padded frame is
//! nothing but the transform of the padded picture, whatever the frame's size, format and path through the loops.

use proptest::prelude::*;
use vla_base::sys::simd::Simd;
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::image::EvalTransform;
use vla_policy::encode::resize::Size;
use vla_policy::family::N1D6;
use vla_policy::processor::ImageTransformSpec;

const LETTERBOX: ImageTransformSpec = ImageTransformSpec { letterbox: true, ..N1D6.image(256, 0.95) };
const PLAIN: ImageTransformSpec = ImageTransformSpec { letterbox: false, ..LETTERBOX };

/// The picture of `golden.py`.
fn picture(edges: bool, width: usize, height: usize) -> Vec<u8> {
    let mut state = (width * 65_536 + height) as u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if edges { 255 * (state >> 31) as u8 } else { (state >> 24) as u8 }
    };
    (0..3 * width * height).map(|_| byte()).collect()
}

fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    let table: [u32; 256] = std::array::from_fn(|byte| (0..8).fold(byte as u32, |crc, _| step(crc)));
    !data.iter().fold(u32::MAX, |crc, &byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)])
}

/// The picture in its square, pixel by pixel.
fn padded(data: &[u8], width: usize, height: usize) -> (Vec<u8>, usize) {
    let side = width.max(height);
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let mut square = vec![0; 3 * side * side];
    for (i, &sample) in data.iter().enumerate() {
        let (x, y, channel) = (i / 3 % width, i / 3 / width, i % 3);
        square[3 * ((top + y) * side + left + x) + channel] = sample;
    }
    (square, side)
}

fn rgb(width: usize, height: usize, data: &[u8]) -> Pixels<'_> {
    Pixels::new(PixelFormat::Rgb8, width, height, 3 * width, data).expect("consistent")
}

fn transformed(spec: &ImageTransformSpec, simd: Simd, frame: &Pixels<'_>) -> (Size, Vec<u8>) {
    let mut transform = EvalTransform::new(spec).with_simd(simd);
    let size = transform.prepare(frame.width, frame.height).expect("a size");
    let mut out = vec![0; 3 * size.width * size.height];
    transform.apply_u8(frame, &mut out).expect("a result");
    (size, out)
}

#[test]
fn the_vendors_transform_gives_the_same_bytes() {
    let golden = include_str!("../data/letterbox/golden.txt");
    assert_eq!(golden.lines().count(), 120);
    for line in golden.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<usize>().expect("a number");
        let (width, height) = (number(1), number(2));
        let image = N1D6.image(number(3), words[4].parse().expect("a fraction"));
        let spec = ImageTransformSpec { letterbox: true, ..image };
        let data = picture(words[0] == "edges", width, height);
        let (square, side) = padded(&data, width, height);
        assert_eq!((side, format!("{:08x}", crc32(&square)).as_str()), (number(7), words[8]), "{line}: padding");
        let (size, result) = transformed(&spec, Simd::widest(), &rgb(width, height, &data));
        assert_eq!((size.width, size.height), (number(5), number(5)), "{line}");
        assert_eq!(format!("{:08x}", crc32(&result)), words[6], "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_letterboxed_frame_is_the_plain_transform_of_its_square(
        width in 1usize..90,
        height in 1usize..90,
        edge in 28usize..70,
        edges in any::<bool>(),
    ) {
        let data = picture(edges, width, height);
        let (square, side) = padded(&data, width, height);
        let (letterbox, plain) =
            (ImageTransformSpec { letterbox: true, ..N1D6.image(edge, 0.95) }, N1D6.image(edge, 0.95));
        for simd in [Simd::PORTABLE, Simd::widest()] {
            let expected = transformed(&plain, simd, &rgb(side, side, &square));
            prop_assert_eq!(transformed(&letterbox, simd, &rgb(width, height, &data)), expected);
        }
    }
}

#[test]
fn other_formats_and_rows_with_padding_of_their_own_give_what_their_rgb_gives() {
    for (width, height) in [(64, 41), (41, 64)] {
        let data = picture(false, width, height);
        let bgra: Vec<u8> = data.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0], 9]).collect();
        let rows: Vec<u8> = bgra.chunks_exact(4 * width).flat_map(|row| [row, &[1; 20]].concat()).collect();
        let bgra = Pixels::new(PixelFormat::Bgra8, width, height, 4 * width + 20, &rows).expect("consistent");
        let expected = transformed(&LETTERBOX, Simd::widest(), &rgb(width, height, &data));
        assert!(transformed(&LETTERBOX, Simd::widest(), &bgra) == expected, "{width}x{height}");
    }
}

#[test]
fn one_transform_for_frames_of_all_shapes_remembers_nothing_of_the_frame_before() {
    let mut shared = EvalTransform::new(&LETTERBOX);
    for (width, height) in [(64, 48), (48, 64), (64, 48), (30, 64), (64, 30), (64, 64), (48, 64)] {
        let data = picture(width > height, width, height);
        let (size, expected) = transformed(&LETTERBOX, Simd::widest(), &rgb(width, height, &data));
        let mut found = vec![7; expected.len()];
        assert_eq!(shared.apply_u8(&rgb(width, height, &data), &mut found).expect("a result"), size);
        assert!(found == expected, "{width}x{height}");
    }
}

#[test]
fn every_frame_becomes_the_same_square_and_a_square_frame_is_not_changed() {
    let transform = EvalTransform::new(&LETTERBOX);
    for (width, height) in [(640, 480), (480, 640), (1920, 1080), (1344, 376), (200, 1), (5, 5)] {
        let size = transform.output_size(width, height).expect("a size");
        assert_eq!((size.width, size.height), (252, 252), "{width}x{height}");
    }
    let data = picture(false, 60, 60);
    let frame = rgb(60, 60, &data);
    assert!(transformed(&LETTERBOX, Simd::widest(), &frame) == transformed(&PLAIN, Simd::widest(), &frame));
    assert!(transform.output_size(201, 1).is_err() && transform.output_size(0, 480).is_err());
}
