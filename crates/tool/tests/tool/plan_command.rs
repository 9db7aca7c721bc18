//! `vla-trt plan`, and that what it says is what loading does.

use vla_trt_tests::demo;

use std::path::Path;
use std::process::{Command, Output};

use vla_engines::memory::{Figure, Fit, Footprint};
use vla_engines::roofline::{Bound, Machine, Work};
use vla_engines::{Admission, EngineKind, LoadEvent, Mix, Stage, memory, pipeline};
use vla_policy::{PolicySpec, Progress};
use vla_runtime::session::Session;

pub(crate) fn plan(policy: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("plan").arg(policy).args(args).output().expect("the tool starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn code(output: &Output) -> i32 {
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
        for remedy in ["another load order", "a lower maximum in the profiles", "desktop", "swap"] {
            assert!(text.contains(remedy), "{remedy} in {text}");
        }
        // The precision in policy.yaml is that of TensorRT engines, and the demo's is fp16 already.
        assert_eq!(text.contains("smaller engines: 8-bit products"), kind == "tensorrt", "{text}");
        assert!(!text.contains("fp32"), "{text}");
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
    let work = |steps| Work::of(step, steps).expect("reads");
    let slow = Machine::new(1e9, 1e15);
    let floor = work(4).on(slow);
    assert_eq!((work(4).runs, floor.bound()), (4, Bound::Memory));
    let bytes = (work(4).weight_bytes + work(4).io_bytes) as f64;
    assert!((floor.seconds() - 4.0 * bytes / 1e9).abs() < 1e-12, "{floor:?}");
    let weak = work(8).on(Machine::new(1e15, 1e9));
    assert_eq!(weak.bound(), Bound::Compute);
    assert!((weak.seconds() - 8.0 * work(8).flops as f64 / 1e9).abs() < 1e-9, "{weak:?}");
}

#[test]
fn int8_moves_half_of_fp16_and_doubles_only_products_with_weights_and_fp32_has_no_tensor_cores() {
    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("loads");
    let step = spec.stages.iter().find(|stage| stage.repeat).expect("a stage that repeats");
    let in_precision =
        |precision: &str| Work::of(&Stage { precision: precision.into(), ..step.clone() }, 1).expect("reads");
    let [int8, fp16, fp32] = ["int8+fp16", "fp16", "fp32"].map(in_precision);
    // Shapes and axes among the weights are integers and stay as they are: a few hundred bytes.
    assert!((2 * fp16.weight_bytes).abs_diff(fp32.weight_bytes) < 1000, "{fp16:?} {fp32:?}");
    assert!(int8.weight_bytes < fp16.weight_bytes && int8.io_bytes == fp16.io_bytes);
    let machine = Machine::new(1e15, 1e9);
    let [int8_s, fp16_s, fp32_s] = [&int8, &fp16, &fp32].map(|work| work.on(machine).compute_s);
    assert!((fp32_s / fp16_s - 8.0).abs() < 1e-9);
    // Scores and weighted sums of attention: two products of 51 rows with the 51 rows themselves or with the context.
    assert_eq!((int8.flops, fp16.int8_flops), (fp16.flops, 0));
    let of_values = int8.flops - int8.int8_flops;
    assert!(of_values > 0 && of_values < fp16.flops / 2, "{fp16:?}");
    let expected = (int8.int8_flops as f64 / 2.0 + of_values as f64) / 1e9;
    assert!((int8_s - expected).abs() < 1e-12, "{int8_s} {expected}");
}

#[test]
fn of_a_table_that_rows_are_picked_from_only_those_rows_are_bytes_that_move() {
    let dir = tempfile::tempdir().expect("a folder");
    let policy = export(dir.path(), &["--layout", "backbone-dit"], &["top"]);
    let spec = PolicySpec::load(&policy).expect("loads");
    let backbone = spec.stages.iter().find(|stage| stage.name == "backbone").expect("holds the token embedding");
    let network = memory::estimate::network(backbone).expect("reads");
    let table = network.weights.iter().find(|weight| weight.name.contains("embed_tokens")).expect("the table").elements;
    let work = Work::of(backbone, 1).expect("reads");
    let held = network.weight_bytes_in("fp32");
    let moved = Work { precision: "fp32".into(), ..work }.weight_bytes;
    assert!(held - 2 * table > moved, "{held} held, {moved} moved, a table of {table}");
}

/// A demo checkpoint's bundle for these cameras.
fn export(dir: &Path, options: &[&str], cameras: &[&str]) -> std::path::PathBuf {
    let (checkpoint, policy) = (dir.join("checkpoint"), dir.join(format!("{}_cameras", cameras.len())));
    let run = |args: Vec<String>| {
        let output = Command::new(env!("CARGO_BIN_EXE_vla-trt")).args(args).output().expect("the tool starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if !checkpoint.exists() {
        run(words(format!("make-checkpoint --size demo -o {}", checkpoint.display())));
    }
    // Which cameras a policy has stands in its processor's configuration.
    let config = checkpoint.join("processor_config.json");
    let mut processor: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&config).expect("the processor's configuration")).expect("JSON");
    processor["processor_kwargs"]["modality_configs"]["new_embodiment"]["video"]["modality_keys"] = cameras.into();
    std::fs::write(&config, processor.to_string()).expect("written");
    let cameras: Vec<String> = cameras.iter().map(|name| format!("--camera {name}=640x480")).collect();
    run(words(format!(
        "export --checkpoint {0} --tokenizer {0}/tokenizer --embodiment new_embodiment --step-s 0.02 -o {1} {2} {3}",
        checkpoint.display(),
        policy.display(),
        options.join(" "),
        cameras.join(" ")
    )));
    policy
}

