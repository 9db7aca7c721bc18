//! The demo policy: the same bytes every time, small, and alive: every input shows in the actions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use vla_export::bundle::Request;
use vla_export::demo;
use vla_export::demo::{bundle, used_columns};
use vla_export::family::{Family, N1D6, N1D7};
use vla_export::synthetic_checkpoint;
use vla_policy::PolicySpec;
use vla_policy::encode::image::EvalTransform;
use vla_policy::fingerprint;
use vla_policy::processor::Processor;

use support::{Demo, Inputs};
use vla_trt_tests::demo_pipeline as support;

/// Of each release's bundle with the default seed. Changes with every change of the exporter's output; then look at the demo
/// again and write the new one here.
static FINGERPRINTS: [(&Family, &str); 2] = [
    (&N1D6, "sha256:28cdb62e128dfe03bd8dcc868cc3ef10d6ea5f0abdf959598c940b7546514f67"),
    (&N1D7, "sha256:c5a699431b54ae82e267c7ea1d7d89d320c5a4dd8873bef5ca844b966e4f7057"),
];

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .expect("bundle")
        .map(|entry| entry.expect("entry"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("file")))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_small_bundle_anywhere() {
    for (family, fingerprint_of_seed) in FINGERPRINTS {
        let scratch = tempfile::tempdir().expect("scratch");
        let (first, second, other) = (scratch.path().join("a"), scratch.path().join("b"), scratch.path().join("c"));
        let hash = bundle::write(family, &first, 7).expect("writes");
        assert_eq!(bundle::write(family, &second, 7).expect("writes"), hash);
        assert_eq!(files(&first), files(&second));
        assert_ne!(bundle::write(family, &other, 8).expect("writes"), hash);

        let size: usize = files(&first).values().map(Vec::len).sum();
        assert!(size < 10_000_000, "{size} bytes");
        let all = files(&first);
        // The lists of operations are made of the same layers as the networks and name them by hash.
        let counted = |name: &&str| {
            *name != "policy.yaml" && ![".data", ".operations.json"].iter().any(|suffix| name.ends_with(suffix))
        };
        let named: Vec<&str> = all.keys().map(String::as_str).filter(counted).collect();
        assert_eq!(fingerprint(&first, &named).expect("reads"), hash, "nothing in the folder is left out");
        assert!(String::from_utf8_lossy(&all["policy.yaml"]).contains(&format!("fingerprint: {hash}\n")));
        assert_eq!(fs::read_dir(scratch.path()).expect("scratch").count(), 3, "no scratch folder is left");
        assert_eq!(hash, fingerprint_of_seed, "{}", family.title());
    }
}

#[test]
fn a_bundle_is_replaced_and_a_stranger_is_not() {
    let scratch = tempfile::tempdir().expect("scratch");
    let dir = scratch.path().join("policy");
    fs::create_dir_all(dir.join("engines")).expect("folder");
    let error = bundle::write(&N1D6, &dir, 7).expect_err("something else is there").to_string();
    assert!(error.contains("policy.yaml") && error.contains(&*dir.to_string_lossy()), "{error}");
    fs::write(dir.join("policy.yaml"), "format: 1").expect("write");
    let hash = bundle::write(&N1D6, &dir, 7).expect("replaces");
    assert!(fs::read_to_string(dir.join("policy.yaml")).expect("reads").contains(&hash));
    assert!(dir.join("engines").is_dir(), "engines built from the bundle stay");
}

/// Numbers without a pattern, the same on every machine.
fn scattered(count: usize, salt: u64) -> impl Iterator<Item = f32> {
    (0..count as u64).map(move |i| {
        let mut x = (i ^ salt << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 31;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((x >> 40) as f32 / (1 << 23) as f32) - 1.0
    })
}

/// A scene: a coloured square before a shaded wall, in each view.
fn scene(square: usize) -> Vec<f32> {
    let (width, height) = (demo::views()[0].width, demo::views()[0].height);
    let mut pixels = Vec::new();
    for view in 0..3 {
        for channel in 0..3 {
            for y in 0..height {
                for x in 0..width {
                    let inside = x.abs_diff(square + 10 * view) < 12 && y.abs_diff(60) < 12;
                    let wall = 0.5 * (x as f32 / width as f32) - 0.3 * (y as f32 / height as f32);
                    pixels.push(if inside { [0.9, -0.6, -0.5][channel] } else { wall });
                }
            }
        }
    }
    pixels
}

fn inputs() -> Inputs {
    let mut state = vec![0.0; demo::DIMS];
    state[..used_columns()].copy_from_slice(&scattered(used_columns(), 3).collect::<Vec<_>>());
    // A sum of uniform numbers: close to the normal distribution that the flow starts from.
    let draws: Vec<Vec<f32>> = (0..3).map(|salt| scattered(demo::HORIZON * demo::DIMS, 10 + salt).collect()).collect();
    let noise = (0..demo::HORIZON * demo::DIMS).map(|i| draws.iter().map(|d| d[i]).sum()).collect();
    Inputs {
        pixels: scene(40),
        instruction: "transfer the red cube to the left arm".to_owned(),
        state,
        noise,
        steps: 4,
    }
}

/// Used rows and columns.
fn used(actions: &[f32]) -> Vec<f32> {
    actions.chunks_exact(demo::DIMS).take(demo::ROWS).flat_map(|row| row[..used_columns()].to_vec()).collect()
}

fn rms(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), v| (sum + v * v, count + 1));
    (sum / count as f32).sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    rms(a.iter().zip(b).map(|(a, b)| a - b))
}

