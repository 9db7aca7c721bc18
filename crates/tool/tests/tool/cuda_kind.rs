//! Engine kind cuda without a GPU: plans, findings, and what is refused by name.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use vla_base::tensor::Dim;
use vla_engines::frames::FrameSlots;
use vla_engines::{EngineKind, operations};
use vla_policy::PolicySpec;
use vla_trt::doctor::{Report, Robot, Severity, examine};
use vla_trt_tests::demo;

use crate::plan_command::{code, plan, stdout};

const STAGES: [&str; 4] = ["vision", "language", "context", "step"];

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn list(policy: &Path, stage: &str) -> std::path::PathBuf {
    operations::path_beside(&policy.join(format!("{stage}.onnx")))
}

fn run(command: &str, policy: &Path, out: &Path) -> Output {
    demo::point_at_onnx_runtime();
    let mut tool = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    tool.arg(command).arg(demo::bag()).arg("--policy").arg(policy).arg("--params").arg(demo::params());
    tool.args(["-p", "engine.kind:=cuda"]);
    if command == "replay" {
        tool.arg("-o").arg(out.join("chunks.mcap"));
    }
    tool.output().expect("the tool starts")
}

/// Cuts a list in half.
fn damage(file: &Path) {
    let text = fs::read(file).expect("a list");
    fs::write(file, &text[..text.len() / 2]).expect("written");
}

#[test]
fn lists_are_planned_with_the_weights_that_they_name_and_mixes_are_refused() {
    let policy = demo::policy();
    let output = plan(policy.path(), &["--engine-kind", "cuda"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("4 stages on CUDA"), "{text}");
    let output = plan(policy.path(), &["--engine-kind", "cuda", "--mix", "fp16"]);
    assert!(code(&output) == 1 && stderr(&output).contains("--mix"), "{}", stderr(&output));
    let spec = PolicySpec::load(policy.path()).expect("a policy");
    let [plan, on_cpu] = [EngineKind::Cuda, EngineKind::Onnx].map(|kind| {
        let stages: Vec<_> = spec.stages.iter().map(|stage| spec.stage_for(stage, kind)).collect();
        vla_engines::pipeline::plan(kind, &stages, None, true, None).expect("planned")
    });
    for stage in &plan.stages {
        let read = operations::Program::read(&list(policy.path(), &stage.stage)).expect("a list");
        let bytes = read.weights.iter().map(|weight| weight.dims.iter().product::<usize>() * weight.dtype.size());
        assert_eq!(stage.weights.bytes, bytes.sum::<usize>() as u64, "{}", stage.stage);
        assert_eq!(stage.host_copy.bytes, 0);
        // Pixels are made of frames on the device.
        let pixels = read.inputs.iter().find_map(|input| match read.values[*input].dims[..] {
            [Dim::Fixed(images), Dim::Fixed(3), Dim::Fixed(height), Dim::Fixed(width)] => {
                Some((images, [width, height]))
            }
            _ => None,
        });
        assert_eq!(pixels.is_some(), stage.stage == "vision");
        let frames = pixels.map_or(0, |(images, size)| 4 * FrameSlots::words_beside(images, size));
        let io = on_cpu.stages.iter().find(|other| other.stage == stage.stage).expect("the same stages").io;
        assert_eq!(stage.io.bytes, io.bytes + frames as u64, "{}", stage.stage);
    }
}

#[test]
fn lists_that_are_missing_damaged_or_of_another_network_are_named_with_what_to_do() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    for stage in ["vision", "step"] {
        fs::remove_file(list(policy.path(), stage)).expect("a list");
    }
    let output = plan(policy.path(), &["--engine-kind", "cuda"]);
    assert!(code(&output) == 1 && stderr(&output).contains("vision.operations.json"), "{}", stderr(&output));
    let output = run("replay", policy.path(), out.path());
    assert_eq!(code(&output), 1);
    if cfg!(feature = "cuda") {
        for words in ["stage 'vision'", "stage 'step'", "step.operations.json", "vla-trt export"] {
            assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
        }
    } else {
        assert!(stderr(&output).contains("--features cuda"), "{}", stderr(&output));
    }
    let policy = demo::policy();
    damage(&list(policy.path(), "language"));
    fs::copy(list(policy.path(), "vision"), list(policy.path(), "context")).expect("copied");
    for (stage, words) in [("language", "language.operations.json"), ("context", "another network")] {
        let text = format!("{:?}", doctor(policy.path()).findings);
        let finding = text.split("Finding").find(|it| it.contains(words) && it.contains("operations")).unwrap_or(&text);
        assert!(finding.contains(words), "{stage}: {finding}");
    }
}

