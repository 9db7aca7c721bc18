//! Calibration inputs of the demo policy, recorded from the sample bag: what a stage was given is what the stage before it
//! made, step by step, and it reads back as what the stage's network takes.

use vla_trt_tests::demo;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use vla_base::tensor::{Dim, HostTensor, TensorSpec};
use vla_builder::calibration::Calibration;
use vla_engines::onnx::Network;
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, Inference, Pipeline, Stage, StageTime, Symbols};
use vla_policy::PolicySpec;

fn command(policy: &Path, bag: &Path, output: &Path, more: &[&str]) -> Output {
    demo::point_at_onnx_runtime();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.arg("calibrate").arg(bag).arg("--policy").arg(policy).arg("--params").arg(demo::params());
    command.arg("-o").arg(output).args(more).output().expect("starts")
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every sample of a stage, each with its inputs in the network's order.
fn samples(file: &Path, stage: &Stage) -> (Vec<TensorSpec>, Vec<Vec<HostTensor>>) {
    let inputs = Network::open(&stage.onnx).expect("a network").inputs;
    let mut calibration = Calibration::open(file, &inputs, Some(&stage.name)).expect("it fits the network");
    let (mut all, mut sample) = (Vec::new(), Vec::new());
    while calibration.next_sample(&mut sample).expect("a sample") {
        all.push(sample.clone());
    }
    assert_eq!(all.len(), calibration.samples());
    (inputs, all)
}

/// The first output of a stage's network alone on one sample.
fn run(stage: &Stage, inputs: &[TensorSpec], sample: &[HostTensor]) -> HostTensor {
    let mut alone = Stage { repeat: false, ..stage.clone() };
    alone.inputs.iter_mut().for_each(|input| input.constants = None);
    alone.outputs.iter_mut().for_each(|output| output.feeds = None);
    let at = |tensor: &str| inputs.iter().position(|input| input.name == tensor).expect("an input");
    let host: Vec<TensorSpec> = alone
        .inputs
        .iter()
        .map(|input| TensorSpec { name: input.name.clone(), ..inputs[at(&input.tensor)].clone() })
        .collect();
    let mut symbols = Symbols::new();
    for (spec, tensor) in inputs.iter().zip(sample) {
        for (dim, size) in spec.dims.iter().zip(tensor.dims()) {
            if let Dim::Symbol(symbol) = dim {
                symbols.insert(symbol.clone(), *size);
            }
        }
    }
    let device = Onnx::new(1).expect("ONNX Runtime");
    let mut pipeline =
        Pipeline::load(device, &[alone.clone()], None, &host, Admission::default(), &mut |_| {}).expect("loads");
    pipeline.prepare(&symbols, 1).expect("a program");
    for input in &alone.inputs {
        pipeline.write(&input.name, &sample[at(&input.tensor)]).expect("written");
    }
    pipeline.execute(&mut [StageTime::default()]).expect("runs");
    let output = pipeline.tensor(&alone.outputs[0].name).expect("an output").clone();
    let size = |dim: &Dim| match dim {
        Dim::Fixed(n) => *n,
        Dim::Symbol(symbol) => symbols[symbol],
    };
    let dims: Vec<usize> = output.dims.iter().map(size).collect();
    let mut made = HostTensor::zeros(output.dtype, &dims).expect("small");
    pipeline.read(&alone.outputs[0].name, &mut made).expect("read");
    made
}

fn close(a: &HostTensor, b: &HostTensor) -> bool {
    let (a, b) = (a.to_single(), b.to_single());
    let (a, b) = (a.as_f32().expect("float"), b.as_f32().expect("float"));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn every_stage_is_recorded_with_what_the_stage_and_the_step_before_made() {
    for policy in [demo::policy(), demo::policy_in_half_precision(&[])] {
        every_stage_is_recorded(&policy);
    }
}

fn every_stage_is_recorded(policy: &TempDir) {
    let out = tempfile::tempdir().expect("scratch");
    let file = out.path().join("calib.npz");
    let output = command(policy.path(), &demo::bag(), &file, &["--observations", "2"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("2 observations of"), "{}", words(&output));
    assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 1, "nothing but the file is left");

    let spec = PolicySpec::load(policy.path()).expect("the policy");
    let stage = |name: &str| spec.stages.iter().find(|stage| stage.name == name).expect("a stage");
    let (pixels, vision) = samples(&file, stage("vision"));
    let (language_inputs, language) = samples(&file, stage("language"));
    assert_eq!((vision.len(), language.len()), (2, 2));
    assert!(!close(&vision[0][0], &vision[1][0]), "two observations are two");
    let rows = language_inputs.iter().position(|input| input.name == "image_rows").expect("what vision makes");
    for at in 0..2 {
        assert!(close(&run(stage("vision"), &pixels, &vision[at]), &language[at][rows]), "observation {at}");
    }

    let (inputs, steps) = samples(&file, stage("step"));
    assert_eq!(steps.len(), 2 * spec.denoise.default as usize, "a sample a denoising step");
    let actions = inputs.iter().position(|input| input.name == "actions").expect("the loop");
    for at in [0, 1] {
        let made = run(stage("step"), &inputs, &steps[at]);
        assert!(close(&made, &steps[at + 1][actions]), "step {at} leaves what step {} is given", at + 1);
    }
}

#[test]
fn what_cannot_be_recorded_is_told_before_anything_is_written() {
    let policy = demo::policy();
    let out = tempfile::tempdir().expect("scratch");
    let file = out.path().join("calib.npz");
    for (bag, file, more, told) in [
        (demo::bag(), file.clone(), &["--stages", "visoin"][..], "there is no stage 'visoin'; the policy's stages are"),
        (demo::bag(), out.path().join("no/calib.npz"), &[], "does not exist"),
        (out.path().join("no_bag"), file.clone(), &[], "no_bag"),
        (demo::bag(), file.clone(), &["-p", "inputs.joints.topic:=/nobody"], "no topic /nobody"),
    ] {
        let output = command(policy.path(), &bag, &file, more);
        assert_eq!(output.status.code(), Some(1), "{}", words(&output));
        assert!(words(&output).contains(told), "expected {told:?} in {}", words(&output));
    }
    assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 0);
}