/// The numbers at the end of the summary's row of this policy and mix.
pub(crate) fn summary(text: &str, policy: &str, mix: &str) -> Vec<f64> {
    let text = text.split("predicted floor of one inference").nth(1).unwrap_or_else(|| panic!("{text}"));
    let row =
        text.lines().find(|line| line.split_whitespace().next() == Some(policy) && line.contains(&format!(" {mix} ")));
    let row = row.unwrap_or_else(|| panic!("{policy} {mix} in {text}"));
    row.rsplit("  ").map(str::trim).filter(|word| !word.is_empty()).map_while(|word| word.parse().ok()).collect()
}

#[test]
fn numbers_of_cameras_and_mixes_stand_side_by_side_with_what_others_published_for_the_board() {
    let dir = tempfile::tempdir().expect("a folder");
    let (one, two) = (export(dir.path(), &[], &["top"]), export(dir.path(), &[], &["top", "wrist"]));
    let mixes = ["--mix", "fp16", "--mix", "fp16,step=int8+fp16"];
    let common = ["--roofline", "--budget-mib", "1000"];
    let run = |options: &[&str]| {
        let args: Vec<&str> = [two.to_str().expect("text")].iter().chain(&common).chain(options).copied().collect();
        let output = plan(&one, &args);
        assert_eq!(code(&output), 0, "{}", stdout(&output));
        stdout(&output)
    };
    // So slow a memory that all are bound by it, then so slow an arithmetic.
    let slow = ["--bandwidth-gb-s", "0.001", "--tflops", "1000"].iter().chain(&mixes).copied().collect::<Vec<_>>();
    let text = run(&slow);
    assert!(text.contains("a prediction, not a measurement") && !text.contains("published"), "{text}");
    let of = |policy: &str, mix: &str| summary(&text, policy, mix)[0];
    assert!(of("2_cameras", "fp16") > of("1_cameras", "fp16"), "{text}");
    assert!(of("1_cameras", "fp16,step=int8+fp16") < of("1_cameras", "fp16"), "{text}");
    // The floor of an inference is the sum of its stages'.
    let table = text.split("  fp16, cameras 1").nth(1).expect("a table");
    let rows =
        table.lines().skip(2).take(5).map(|row| row.split_whitespace().rev().find_map(|word| word.parse::<f64>().ok()));
    let rows: Vec<f64> = rows.map(|floor| floor.expect("a floor")).collect();
    assert!(
        (rows[..4].iter().sum::<f64>() - rows[4]).abs() < 0.01 && (rows[4] - of("1_cameras", "fp16")).abs() < 0.1,
        "{rows:?}"
    );
    // The board has two clocks, the faster of which is never slower; its published latency stands below.
    let text = run(&["--board", "orin-nx-16"]);
    let floors = summary(&text, "2_cameras", "policy.yaml");
    assert!(floors.len() == 2 && floors[0] <= floors[1], "the row from its end: {floors:?}");
    assert!(text.contains("102.4 GB/s (orin-nx-16)") && text.contains("not by this project: 252.3 ms"), "{text}");
    assert!(text.contains("weights once a run") && text.contains("4 denoising steps"), "{text}");
}

