//! Bayer mosaics and EXIF orientations against OpenCV's and Pillow's pixels. `data/cameras/golden.py` made `golden.txt`.

use std::fs;

use vla_messages::{CompressedImageView, FrameDecoder, HeaderView, PixelFormat, Pixels};

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// The mosaic of `golden.py`, its rows `padding` bytes apart.
fn mosaic(edges: bool, width: usize, height: usize, padding: usize) -> Vec<u8> {
    let mut state = (width * 65_536 + height) as u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if edges { 255 * (state >> 31) as u8 } else { (state >> 24) as u8 }
    };
    let mut data = Vec::new();
    for _ in 0..height {
        data.extend((0..width).map(|_| byte()));
        data.extend(vec![0xee; padding]);
    }
    data
}

/// The frame of `golden.py`.
fn with_orientation(data: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).expect("a short segment");
    [&data[..2], &[0xff, 0xe1], &length.to_be_bytes(), &exif, &data[2..]].concat()
}

fn checksum(pixels: &Pixels<'_>) -> String {
    let mut scratch = vec![0; 3 * pixels.width];
    let rows = (0..pixels.height).flat_map(|y| pixels.row_rgb(y, &mut scratch).to_vec());
    format!("{:08x}", crc32(&rows.collect::<Vec<_>>()))
}

#[test]
fn mosaics_have_the_pixels_that_opencv_interpolates() {
    let lines = include_str!("../../data/cameras/golden.txt").lines().filter(|line| line.starts_with("bayer"));
    let mut count = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let side = |at: usize| words[at].parse().expect("a side");
        let (width, height) = (side(3), side(4));
        let format = PixelFormat::from_encoding(&format!("bayer_{}8", words[1])).expect("an encoding");
        for padding in [0, 3] {
            let data = mosaic(words[2] == "edges", width, height, padding);
            let pixels = Pixels::new(format, width, height, width + padding, &data).expect("consistent");
            assert_eq!(checksum(&pixels), words[5], "{line}, {padding} bytes of padding");
        }
        count += 1;
    }
    assert_eq!(count, 4 * 12 * 2);
}

#[test]
fn frames_are_turned_upright_as_pillow_turns_them() {
    let folder = vla_trt_tests::root().join("tests/data/message");
    let lines = include_str!("../../data/cameras/golden.txt").lines().filter(|line| line.starts_with("exif"));
    let (mut decoder, mut count) = (FrameDecoder::new(), 0);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let orientation: u8 = words[1].parse().expect("an orientation");
        let stored = fs::read(folder.join(words[2])).expect("a checked-in frame");
        let data = with_orientation(&stored, orientation);
        let image = CompressedImageView { header: HeaderView::default(), format: "jpeg", data: &data };
        let (width, height) = image.frame_header().expect("a frame").upright_size();
        assert_eq!([width.to_string(), height.to_string()], [words[3], words[4]], "{line}");
        let upright = decoder.decode_upright(&image).expect("a good frame");
        assert_eq!((upright.width, upright.height), (width, height), "{line}");
        assert_eq!(checksum(&upright), words[5], "{line}");
        // Without the parameter the pixels are those that are stored.
        let plain = CompressedImageView { data: &stored, ..image };
        let expected = checksum(&FrameDecoder::new().decode(&plain).expect("a good frame"));
        assert_eq!(checksum(&decoder.decode(&image).expect("a good frame")), expected, "{line}");
        count += 1;
    }
    assert_eq!(count, 8 * 3);
}
