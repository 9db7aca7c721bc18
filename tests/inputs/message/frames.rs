//! Pixels against Pillow's and OpenCV's. `data/message/frames.py` made the files and `frames.txt`.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use vla_messages::{CompressedImageView, Error, FrameDecoder, HeaderView, PixelFormat, Pixels};

fn folder() -> PathBuf {
    vla_trt_tests::root().join("tests/data/message")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).expect("a checked-in frame")
}

fn frame(data: &[u8]) -> CompressedImageView<'_> {
    CompressedImageView { header: HeaderView::default(), format: "jpeg", data }
}

fn hash_rgb(pixels: &Pixels<'_>, into: &mut Sha256) {
    let mut scratch = vec![0; 3 * pixels.width];
    for y in 0..pixels.height {
        into.update(pixels.row_rgb(y, &mut scratch));
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name, width, height and hash of each line of `frames.txt`.
fn expectations() -> Vec<(String, usize, usize, String)> {
    let text = fs::read_to_string(folder().join("frames.txt")).expect("checked in");
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| fields[at].parse().expect("a number");
        (fields[0].to_owned(), number(1), number(2), fields[3].to_owned())
    };
    text.lines().map(line).collect()
}

#[test]
fn every_kind_of_frame_has_the_pixels_that_pillow_reads() {
    let mut decoder = FrameDecoder::new();
    for (name, width, height, expected) in expectations().iter().filter(|(name, ..)| name != "aloha_cube") {
        let data = file(name);
        let pixels = decoder.decode(&frame(&data)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((pixels.width, pixels.height), (*width, *height), "{name}");
        let mut hash = Sha256::new();
        hash_rgb(&pixels, &mut hash);
        assert_eq!(hex(hash), *expected, "{name}");
    }
}

#[test]
fn every_camera_frame_of_a_bag_has_the_pixels_that_pillow_reads() {
    let shared = vla_trt_tests::shared();
    let Ok(bag) = fs::read(shared.join("data/aloha_cube/aloha_cube.mcap")) else {
        eprintln!("SKIPPED: no data/aloha_cube/aloha_cube.mcap in {}", shared.display());
        return;
    };
    let (mut decoder, mut hash, mut count) = (FrameDecoder::new(), Sha256::new(), 0);
    for message in mcap::MessageStream::new(&bag).expect("a bag") {
        let message = message.expect("a message");
        if message.channel.topic.ends_with("/compressed") {
            let image = CompressedImageView::parse(&message.data).expect("well-formed");
            hash_rgb(&decoder.decode(&image).expect("a good frame"), &mut hash);
            count += 1;
        }
    }
    let (_, frames, _, expected) = expectations().pop().expect("the bag's line");
    assert_eq!((count, hex(hash)), (frames, expected));
}

#[test]
fn the_decoder_keeps_its_buffer_and_may_move_to_another_thread() {
    let (mut decoder, data) = (FrameDecoder::new(), file("camera.jpg"));
    let large = decoder.decode(&frame(&data)).expect("a good frame").data.as_ptr();
    decoder.decode(&frame(&file("rgb.png"))).expect("a good frame");
    assert_eq!(decoder.decode(&frame(&data)).expect("a good frame").data.as_ptr(), large);
    std::thread::spawn(move || decoder.decode(&frame(&data)).map(|_| ())).join().expect("no panic").expect("good");
}

#[test]
fn depth_and_print_colours_are_refused_in_words() {
    let refusal = |name: &str| FrameDecoder::new().decode(&frame(&file(name))).expect_err("refused").to_string();
    assert_eq!(refusal("cmyk.jpg"), "JPEG frame is CMYK, expected YCbCr, RGB or grey");
    let depth = "PNG frame is 16 bits a sample (a depth image?), expected 8 bits a sample or fewer";
    assert_eq!(refusal("depth.png"), depth);
}

#[test]
fn a_frame_that_is_cut_anywhere_is_refused_and_the_next_one_is_read() {
    for (name, bound) in [("progressive_420.jpg", 2), ("baseline_422.jpg", 2), ("restart.jpg", 2), ("rgba.png", 12)] {
        let whole = file(name);
        let mut decoder = FrameDecoder::new();
        // The IEND chunk of a PNG (12 bytes) and the end marker of a JPEG (2) hold nothing that is needed.
        for length in 0..whole.len() - bound {
            let cut = decoder.decode(&frame(&whole[..length])).map(|_| ());
            assert!(
                matches!(cut, Err(Error::Damaged { .. } | Error::Codec { .. } | Error::Empty { .. })),
                "{name} cut to {length}: {cut:?}"
            );
            assert!(decoder.decode(&frame(&whole)).is_ok(), "{name} after its first {length} bytes");
        }
    }
}

#[test]
fn a_frame_that_holds_no_image_says_so() {
    let error = FrameDecoder::new().decode(&frame(&[0xff, 0xd8, 0xff])).expect_err("refused");
    assert_eq!(error.to_string(), "JPEG frame of 3 bytes is damaged or truncated and is dropped: it holds no image");
}

#[test]
fn a_damaged_scan_is_refused_although_the_decoder_could_go_on() {
    let mut data = file("camera.jpg");
    let middle = data.len() / 2;
    data.splice(middle..middle, [0xff, 0xd3]);
    let error = FrameDecoder::new().decode(&frame(&data)).expect_err("refused").to_string();
    assert!(error.contains("JPEG frame of 6649 bytes is damaged"), "{error}");
}

#[test]
fn bytes_too_many_before_the_end_of_a_jpeg_do_no_harm() {
    let whole = file("camera.jpg");
    let mut decoder = FrameDecoder::new();
    let expected = decoder.decode(&frame(&whole)).expect("good").data.to_vec();
    let mut padded = whole.clone();
    padded.splice(whole.len() - 2..whole.len() - 2, [0, 0, 0]);
    for _ in 0..2 {
        assert_eq!(decoder.decode(&frame(&padded)).expect("good").data, expected);
    }
}

#[test]
fn a_jpeg_without_its_end_marker_has_the_pixels_of_one_with_it() {
    let mut decoder = FrameDecoder::new();
    for name in ["camera.jpg", "baseline_444.jpg", "progressive_420.jpg", "restart.jpg", "grey.jpg"] {
        let whole = file(name);
        let expected = decoder.decode(&frame(&whole)).expect("good").data.to_vec();
        for cut in [1, 2] {
            let pixels =
                decoder.decode(&frame(&whole[..whole.len() - cut])).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(pixels.data == expected, "{name} without its last {cut} bytes");
        }
    }
}

#[test]
fn bytes_too_many_before_any_marker_of_a_jpeg_do_no_harm() {
    let mut decoder = FrameDecoder::new();
    for name in ["restart.jpg", "camera.jpg", "progressive_420.jpg"] {
        let whole = file(name);
        let expected = decoder.decode(&frame(&whole)).expect("good").data.to_vec();
        // Not within a segment: what looks like a marker there is none, and no first marker is left to insert before.
        let is_marker =
            |pair: &[u8]| pair[0] == 0xff && matches!(pair[1], 0xc0 | 0xc2 | 0xc4 | 0xda | 0xdb | 0xd0..=0xd7 | 0xd9);
        let markers: Vec<usize> =
            whole.windows(2).enumerate().filter(|(_, pair)| is_marker(pair)).map(|(at, _)| at).collect();
        assert!(markers.len() > 5, "{name}");
        for at in markers {
            let mut stray = whole.clone();
            stray.splice(at..at, [0x12, 0x34]);
            let pixels = decoder.decode(&frame(&stray)).unwrap_or_else(|error| panic!("{name}, at {at}: {error}"));
            assert!(pixels.data == expected, "{name}, at {at}");
        }
    }
}

#[test]
fn a_jpeg_with_bytes_too_many_is_refused_all_the_same_where_rows_are_missing() {
    let whole = file("restart.jpg");
    let restarts: Vec<usize> = whole
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| matches!(pair, [0xff, 0xd0..=0xd7]))
        .map(|(at, _)| at)
        .collect();
    let mut stray = whole.clone();
    stray.splice(restarts[0]..restarts[0], [0x12, 0x34]);
    let mut decoder = FrameDecoder::new();
    for length in restarts[1]..stray.len() - 2 {
        decoder.decode(&frame(&stray[..length])).expect_err("cut short");
    }
    // A whole interval is gone, and the end marker is there.
    stray.drain(restarts[2] + 2..restarts[3] + 2);
    decoder.decode(&frame(&stray)).expect_err("rows are missing");
}

#[test]
fn a_frame_of_too_many_pixels_is_refused_by_its_header() {
    let mut jpeg = file("camera.jpg");
    let sof = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a baseline frame header");
    jpeg[sof + 5..sof + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let error = FrameDecoder::new().decode(&frame(&jpeg)).expect_err("refused");
    assert_eq!(error, Error::TooLarge { width: 65_500, height: 65_500 });

    let mut png = file("rgb.png");
    png[16..20].copy_from_slice(&2_000_000_u32.to_be_bytes());
    // The header's checksum is verified, so it has to follow.
    let crc = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&crc);
    png[20..24].copy_from_slice(&2_000_000_u32.to_be_bytes());
    let crc = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&crc);
    let error = FrameDecoder::new().decode(&frame(&png)).expect_err("refused");
    assert_eq!(error, Error::TooLarge { width: 2_000_000, height: 2_000_000 });
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn first_bytes_decide_and_the_format_field_is_only_quoted() {
    let data = file("rgb.png");
    assert_eq!(FrameDecoder::new().decode(&frame(&data)).expect("a PNG called jpeg").format, PixelFormat::Rgb8);
    let view = CompressedImageView { header: HeaderView::default(), format: "tiff", data: b"II*\0rest of it" };
    assert_eq!(
        FrameDecoder::new().decode(&view).expect_err("refused").to_string(),
        "compressed image with format `tiff` begins with 49 49 2a 00 72 65 73 74 (TIFF), expected JPEG (ff d8 ff) or PNG \
         (89 50 4e 47 0d 0a 1a 0a)"
    );
    let empty = FrameDecoder::new().decode(&frame(&[])).expect_err("refused").to_string();
    assert!(empty.contains("begins with nothing, expected"), "{empty}");
}

/// What OpenCV's `cvtColor` (4.10 and 5.0) makes of every Y, U and V: rows of all Y, one for each U and V.
const ALL_YUV: &str = "59d102dd6c332129010bb1daf0739519f67f1c7a5364264ddde0d11685335292";

#[test]
fn every_yuv_colour_becomes_the_rgb_of_opencv() {
    let formats = [PixelFormat::Uyvy, PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Nv21];
    let mut hashes = formats.map(|_| Sha256::new());
    for u in 0..=255 {
        for v in 0..=255 {
            let pairs = (0..=255u8).step_by(2);
            let uyvy: Vec<u8> = pairs.clone().flat_map(|y| [u, y, v, y + 1]).collect();
            let yuyv: Vec<u8> = pairs.clone().flat_map(|y| [y, u, y + 1, v]).collect();
            let ys: Vec<u8> = (0..=255).chain(0..=255).collect();
            let planes = |order: [u8; 2]| ys.iter().copied().chain(order.repeat(128)).collect::<Vec<u8>>();
            let frames = [(1, uyvy), (1, yuyv), (2, planes([u, v])), (2, planes([v, u]))];
            for ((&format, (height, data)), hash) in formats.iter().zip(&frames).zip(&mut hashes) {
                let step = data.len() / if *height == 2 { 3 } else { 1 };
                let pixels = Pixels::new(format, 256, *height, step, data).expect("consistent");
                let mut scratch = [0; 768];
                let row = pixels.row_rgb(0, &mut scratch).to_vec();
                assert_eq!(pixels.row_rgb(height - 1, &mut scratch), row);
                hash.update(row);
            }
        }
    }
    assert_eq!(hashes.map(hex), formats.map(|_| ALL_YUV));
}

#[test]
fn nv12_and_nv21_take_the_colours_of_the_right_place() {
    let data =
        [139, 74, 229, 241, 169, 65, 6, 160, 149, 106, 38, 175, 188, 205, 175, 229, 98, 249, 10, 148, 95, 86, 147, 198];
    // cv2.cvtColor(data.reshape(6, 4), COLOR_YUV2RGB_NV12) and _NV21.
    let nv12 = [
        255, 57, 83, 255, 0, 7, 255, 255, 10, 255, 255, 24, 255, 91, 118, 250, 0, 0, 32, 30, 0, 200, 197, 0, 88, 202,
        88, 38, 152, 38, 137, 0, 64, 255, 121, 223, 133, 247, 134, 153, 255, 153, 255, 121, 223, 255, 184, 255,
    ];
    let nv21 = [
        95, 120, 255, 20, 45, 255, 60, 255, 255, 74, 255, 255, 130, 155, 255, 9, 34, 255, 0, 88, 40, 0, 255, 208, 102,
        198, 70, 52, 148, 20, 56, 0, 167, 215, 142, 255, 148, 243, 115, 167, 255, 135, 215, 142, 255, 255, 205, 255,
    ];
    for (format, expected) in [(PixelFormat::Nv12, nv12), (PixelFormat::Nv21, nv21)] {
        let pixels = Pixels::new(format, 4, 4, 4, &data).expect("consistent");
        let mut scratch = [0; 12];
        let found: Vec<u8> = (0..4).flat_map(|y| pixels.row_rgb(y, &mut scratch).to_vec()).collect();
        assert_eq!(found, expected, "{format}");
    }
}
