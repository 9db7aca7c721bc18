use std::path::Path;

use super::*;
use vla_engines::memory::{Admission, Figure, Footprint, MemoryPlan, Pool};
use vla_engines::{LoadOrderProblem, Stage};

fn stage(precision: &str) -> Stage {
    Stage {
        name: "language".into(),
        onnx: "/robot/language.onnx".into(),
        file: "/robot/engines/language.engine".into(),
        repeat: false,
        inputs: Vec::new(),
        outputs: Vec::new(),
        precision: precision.into(),
        profile: vec![("S".into(), [120, 370, 420])],
        allow_unverified: false,
        allow_inaccurate: false,
    }
}

/// A record as a build of before wrote it.
fn record(flags: &str, calibration: &str) -> vla_engines::provenance::Provenance {
    let text = format!(
        r#"{{"format": 1, "device": {{"tensorrt": "10.3.0", "gpu": "Orin", "sm_version": "8.7", "sm_count": 8, "driver": "540.4.0",
        "cuda": "12.6"}}, "onnx": {{"file": "language.onnx", "sha256": "{0}", "files": []}}, "precision": "fp16",
        "flags": {flags}, "calibration": {calibration}, "engine": {{"sha256": "{0}", "bytes": 7}}, "built_at": "2026-03-01T12:00:00Z"}}"#,
        "ab".repeat(32)
    );
    vla_engines::provenance::Provenance::parse(Path::new("record"), text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn rejected(reason: Reason) -> Error {
    Rejection { stage: Box::new(stage("fp16")), record: None, reason }.into()
}

const BUILD: &str = "vla-trt build --onnx /robot/language.onnx --engine /robot/engines/language.engine --precision fp16 \
                     --profile S=120:370:420";

#[test]
fn the_error_of_the_engines_is_found_below_every_error_above_it() {
    let order = || Error::LoadOrder { problem: LoadOrderProblem::Missing("a".into()), stages: vec!["a".into()] };
    let policy = vla_policy::Error::from(order());
    assert!(matches!(find(&policy), Some(Error::LoadOrder { .. })));
    let session = crate::session::Error::from(policy);
    let text = described(&session);
    assert!(text.starts_with(&session.to_string()) && text.contains("engines.load_order"), "{text}");
    let refusal = crate::session::Refusal::from(vla_policy::Error::from(Error::DeviceLost { source: "719".into() }));
    assert_eq!(class(&refusal), ErrorClass::DeviceLost);
    assert_eq!(class(&std::io::Error::other("disk")), ErrorClass::Other);
    assert_eq!(described(&std::io::Error::other("disk")), "disk");
}

#[test]
fn an_engine_built_ahead_of_time_is_built_again_for_its_gpus_or_with_tensorrt() {
    let mut record = record("[]", "null");
    let capabilities = ["sm86", "sm120"].map(|sm| sm.parse().expect("a compute capability"));
    record.portable = Some(vla_engines::provenance::Portable::new(capabilities.to_vec()));
    assert_eq!(command::build(&stage("fp16"), Some(&record)), format!("{BUILD} --for sm86,sm120"));
    let differs = |what: &str, here: &str| {
        let difference = Difference { what: what.into(), built: "RTX 1.7.1".into(), here: here.into() };
        let (stage, record) = (Box::new(stage("fp16")), Some(Box::new(record.clone())));
        rejection(&Rejection { stage, record, reason: Reason::Mismatch(vec![difference]) })
    };
    for (what, here) in [("compute capability", "8.9"), ("TensorRT", "RTX 1.8.0")] {
        assert!(differs(what, here).ends_with("--for sm86,sm120"), "{}", differs(what, here));
    }
    assert!(differs("TensorRT", "11.4.0").ends_with(BUILD), "{}", differs("TensorRT", "11.4.0"));
}

#[test]
fn every_rejection_has_the_command_that_builds_the_engine() {
    let model = Reason::OtherModel { line: "different models of devices".into() };
    for reason in [Reason::NoEngine, Reason::NoRecord, Reason::Mismatch(Vec::new()), Reason::Inaccurate, model] {
        let error = rejected(reason);
        let text = remedy(&error).expect("a remedy");
        assert!(text.starts_with("stage 'language': ") && text.contains(BUILD), "{error:?}: {text}");
        assert_eq!(error.class(), ErrorClass::WrongProvenance);
    }
}

#[test]
fn an_engine_without_a_record_has_three_ways_out() {
    let text = remedy(&rejected(Reason::NoRecord)).expect("a remedy");
    let adopt = "vla-trt adopt /robot/engines/language.engine --onnx /robot/language.onnx";
    for part in [BUILD, adopt, "engines.language.allow_unverified: true"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn an_inaccurate_engine_names_the_precision_the_samples_and_the_switch() {
    let text = remedy(&rejected(Reason::Inaccurate)).expect("a remedy");
    for part in ["stages.language.precision", "more calibration samples", "engines.language.allow_inaccurate: true"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A refusal of engine kind cuda, whose file is a list of operations.
fn refused(reason: Reason) -> String {
    refused_in("fp16", reason)
}

fn refused_in(precision: &str, reason: Reason) -> String {
    let onnx = stage(precision).onnx;
    let stage = Stage { file: vla_engines::operations::path_beside(&onnx), ..stage(precision) };
    let error = Error::from(Rejection { stage: Box::new(stage), record: None, reason });
    assert_eq!(error.class(), ErrorClass::WrongProvenance);
    remedy(&error).expect("a remedy")
}

#[test]
fn a_list_of_operations_is_exported_again_and_never_built() {
    let file = std::path::PathBuf::from("/robot/language.operations.json");
    let missing = Reason::Operations(Box::new(OperationsFault::Missing { file }));
    let none = || Reason::NoKernels { gpu: "Titan".into(), found: "7.0".into(), compiled: Vec::new() };
    let other = Reason::NoKernels { gpu: "Titan".into(), found: "7.0".into(), compiled: vec!["8.7".into()] };
    for (reason, part) in [
        (missing, "vla-trt export"),
        (none(), "nvcc"),
        (other, "engine.kind: tensorrt or onnx"),
        (Reason::Inaccurate, "engines.language.allow_inaccurate: true"),
        (Reason::NotVerified { found: None }, "--engine-kind cuda"),
        (Reason::NotVerified { found: Some("another device".into()) }, "engines.language.allow_unverified: true"),
    ] {
        let text = refused(reason);
        assert!(text.contains(part) && !text.contains("vla-trt build"), "{part} in {text}");
    }
    let eight_bits = refused_in("int8+fp16", Reason::Inaccurate);
    assert!(eight_bits.contains("stages.language.precision") && eight_bits.contains("without int8"), "{eight_bits}");
    let precision = OperationsFault::Precision { onnx: "a".into(), wanted: "fp32".into(), found: "fp16".into() };
    let text = refused(Reason::Operations(Box::new(precision)));
    assert!(text.contains("stages.language.precision: fp16"), "{text}");
    assert!(library(RuntimeLibrary::CublasLt).contains("LD_LIBRARY_PATH"));
}

#[test]
fn the_build_command_repeats_the_settings_of_the_record_and_nothing_else_of_it() {
    let with = record(r#"["FP16", "workspace 512 MiB", "optimisation level 1", "own kernels only"]"#, "null");
    let command = command::build(&stage("fp32"), Some(&with));
    assert!(command.ends_with(" --opt-level 1 --workspace-mib 512 --low-memory-mode"), "{command}");
    let harmful = record(r#"["workspace $(reboot) MiB", "optimisation level ;"]"#, "null");
    assert_eq!(command::build(&stage("fp16"), Some(&harmful)), BUILD);
}

#[test]
fn the_build_command_of_an_int8_engine_has_its_scales() {
    let without = command::build(&stage("int8+fp16"), None);
    assert!(without.ends_with(" --calib-data calib.npz"), "{without}");
    let calibration =
        format!(r#"{{"file": "step.calibration", "sha256": "{}", "data": "/data/my calib.npz"}}"#, "cd".repeat(32));
    let command = command::build(&stage("int8+fp16"), Some(&record("[]", &calibration)));
    let scales = " --calib-data '/data/my calib.npz' --calib-cache /robot/engines/step.calibration";
    assert!(command.ends_with(scales), "{command}");
}

fn plan() -> MemoryPlan {
    let stage = |name: &str, mib: u64| Footprint {
        stage: name.to_owned(),
        weights: Figure::measured(mib << 20),
        transient: Figure::measured(mib << 20),
        ..Footprint::default()
    };
    MemoryPlan::new(vec![stage("small", 100), stage("large", 1000)], true)
}

#[test]
fn a_shortage_names_budget_and_a_better_load_order_with_their_figures() {
    let plan = plan();
    let best = plan.best_order().smallest_budget();
    let found =
        plan.admit(Admission { budget: Some(best), ..Admission::default() }, None).expect_err("the order matters");
    let text = shortage(&found);
    let budget = format!("memory.budget_mib: {} or more", plan.smallest_budget().div_ceil(1 << 20));
    for part in ["engines.load_order: [large, small] needs", "(enough)", &budget, "never swapped", "desktop"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_shortage_of_the_machine_names_the_reserve_and_the_page_cache() {
    let plan = plan();
    let reserve = Admission { reserve: 512 << 20, ..Admission::default() };
    let needed = plan.smallest_budget();
    let pool = |available: u64, device_free| Pool { available, device_free, integrated: true, ..Pool::default() };
    let free = needed + (100 << 20);
    let text = shortage(&plan.admit(reserve, Some(pool(free, Some(free)))).expect_err("the reserve"));
    assert!(text.contains("memory.reserve_mib: 100 or less"), "{text}");
    let cached = pool(needed + (600 << 20), Some(needed));
    let text = shortage(&plan.admit(reserve, Some(cached)).expect_err("the page cache"));
    assert!(text.contains("memory.count_available: true (enough)") && text.contains("drop_caches"), "{text}");
}

#[test]
fn a_failed_run_lists_the_likely_causes_of_an_engine_that_is_tied_to_a_device() {
    let failure = |verified| EnqueueFailure {
        stage: "step".into(),
        iteration: None,
        source: "enqueueV3 failed".into(),
        tensors: Vec::new(),
        log: Vec::new(),
        verified,
    };
    let text = remedy(&Error::DeviceLost { source: failure(Some(false)).into() }).expect("causes");
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words} in {text}"));
    assert!(place("1. a shape") < place("2. an engine of another device (it has no record"));
    assert!(place("2. an") < place("3. INT8"));
    assert_eq!(remedy(&Error::Enqueue(Box::new(failure(None)))), None, "ONNX files have no profile and no scales");
}

#[test]
fn stages_that_do_not_fit_together_are_corrected_in_policy_yaml_or_built_again() {
    use graph::{Problem, Role};
    let (stage, tensor) = ("step".to_owned(), "output".to_owned());
    let missing = Problem::MissingTensor {
        stage: stage.clone(),
        file: "step.onnx".into(),
        role: Role::Output,
        tensor,
        found: vec!["model_output".into()],
    };
    let text = remedy(&Error::Graph { problems: vec![missing] }).expect("a remedy");
    assert!(text.contains("policy.yaml") && text.contains("`rename`") && !text.contains("profile"), "{text}");
    let narrow =
        Problem::NarrowProfile { stage, input: "x".into(), built: "[1]..[4]".into(), required: "[S 1..8]".into() };
    let text = remedy(&Error::Graph { problems: vec![narrow] }).expect("a remedy");
    assert!(text.contains("`profile`") && !text.contains("rename"), "{text}");
}
