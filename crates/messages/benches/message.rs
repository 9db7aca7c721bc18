//! Reading messages: a view of a raw frame, rows of each layout as RGB, a JPEG frame.
//!
//! `cargo bench --bench message`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vla_messages::{CompressedImageView, FrameDecoder, HeaderView, ImageView, JointStateView, PixelFormat, write};

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;

/// A picture with edges and gradients, so that the JPEG has a camera's entropy rather than a test card's.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let mut noise = 1_u32;
    let mut value = |x: usize, y: usize, colour: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let shape = if (x / 40 + y / 30).is_multiple_of(2) { x * (colour + 1) / 4 } else { y };
        (shape as u32 + (noise >> 28)) as u8
    };
    (0..height).flat_map(|y| (0..width * 3).map(move |i| (i / 3, y, i % 3))).map(|(x, y, c)| value(x, y, c)).collect()
}

fn image(format: PixelFormat) -> Vec<u8> {
    let step = WIDTH * format.bytes_per_pixel();
    let rows = if matches!(format, PixelFormat::Nv12 | PixelFormat::Nv21) { HEIGHT / 2 * 3 } else { HEIGHT };
    let data = picture(step.div_ceil(3), rows);
    write::image(
        HeaderView::default(),
        WIDTH as u32,
        HEIGHT as u32,
        &format.to_string(),
        step as u32,
        &data[..step * rows],
    )
}

fn views(c: &mut Criterion) {
    let mut group = c.benchmark_group("view");
    let frame = image(PixelFormat::Rgb8);
    group.bench_function("image_1280x720_rgb8", |b| {
        b.iter(|| ImageView::parse(black_box(&frame)).and_then(|image| image.pixels()));
    });
    let names: Vec<String> = (0..14).map(|i| format!("left_joint_{i}")).collect();
    let joints = write::joint_state(HeaderView::default(), &names, &[0.5; 14], &[0.0; 14], &[]);
    group.bench_function("joint_state_14", |b| {
        b.iter(|| JointStateView::parse(black_box(&joints)).map(|view| view.positions().sum::<f64>()));
    });
    group.finish();
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows_1280x720");
    group.throughput(Throughput::Elements((WIDTH * HEIGHT) as u64));
    let formats = [
        PixelFormat::Rgb8,
        PixelFormat::Bgr8,
        PixelFormat::Rgba8,
        PixelFormat::Bgra8,
        PixelFormat::Mono8,
        PixelFormat::Uyvy,
        PixelFormat::Yuyv,
        PixelFormat::Nv12,
        PixelFormat::Nv21,
    ];
    for format in formats {
        let frame = image(format);
        let pixels = ImageView::parse(&frame).and_then(|image| image.pixels()).expect("a good image");
        let mut scratch = vec![0; 3 * WIDTH];
        group.bench_function(BenchmarkId::from_parameter(format), |b| {
            b.iter(|| {
                for y in 0..HEIGHT {
                    black_box(pixels.row_rgb(y, &mut scratch));
                }
            });
        });
    }
    group.finish();
}

fn jpeg(c: &mut Criterion) {
    let (width, height) = (640, 480);
    let pixels = picture(width, height);
    let mut compressor = turbojpeg::Compressor::new().expect("a compressor");
    compressor.set_quality(80).expect("a valid quality");
    compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2).expect("a valid subsampling");
    let source = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width,
        pitch: 3 * width,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    let data = compressor.compress_to_vec(source).expect("a JPEG");
    let message = write::compressed_image(HeaderView::default(), "jpeg", &data);
    let mut decoder = FrameDecoder::new();
    let name = format!("jpeg_640x480_{}kB", data.len().div_ceil(1000));
    c.bench_function(&name, |b| {
        b.iter(|| {
            let image = CompressedImageView::parse(black_box(&message)).expect("well-formed");
            black_box(decoder.decode(&image).expect("a good frame"));
        });
    });
}

criterion_group!(benches, views, rows, jpeg);
criterion_main!(benches);