#[test]
fn actions_are_finite_smooth_and_follow_every_input() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let scratch = tempfile::tempdir().expect("scratch");
    let dir = scratch.path().join("policy");
    bundle::write(&N1D6, &dir, 7).expect("writes");
    let mut demo = Demo::load(&dir);
    let base = inputs();
    let all = demo.run(&base);
    let actions = used(&all);
    assert_eq!(demo.run(&base), all, "the same inputs give the same actions");

    for steps in demo::STEPS {
        let all = demo.run(&Inputs { steps, ..base.clone() });
        assert!(all.iter().all(|v| v.is_finite()), "{steps} steps");
        let actions = used(&all);
        let outside = actions.iter().filter(|v| v.abs() > 1.0).count();
        let jumps = rms(actions.iter().zip(&actions[used_columns()..]).map(|(a, b)| a - b));
        let size = rms(actions.iter().copied());
        eprintln!("{steps} steps: rms {size:.3}, row to row {jumps:.3}, {outside} of {} clip", actions.len());
        assert!((0.1..0.9).contains(&size), "{steps} steps: rms {size}");
        assert!(outside * 10 < actions.len(), "{steps} steps: {outside} of {} would be clipped", actions.len());
        assert!(jumps < 0.3, "{steps} steps: row to row {jumps}");
    }

    let mut changes = vec![
        ("an object that moved", Inputs { pixels: scene(90), ..base.clone() }),
        ("another instruction", Inputs { instruction: "open the drawer".into(), ..base.clone() }),
        ("one word", Inputs { instruction: "transfer the red cube to the right arm".into(), ..base.clone() }),
        ("noise", Inputs { noise: base.noise.iter().map(|v| -v).collect(), ..base.clone() }),
    ];
    let view = base.pixels.len() / 3;
    for (index, camera) in demo::CAMERAS.iter().enumerate() {
        let mut dark = base.clone();
        dark.pixels[index * view..][..view].fill(-1.0);
        changes.push((camera, dark));
    }
    let mut column = 0;
    for (key, width) in demo::KEYS {
        let mut moved = base.clone();
        moved.state[column..column + width].iter_mut().for_each(|v| *v = -*v);
        column += width;
        changes.push((key, moved));
    }
    for (what, changed) in changes {
        let change = distance(&used(&demo.run(&changed)), &actions);
        eprintln!("{what}: {change:.4}");
        assert!(change > 0.02, "{what} changes the actions by {change} only");
    }
}

#[test]
fn cut_into_more_stages_the_policy_does_the_same() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let scratch = tempfile::tempdir().expect("scratch");
    let checkpoint = scratch.path().join("checkpoint");
    fs::create_dir(&checkpoint).expect("folder");
    synthetic_checkpoint::fill_folder(&N1D6, synthetic_checkpoint::Size::Demo, 7, &checkpoint, u64::MAX, &mut |_| {})
        .expect("writes");
    let run = |blocks: Option<usize>| {
        let dir = scratch.path().join(format!("{blocks:?}"));
        let request = Request { blocks_per_engine: blocks, ..bundle::request(&N1D6, &checkpoint) };
        vla_export::bundle::write(&request, &dir, &mut |_| {}).expect("exports");
        let names = PolicySpec::load(&dir).expect("a policy").stage_names();
        (names, Demo::load(&dir).run(&inputs()))
    };
    let (_, whole) = run(None);
    let cut = ["vision_0", "vision_1", "language_0", "language_1", "context", "step_0", "step_1", "step_2", "step_3"];
    let uneven = ["vision", "language", "context", "step_0", "step_1"];
    for (blocks, expected) in [(1, &cut[..]), (3, &uneven[..])] {
        let (names, actions) = run(Some(blocks));
        assert_eq!(names, expected);
        let largest = whole.iter().zip(&actions).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{blocks} blocks a stage: {largest:e}");
        assert!(largest < 1e-5, "{blocks} blocks a stage: {largest}");
    }
}

#[test]
fn the_vendors_transform_makes_the_exported_views_of_usual_cameras() {
    let scratch = tempfile::tempdir().expect("scratch");
    let dir = scratch.path().join("policy");
    bundle::write(&N1D6, &dir, 7).expect("writes");
    let (config, statistics) = (dir.join("processor_config.json"), dir.join("statistics.json"));
    let processor = Processor::load(&config, &statistics, demo::EMBODIMENT.0).expect("the vendor's schema");
    assert_eq!(processor.cameras, demo::CAMERAS);
    assert_eq!((processor.rows(), processor.action_width()), (demo::ROWS, used_columns()));
    let transform = EvalTransform::new(&processor.image);
    for (width, height) in [(320, 240), (640, 480), (800, 600), (1600, 1200)] {
        let size = transform.output_size(width, height).expect("a usual camera");
        assert!(demo::views().iter().all(|view| (view.width, view.height) == (size.width, size.height)), "{size:?}");
    }
}

#[test]
fn prompts_fit_the_profile() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let scratch = tempfile::tempdir().expect("scratch");
    let dir = scratch.path().join("policy");
    bundle::write(&N1D6, &dir, 7).expect("writes");
    let demo = Demo::load(&dir);
    let images = 60;
    let texts = |instruction: &str| demo.prompt(instruction).len() - images;
    let [fewest, usual, most] = demo::TEXT;
    eprintln!("text tokens: {} to {}", texts(""), texts("transfer the red cube to the left arm"));
    assert!(fewest <= texts(""));
    assert!(texts("transfer the red cube to the left arm") <= usual);
    assert!(texts(&"zq".repeat(50)) <= most, "a hundred unusual letters fit");
}
