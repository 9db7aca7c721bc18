//! `vla-trt plan`, and that what it says is what loading does.

#[path = "support/demo.rs"]
mod demo;

use std::path::Path;
use std::process::{Command, Output};

use vla_trt::engine::roofline::{Bound, Floor, Machine};
use vla_trt::engine::{EngineKind, LoadEvent, memory, pipeline};
use vla_trt::policy::{PolicySpec, Progress};
use vla_trt::session::Session;

fn plan(policy: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("plan").arg(policy).args(args).output().expect("the tool starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// The number before `after` in the text, as in `smallest budget 22.0 MiB`.
fn number(text: &str, before: &str) -> f64 {
    let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{before} in {text}"))
}

#[test]
fn a_bundle_without_engines_is_planned_from_its_networks_and_marked_so() {
    let policy = demo::policy();
    let output = plan(policy.path(), &[]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    let text = stdout(&output);
    assert!(text.contains("4 stages on TensorRT, loaded as step, language, vision, context"), "{text}");
    assert!(text.contains("no engine is built yet: vision, language, context, step"), "{text}");
    for stage in ["vision", "language", "context", "step"] {
        let row = text.lines().find(|line| line.trim_start().starts_with(stage)).unwrap_or_else(|| panic!("{text}"));
        assert!(row.contains('~') && row.contains("to come"), "{row}");
    }
}

#[test]
fn the_smallest_budget_that_it_names_fits_and_a_mebibyte_less_exits_4_with_remedies() {
    let policy = demo::policy();
    for kind in ["tensorrt", "onnx"] {
        let text = stdout(&plan(policy.path(), &["--engine-kind", kind]));
        let smallest = number(&text, "smallest budget ").ceil() as u64;
        let with = |mib: u64| plan(policy.path(), &["--engine-kind", kind, "--budget-mib", &mib.to_string()]);
        assert_eq!(code(&with(smallest)), 0);
        let refused = with(smallest - 1);
        assert_eq!(code(&refused), 4);
        let text = stdout(&refused);
        assert!(text.contains("does not fit: not enough memory to load stage 'step'"), "{text}");
        assert!(text.contains(&format!("memory.budget_mib: {smallest} or more")), "{text}");
        for remedy in ["another load order", "a lower maximum in the profiles", "smaller engines", "desktop", "swap"] {
            assert!(text.contains(remedy), "{remedy} in {text}");
        }
    }
}

#[test]
fn the_reserve_is_left_free_in_the_simulated_machine() {
    let policy = demo::policy();
    let text = stdout(&plan(policy.path(), &[]));
    let smallest = number(&text, "smallest budget ").ceil() as u64;
    let budget = (smallest + 100).to_string();
    assert_eq!(code(&plan(policy.path(), &["--budget-mib", &budget, "--reserve-mib", "100"])), 0);
    assert_eq!(code(&plan(policy.path(), &["--budget-mib", &budget, "--reserve-mib", "101"])), 4);
    // On this machine itself: nobody has this much to leave.
    let refused = plan(policy.path(), &["--reserve-mib", "99999999"]);
    assert_eq!(code(&refused), 4);
    assert!(stdout(&refused).contains("memory.reserve_mib: "), "{}", stdout(&refused));
}

#[test]
fn the_order_that_is_given_is_the_order_of_the_plan_and_one_that_is_none_exits_1() {
    let policy = demo::policy();
    let text = stdout(&plan(policy.path(), &["--order", "context,vision,language,step"]));
    assert!(text.contains("loaded as context, vision, language, step"), "{text}");
    let wrong = plan(policy.path(), &["--order", "context,vision"]);
    assert_eq!(code(&wrong), 1);
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(stderr.contains("'language' is missing") && stderr.contains("step"), "{stderr}");
}

#[test]
fn without_a_policy_or_with_a_machine_of_no_speed_it_exits_1() {
    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(code(&plan(empty.path(), &[])), 1);
    let policy = demo::policy();
    for flag in ["--bandwidth-gb-s", "--tflops"] {
        let output = plan(policy.path(), &["--roofline", flag, "0"]);
        assert_eq!(code(&output), 1);
        assert!(String::from_utf8_lossy(&output.stderr).contains(flag));
    }
}

#[test]
fn the_roofline_is_bytes_over_bandwidth_or_operations_over_speed_times_the_repetitions() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("loads");
    let step = spec.stages.iter().find(|stage| stage.repeat).expect("a stage that repeats");
    let slow = Machine { bytes_per_s: 1e9, fp16_flops_per_s: 1e15 };
    let of = |steps, machine| Floor::of(step, steps, machine).expect("reads");
    let floor = of(4, slow);
    assert_eq!((floor.runs, floor.bound()), (4, Bound::Memory));
    let bytes = (floor.weight_bytes + floor.io_bytes) as f64;
    assert!((floor.seconds() - 4.0 * bytes / 1e9).abs() < 1e-12, "{floor:?}");
    let weak = of(8, Machine { bytes_per_s: 1e15, fp16_flops_per_s: 1e9 });
    assert_eq!(weak.bound(), Bound::Compute);
    assert!((weak.seconds() - 8.0 * weak.flops as f64 / 1e9).abs() < 1e-9, "{weak:?}");
    // INT8 moves half the bytes of FP16 matrices and counts twice as fast, FP32 moves twice and counts half as fast.
    let in_precision = |precision: &str| {
        let stage = vla_trt::engine::Stage { precision: precision.into(), ..step.clone() };
        Floor::of(&stage, 1, slow).expect("reads")
    };
    let [int8, fp16, fp32] = ["int8", "fp16", "fp32"].map(in_precision);
    assert!(
        (fp16.compute_s / int8.compute_s - 2.0).abs() < 1e-9 && (fp32.compute_s / fp16.compute_s - 2.0).abs() < 1e-9
    );
    // Shapes and axes among the weights are integers and stay as they are: a few hundred bytes.
    assert!((2 * fp16.weight_bytes).abs_diff(fp32.weight_bytes) < 1000, "{fp16:?} {fp32:?}");
    assert!(int8.weight_bytes < fp16.weight_bytes);
    let text = stdout(&plan(policy.path(), &["--roofline", "--bandwidth-gb-s", "1", "--steps", "2"]));
    assert!(text.contains("least time at 1 GB/s") && text.contains("2 denoising steps"), "{text}");
}

#[test]
fn a_built_engine_is_planned_by_its_own_size() {
    let policy = demo::policy();
    std::fs::create_dir(policy.path().join("engines")).expect("made");
    std::fs::write(policy.path().join("engines/step.engine"), vec![0u8; 3 << 20]).expect("written");
    let text = stdout(&plan(policy.path(), &[]));
    let row = text.lines().find(|line| line.starts_with("  step ")).unwrap_or_else(|| panic!("{text}"));
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[1..4], ["3.0", "~3.0", "~3.0"], "its size is measured, its host copy taken to be as large: {row}");
    assert!(text.contains("no engine is built yet: vision, language, context\n"), "{text}");
    // What its record knows stands in for the estimates.
    let sha256 = "0".repeat(64);
    let record = format!(
        r#"{{"format": 1, "precision": "fp16", "built_at": "2026-01-01T00:00:00Z",
            "device": {{"tensorrt": "8.6.0", "gpu": "Orin", "sm_version": "8.7", "sm_count": 8, "driver": "d", "cuda": "12"}},
            "onnx": {{"file": "step.onnx", "sha256": "{sha256}"}}, "engine": {{"sha256": "{sha256}", "bytes": 3145728}},
            "memory": {{"kept_factor": 0.5, "activation_bytes": 7340032, "weight_bytes": 2097152}}}}"#
    );
    std::fs::write(policy.path().join("engines/step.engine.provenance.json"), &record).expect("written");
    let text = stdout(&plan(policy.path(), &[]));
    let row = text.lines().find(|line| line.starts_with("  step ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(row.split_whitespace().skip(1).take(4).collect::<Vec<_>>(), ["3.0", "2.0", "1.5", "7.0"], "{text}");
    // A host copy that a trial gave back counts while it is loaded, and what the trial kept counts after it.
    let record = record
        .replace(r#""kept_factor": 0.5"#, r#""kept_factor": 1.0, "release": {"works": true, "kept_factor": 0.5}"#);
    std::fs::write(policy.path().join("engines/step.engine.provenance.json"), &record).expect("written");
    for (arguments, host_copy, loading) in [(&[][..], "1.5", "4.5"), (&["--keep-host-copy"][..], "3.0", "3.0")] {
        let text = stdout(&plan(policy.path(), arguments));
        let row = text.lines().find(|line| line.starts_with("  step ")).unwrap_or_else(|| panic!("{text}"));
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((cells[3], cells[6]), (host_copy, loading), "{row}");
    }
    let failed = record.replace(r#""works": true"#, r#""works": false"#);
    std::fs::write(policy.path().join("engines/step.engine.provenance.json"), failed).expect("written");
    let text = stdout(&plan(policy.path(), &[]));
    let row = text.lines().find(|line| line.starts_with("  step ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(row.split_whitespace().nth(3), Some("3.0"), "what did not work is not counted on: {row}");
    // A record beside it that cannot be read is an error, not an estimate.
    std::fs::write(policy.path().join("engines/step.engine.provenance.json"), "{}").expect("written");
    let output = plan(policy.path(), &[]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a provenance record"));
}

#[test]
fn loading_admits_the_budget_that_the_plan_names_and_measures_no_more_than_it() {
    let policy = demo::policy();
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let spec = PolicySpec::load(policy.path()).expect("loads");
    let planned = pipeline::plan(EngineKind::Onnx, &spec.stages, None, true).expect("plans");
    let smallest = planned.smallest_budget().div_ceil(1 << 20);
    let load = |mib: u64| {
        let settings = demo::settings(policy.path(), &[&format!("memory.budget_mib:={mib}")]);
        let mut loaded = Vec::new();
        let session = Session::load(spec.clone(), &settings, &mut |progress| {
            if let Progress::Engine(LoadEvent::Loaded(report)) = progress {
                loaded.push(*report);
            }
        });
        (session.map(drop).map_err(|error| error.to_string()), loaded)
    };
    let (refused, loaded) = load(smallest - 1);
    let error = refused.expect_err("a mebibyte is missing");
    assert!(error.starts_with("not enough memory to load stage 'step'") && loaded.is_empty(), "{error}");
    let (session, loaded) = load(smallest);
    session.expect("fits");
    let order: Vec<&str> = loaded.iter().map(|report| report.stage.as_str()).collect();
    assert_eq!(order, planned.order());
    for report in &loaded {
        let (kept, margin) = (report.measured.kept(), planned.margin());
        assert!(kept <= report.planned.kept() + margin, "{report:?}");
    }
    assert!(memory::mib(loaded.iter().map(|report| report.measured.kept()).sum()) > 1.0, "something was measured");
}