/// The findings of a PC without a GPU about this policy, for a robot whose engine kind is cuda.
fn doctor(policy: &Path) -> Report {
    let (root, machine) = crate::doctor::machines::pc();
    let params = root.path().join("robot.yaml");
    let text = fs::read_to_string(demo::params()).expect("parameters");
    assert!(text.contains("engine.kind: onnx"));
    fs::write(&params, text.replace("engine.kind: onnx", "engine.kind: cuda")).expect("written");
    examine(&machine, Some(policy), Some(&Robot { params, bag: None }))
}

#[test]
fn doctor_looks_at_every_list_and_at_what_the_kind_needs() {
    let policy = demo::policy();
    let of = |report: &Report, check: &str, stage: Option<&str>| {
        let mut fits = report.findings.iter().filter(|it| it.check == check && it.subject.as_deref() == stage);
        fits.next_back().map(|finding| finding.severity)
    };
    let report = doctor(policy.path());
    for stage in STAGES {
        assert_eq!(of(&report, "operations", Some(stage)), Some(Severity::Ok), "{stage} in {report:#?}");
    }
    assert_eq!(of(&report, "engine.kind", None), Some(Severity::Error), "no cuBLASLt: {report:#?}");
    fs::remove_file(list(policy.path(), "step")).expect("a list");
    damage(&list(policy.path(), "vision"));
    let report = doctor(policy.path());
    for (stage, severity) in [("step", Severity::Error), ("vision", Severity::Error), ("language", Severity::Ok)] {
        assert_eq!(of(&report, "operations", Some(stage)), Some(severity), "{stage} in {report:#?}");
    }
    let without = examine(&crate::doctor::machines::pc().1, Some(policy.path()), None);
    assert_eq!(of(&without, "operations", Some("step")), None, "a policy for other kinds needs no list");
}

#[test]
fn a_program_without_the_kind_or_a_machine_without_a_driver_is_named() {
    let (policy, out) = (demo::policy(), tempfile::tempdir().expect("a folder"));
    #[cfg(feature = "cuda")]
    if vla_cuda::driver::Cuda::open().is_ok() {
        eprintln!("SKIPPED: this machine has a GPU");
        return;
    }
    for command in ["replay", "bench"] {
        let output = run(command, policy.path(), out.path());
        assert_eq!(code(&output), 1, "{}", stdout(&output));
        let words = if cfg!(feature = "cuda") {
            ["cannot use CUDA", "install the NVIDIA driver"]
        } else {
            ["engine.kind: cuda", "--features cuda"]
        };
        for words in words {
            assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
        }
    }
}

#[test]
fn inspect_describes_a_list_and_exits_3_where_it_is_of_another_network() {
    let policy = demo::policy();
    let inspect = |stage: &str| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        tool.arg("inspect").arg(list(policy.path(), stage)).output().expect("the tool starts")
    };
    let output = inspect("step");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for words in ["step.operations.json", "actions f32 [50, 128]", " euler", " attention", "0 of them in 8 bits"] {
        assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output));
    }
    fs::copy(list(policy.path(), "vision"), list(policy.path(), "step")).expect("copied");
    let output = inspect("step");
    assert!(code(&output) == 3 && stdout(&output).contains("SHA-256"), "{}", stdout(&output));
    damage(&list(policy.path(), "step"));
    let output = inspect("step");
    assert!(code(&output) == 1 && stderr(&output).contains("step.operations.json"), "{}", stderr(&output));
}

#[test]
fn a_stage_with_int8_is_planned_in_8_bits_and_doctor_says_so() {
    let policy = tempfile::tempdir().expect("a folder");
    let family = &vla_export::family::N1D6;
    vla_export::demo::bundle::write_in(family, vla_base::tensor::DType::F16, policy.path(), 7)
        .expect("the demo policy");
    let weights = || {
        let spec = PolicySpec::load(policy.path()).expect("a policy");
        let stages: Vec<_> =
            spec.stages.iter().map(|stage| spec.stage_for(stage, vla_engines::EngineKind::Cuda)).collect();
        let plan =
            vla_engines::pipeline::plan(vla_engines::EngineKind::Cuda, &stages, None, true, None).expect("planned");
        plan.stages.iter().map(|stage| (stage.stage.clone(), stage.weights.bytes)).collect::<Vec<_>>()
    };
    let before = weights();
    let file = policy.path().join("policy.yaml");
    let text = fs::read_to_string(&file).expect("policy.yaml");
    assert!(text.contains("precision: fp16"), "{text}");
    fs::write(&file, text.replace("precision: fp16", "precision: int8+fp16")).expect("written");
    for ((stage, before), (_, after)) in before.into_iter().zip(weights()) {
        assert!(if stage == "context" { after == before } else { after < before }, "{stage}: {before}, {after}");
    }
    let report = format!("{:?}", doctor(policy.path()).findings);
    assert!(report.contains("14 weights in 8 bits") && report.contains("none with weights for int8"), "{report}");
}
