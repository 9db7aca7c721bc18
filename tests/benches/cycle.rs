//! One cycle of the demo policy on 3 x 640x480 JPEG cameras: all of it, and encode alone (decode JPEG, resample,
//! normalise, prompt, state), on one thread.
//!
//! ```sh
//! ORT_DYLIB_PATH=.cache/onnxruntime/libonnxruntime.so cargo bench --bench cycle
//! ```

use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use turbojpeg::{Image, PixelFormat, Subsamp};
use vla_base::time::Stamp;
use vla_messages::{HeaderView, write};
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, Inputs};
use vla_runtime::session::{CycleOutcome, Session};
use vla_trt_tests::demo;

const NOW: Stamp = Stamp::from_nanos(1_760_000_000_000_000_000);

/// A picture with edges and texture, so that its JPEG is of a camera's size (some 60 kB).
fn frame() -> Vec<u8> {
    let (width, height) = (640, 480);
    let mut pixels = vec![0u8; width * height * 3];
    for (index, value) in pixels.iter_mut().enumerate() {
        let (x, y, c) = (index / 3 % width, index / 3 / width, index % 3);
        let checker = if (x / 40 + y / 40) % 2 == 0 { 60 } else { 0 };
        let texture = (x * 7 + y * 13 + (x * y) % 31) % 23;
        *value = ((x * 160 / width + y * (c + 1) * 20 / height) + checker + texture).min(255) as u8;
    }
    let image = Image { pixels: pixels.as_slice(), width, pitch: width * 3, height, format: PixelFormat::RGB };
    turbojpeg::compress(image, 90, Subsamp::Sub2x2).expect("a JPEG").to_vec()
}

fn session(policy: &std::path::Path) -> (Session, Inputs, std::sync::Arc<vla_runtime::parameters::Settings>) {
    let settings = demo::settings(policy, &["instruction:=pick up the red cube", "encode.threads:=1"]);
    let spec = PolicySpec::load(policy).expect("the demo policy");
    let session = Session::load(spec, &settings, &mut |_| {}).expect("the demo policy loads");
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_instruction(&settings.instruction);
    let jpeg = frame();
    let header = HeaderView { stamp: NOW, frame_id: "camera" };
    let names = settings.joint_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (index, input) in settings.inputs.iter().enumerate() {
        let message = match input.kind {
            InputKind::Camera { .. } => write::compressed_image(header, "jpeg", &jpeg),
            InputKind::Joints => write::joint_state(header, &names, &vec![0.1; names.len()], &[], &[]),
            _ => continue,
        };
        inputs.offer(index, Bytes::from(message), NOW).expect("a good message");
    }
    (session, inputs, settings)
}

fn cycle(criterion: &mut Criterion) {
    // Kept to the end: a new instruction reads the constants again.
    let policy = demo::policy();
    let (mut session, inputs, settings) = session(policy.path());
    let mut timed = |pick: fn(&vla_policy::Timings) -> Duration| {
        let CycleOutcome::Published(published) = session.cycle(NOW, &inputs, &settings, true, &mut || NOW) else {
            panic!("a chunk")
        };
        pick(published.timings)
    };
    let mut group = criterion.benchmark_group("cycle/3x640x480-jpeg");
    group.bench_function("encode", |bencher| {
        bencher.iter_custom(|n| (0..n).map(|_| timed(|timings| timings.encode)).sum());
    });
    group.bench_function("infer", |bencher| {
        bencher.iter_custom(|n| (0..n).map(|_| timed(|timings| timings.total)).sum());
    });
}

criterion_group!(benches, cycle);
criterion_main!(benches);
