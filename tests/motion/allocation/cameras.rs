//! Frames: encoded on several threads, and kept for policies that read those of several times.

use super::*;

use vla_engines::frames::FrameSlots;
use vla_messages::{BayerPattern, PixelFormat};
use vla_policy::encode::resize::Size;
use vla_policy::encode::{Frame, FrameEncoder};
use vla_policy::family::N1D7;
use vla_policy::observation::{CameraSample, Exif, FrameHistory, FrameOptions};
use vla_policy::processor::Framing;

/// A JPEG on its side, a Bayer mosaic and an RGB frame.
fn frames() -> Vec<CameraSample> {
    let header = HeaderView::default();
    let (width, height) = (640_usize, 480_usize);
    let pixels: Vec<u8> = (0..3 * width * height).map(|i| (i / 7 % 251) as u8).collect();
    let image = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width: height,
        pitch: 3 * height,
        height: width,
        format: turbojpeg::PixelFormat::RGB,
    };
    let stored = turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x2).expect("a JPEG").to_vec();
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let jpeg = [&stored[..2], exif, &stored[2..]].concat();
    let mosaic = FrameOptions { encoding: Some(PixelFormat::Bayer8(BayerPattern::Rggb)), ..FrameOptions::default() };
    let upright = FrameOptions { exif: Exif::Apply, ..FrameOptions::default() };
    let raw = |encoding: &str, bytes: u32| {
        write::image(header, 640, 480, encoding, 640 * bytes, &pixels[..640 * 480 * bytes as usize])
    };
    let messages = [
        (Transport::Compressed, upright, write::compressed_image(header, "jpeg", &jpeg)),
        (Transport::Raw, mosaic, raw("8UC1", 1)),
        (Transport::Raw, FrameOptions::default(), raw("rgb8", 3)),
    ];
    let sample = |(transport, options, bytes): (Transport, FrameOptions, Vec<u8>)| CameraSample {
        name: "view".into(),
        stamp: Stamp::default(),
        transport,
        options,
        bytes: bytes.into(),
    };
    messages.map(sample).into()
}

#[test]
fn frames_are_encoded_side_by_side_without_allocations_on_any_thread() {
    let square = |side| Size { width: side, height: side };
    let stretched = Framing::Stretched { target: square(256), crop: square(230) };
    let (n1d6, n1d7) = (N1D6.image(256, 0.95), N1D7.image(256, 0.95));
    for (transform, size) in [
        (n1d6, Size { width: 336, height: 252 }),
        (ImageTransformSpec { letterbox: true, ..n1d6 }, square(252)),
        (n1d7, Size { width: 352, height: 256 }),
        (ImageTransformSpec { framing: stretched, ..n1d7 }, square(256)),
    ] {
        encoding_allocates_nothing(&transform, size);
    }
}

fn encoding_allocates_nothing(transform: &ImageTransformSpec, size: Size) {
    let frames = frames();
    let images = ["a", "b", "c", "d"].map(|name| (name.to_owned(), size));
    let mut encoder = FrameEncoder::new(transform, images, 3).expect("threads");
    assert_eq!(encoder.threads(), 3);
    let mut values = vec![0.0; 4 * 3 * size.width * size.height];
    let mut turn = || {
        let observed = frames.iter().map(Frame::Sample).chain([Frame::Black]);
        let places = values.chunks_exact_mut(3 * size.width * size.height);
        encoder.encode(0..4, observed, places).expect("good frames");
    };
    allocates_nothing(&mut turn);
    // Frames for a device.
    let (sides, mut memory) = ([size.width, size.height], vec![0.0; FrameSlots::words(4, [size.width, size.height])]);
    allocates_nothing(&mut || {
        let observed = frames.iter().map(Frame::Sample).chain([Frame::Black]);
        let slots = FrameSlots::new(&mut memory, sides).images();
        encoder.encode(0..4, observed, slots).expect("good frames");
    });
}

fn allocates_nothing(turn: &mut dyn FnMut()) {
    (0..3).for_each(|_| turn());
    let before = ALL_ALLOCATIONS.load(Ordering::Relaxed);
    (0..20).for_each(|_| turn());
    assert_eq!(ALL_ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}

#[test]
fn keeping_earlier_frames_allocates_nothing_after_warm_up() {
    let history = FrameHistory::new(&[-5, 0], Span::from_nanos(PERIOD));
    let raw = InputKind::Camera { transport: Transport::Raw };
    let camera = InputSpec { history, ..InputSpec::new("top", raw, ["/top"]) };
    let joints = JointNames { read: NAMES.map(str::to_owned).to_vec(), ..JointNames::default() };
    let joints = InputSpec { joints, ..InputSpec::new("joints", InputKind::Joints, ["/joints"]) };
    let inputs = Inputs::new(vec![camera, joints]);
    inputs.set_instruction("push");
    let rules = Rules {
        per_input: vec![InputRule::age(Span::from_nanos(PERIOD), true); 2],
        max_skew: Span::from_nanos(PERIOD),
        on_violation: OnViolation::Skip,
        future_tolerance: STEP,
        enable_max_age: Span::ZERO,
        pairing: Default::default(),
        state_history: Vec::new(),
        continuous: Default::default(),
    };
    let arriving: Vec<[Bytes; 5]> = (0..400).map(messages).collect();
    let mut observation = Observation::default();
    let mut turn = |sequence: u64, messages: &[Bytes; 5]| {
        let now = stamp(sequence) + STEP;
        inputs.offer(0, messages[0].clone(), now).expect("a good frame");
        inputs.offer(1, messages[2].clone(), now).expect("a good joint state");
        inputs.assemble_into(now, &rules, &mut observation).is_ok()
    };
    let mut turns = (0..).zip(&arriving);
    assert_eq!(turns.by_ref().take(100).filter(|(n, m)| turn(*n, m)).count(), 95, "the first five have no history");
    let mut good = 0;
    assert_eq!(allocations_of(|| good = turns.filter(|(n, m)| turn(*n, m)).count()), 0);
    assert_eq!((good, observation.earlier_frames.len()), (300, 1));
}