#[test]
fn a_board_a_mix_or_a_factor_that_is_none_is_told_with_what_there_is() {
    let policy = demo::policy();
    for (args, exit, words) in [
        (&["--roofline", "--board", "orin"][..], 1, "expected orin-nx-16 or agx-orin-64"),
        (
            &["--mix", "fp16,dit=int8"],
            1,
            "names 'dit', which is no stage; the stages are vision, language, context, step",
        ),
        (&["--mix", "fp12"], 2, "expected fp32, or int8"),
        (&["--mix", "step=fp16"], 2, "a precision for all stages first"),
        (&["--mix", "fp16", "--engine-kind", "onnx"], 1, "compares TensorRT engines"),
        (&["--kept-factor", "5"], 1, "--kept-factor"),
        (&["--released-factor", "nan"], 1, "--released-factor"),
    ] {
        let output = plan(policy.path(), args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(code(&output) == exit && stderr.contains(words), "{args:?}: {stderr}");
    }
}

#[test]
fn a_mix_is_for_pieces_of_a_stage_too_and_takes_an_engine_of_another_precision_for_none() {
    let stage = |name: &str| Stage {
        name: name.into(),
        file: format!("{name}.engine").into(),
        onnx: format!("{name}.onnx").into(),
        repeat: false,
        inputs: Vec::new(),
        outputs: Vec::new(),
        precision: "fp16".into(),
        profile: Vec::new(),
        allow_unverified: false,
        allow_inaccurate: false,
    };
    let stages = ["vision", "step_0", "step_1", "stepper"].map(stage);
    let mix: Mix = "fp16,step=fp16+int8,step_1=fp32".parse().expect("a mix");
    let mixed = mix.apply(&stages).expect("stages that are there");
    let of: Vec<(&str, &str)> =
        mixed.iter().map(|stage| (stage.precision.as_str(), stage.file.to_str().expect("text"))).collect();
    let expected =
        [("fp16", "vision.engine"), ("int8+fp16", "step_0.onnx"), ("fp32", "step_1.onnx"), ("fp16", "stepper.engine")];
    assert_eq!(of, expected);
    assert_eq!(mix.to_string(), "fp16,step=int8+fp16,step_1=fp32");
}

#[test]
fn released_copies_count_once_and_make_the_load_order_matter() {
    let footprint = |name: &str, mib: u64| Footprint {
        stage: name.into(),
        file: Figure::measured(mib << 20),
        weights: Figure::estimated(mib << 20),
        host_copy: Figure::estimated(mib << 20),
        ..Footprint::default()
    };
    let kept = memory::MemoryPlan::new(vec![footprint("small", 100), footprint("large", 1000)], true);
    assert_eq!(kept.with_host_copies(0.5).running().host, 550 << 20);
    let budget = |mib: u64| Admission { budget: Some(mib << 20), reserve: 0, ..Admission::default() };
    // Kept: 2 x 1100, and a margin of a twentieth.
    assert_eq!(kept.fit(budget(2309), None), Fit::None);
    assert_eq!(kept.fit(budget(2310), None), Fit::AnyOrder);
    // Released but for a tenth. Large first: 1000 + 1000, then 1100 + 200 at the second load; small first: 100 + 10 before.
    let released = kept.with_released_host_copies(0.1);
    assert_eq!(released.running().total(), 1210 << 20);
    assert_eq!(released.best_order().order(), ["large", "small"]);
    assert_eq!(released.fit(budget(2099), None), Fit::None);
    assert_eq!(released.fit(budget(2100), None), Fit::BestOrder);
    assert_eq!(released.fit(budget(2215), None), Fit::BestOrder);
    assert_eq!(released.fit(budget(2216), None), Fit::AnyOrder);
    // What a record measured is not what is assumed of others.
    let mut measured = kept.clone();
    measured.stages[1].host_copy = Figure::measured(7 << 20);
    assert_eq!(measured.with_host_copies(0.5).running().host, 57 << 20);
}

#[test]
fn the_table_of_mixes_says_in_which_orders_each_is_admitted() {
    let policy = demo::policy();
    let mixes = ["--mix", "fp32", "--mix", "fp16", "--mix", "fp16,step=int8+fp16"];
    let run = |budget: &str| {
        stdout(&plan(policy.path(), &[&mixes[..], &["--budget-mib", budget, "--reserve-mib", "8"]].concat()))
    };
    let row = |text: &str, mix: &str, copies: &str| -> (Vec<f64>, String) {
        let row = text.lines().find(|line| line.split_whitespace().take(2).eq([mix, copies]));
        let words: Vec<&str> =
            row.unwrap_or_else(|| panic!("{mix} {copies} in {text}")).split_whitespace().skip(2).collect();
        (words[..5].iter().map(|word| word.parse().expect("MiB")).collect(), words[5..].join(" "))
    };
    let text = run("1000");
    let (fp32, verdict) = row(&text, "fp32", "kept");
    assert_eq!(verdict, "in any order");
    assert!((fp32[0] - fp32[1]).abs() <= 1.0, "kept, a copy is as large as the file: {fp32:?}");
    let (released, _) = row(&text, "fp32", "released");
    assert!(released[1] < fp32[1] && released[0] == fp32[0], "{released:?}");
    let (fp16, _) = row(&text, "fp16", "kept");
    assert!(fp16[0] < fp32[0] && fp16[2] < fp32[2]);
    assert!(
        text.contains("in 1000 MiB less a reserve of 8 MiB") && text.contains("released: 0.1 after its load"),
        "{text}"
    );
    assert_eq!(row(&run("24"), "fp32", "kept").1, "no");
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
    let planned = pipeline::plan(EngineKind::Onnx, &spec.stages, None, true, None).expect("plans");
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

#[test]
fn a_cut_file_of_weights_is_named_by_the_plan_and_refused_at_load() {
    use vla_engines::onnx_runtime::Onnx;
    use vla_engines::provenance::ProvenanceStatus;
    use vla_engines::{Backend as _, Error};

    let policy = demo::policy();
    let data = policy.path().join("step.onnx.data");
    let bytes = std::fs::read(&data).expect("read");
    std::fs::write(&data, &bytes[..bytes.len() - 1]).expect("written");
    for kind in ["tensorrt", "onnx"] {
        let output = plan(policy.path(), &["--engine-kind", kind]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(&output), 1, "{kind}: {stderr}");
        for words in ["step.onnx.data", &bytes.len().to_string(), &(bytes.len() - 1).to_string()] {
            assert!(stderr.contains(words), "{words}: {stderr}");
        }
    }
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("SKIPPED in part: ORT_DYLIB_PATH does not name ONNX Runtime's library");
        return;
    }
    let spec = PolicySpec::load(policy.path()).expect("a policy");
    let stage = spec.stages.iter().find(|stage| stage.name == "step").expect("a step");
    let stage = spec.stage_for(stage, EngineKind::Onnx);
    for mut backend in [Onnx::new(1).expect("opens"), Onnx::new(1).expect("opens").without_prepacking()] {
        let loaded = backend.load(&stage, &ProvenanceStatus::NotApplicable);
        let Err(Error::Load { stage, source, .. }) = loaded else { panic!("was loaded") };
        assert!(stage == "step" && source.to_string().contains("step.onnx.data"), "{source}");
    }
}
