//! Resampling and the whole evaluation transform, at the sizes of common cameras. One thread, nothing allocated.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::EvalTransform;
use vla_policy::encode::resize::{AreaResize, Filter, FilterResize, Packed, Rows, Size, Window};
use vla_policy::family::{N1D6, N1D7};

/// A picture with edges and noise; the transform's time hardly depends on it.
fn picture(size: Size) -> Vec<u8> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..3 * size.width * size.height).map(|i| if i / 97 % 2 == 0 { noise() } else { 200 }).collect()
}

fn drain(mut rows: impl Rows, size: Size) {
    for y in 0..size.height {
        black_box(rows.row(y));
    }
}

fn resample(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode/resample");
    let size = |width, height| Size { width, height };
    // The three steps of a 640x480 camera.
    let crop = Window { x: 9, y: 6, size: size(323, 243) };
    for (name, input, output, window) in [
        ("area_shrink", size(640, 480), size(341, 256), crop),
        ("area_enlarge", size(323, 243), size(340, 256), Window::full(size(340, 256))),
    ] {
        let data = picture(input);
        let mut plan = AreaResize::plan(input, output, window).expect("a recipe");
        group.throughput(Throughput::Elements((output.width * output.height) as u64));
        group.bench_function(name, |b| {
            b.iter(|| drain(plan.over(Packed { data: &data, width: input.width }), window.size));
        });
    }
    let (input, output) = (size(340, 256), size(336, 252));
    let data = picture(input);
    let mut plan = FilterResize::plan(input, output, Filter::PILLOW_BICUBIC).expect("a recipe");
    group.throughput(Throughput::Elements((output.width * output.height) as u64));
    group.bench_function("bicubic", |b| {
        b.iter(|| drain(plan.over(Packed { data: &data, width: input.width }), output));
    });
    group.finish();
}

fn transform(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode/transform");
    let sizes = [(640, 480), (424, 240), (1280, 720), (1920, 1080)];
    let cases = [("rgb8", &N1D6), ("n1d7_rgb8", &N1D7)].into_iter().flat_map(|case| sizes.map(|size| (case, size)));
    for ((name, family), (width, height)) in cases {
        let input = Size { width, height };
        let data = picture(input);
        let frame = Pixels::new(PixelFormat::Rgb8, width, height, 3 * width, &data).expect("consistent");
        let mut transform = EvalTransform::new(&family.image(256, 0.95));
        let output = transform.prepare(width, height).expect("a size");
        let mut pixels = vec![0.0f32; 3 * output.width * output.height];
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(name, format!("{width}x{height}")), |b| {
            b.iter(|| transform.apply(black_box(&frame), &mut pixels).expect("a result"));
        });
    }
    group.finish();
}

criterion_group!(benches, resample, transform);
criterion_main!(benches);
