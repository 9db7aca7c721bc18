//! `vla-trt build --for` at the process boundary.

use std::fs;
use std::process::{Command, Output};

use vla_engines::provenance::Provenance;

use super::*;

/// The tool, whose loader finds `library`.
fn tool(library: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.env("LD_LIBRARY_PATH", library).args(arguments).output().expect("the tool starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn copied(policy: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(vla_trt_tests::root().join(policy)).expect("the policy") {
        let file = entry.expect("a file").path();
        if file.is_file() {
            fs::copy(&file, dir.path().join(file.file_name().expect("a name"))).expect("copied");
        }
    }
    dir
}

fn path(dir: &Path) -> &str {
    dir.to_str().expect("a path in UTF-8")
}

#[test]
fn a_policy_is_built_for_other_machines_and_its_records_say_so() {
    let Some(rtx) = Rtx::open() else { return };
    let policy = copied("data/reach_policy");
    let build = |capabilities: &str| {
        tool(&rtx.folder, &["build", path(policy.path()), "--stages", "context,step", "--for", capabilities])
    };
    let first = build("sm120,8.6,sm89");
    assert!(first.status.success(), "{}", text(&first));
    let engine = policy.path().join("engines/step.engine");
    let record = Provenance::read(&engine).expect("readable").expect("a record");
    let portable = record.portable.clone().expect("built ahead of time");
    assert_eq!(portable.names(), "8.6, 8.9, 12.0");
    assert_eq!(portable.system, format!("linux {}", std::env::consts::ARCH));
    assert_eq!(record.device.tensorrt, rtx.library.record_name());
    assert_eq!(record.engine.bytes, fs::metadata(&engine).expect("the engine").len());
    assert!(record.profiles.contains_key("k0"), "{:?}", record.profiles);

    // Built once for all of its GPUs; for others it is built again.
    let modified = || fs::metadata(&engine).and_then(|meta| meta.modified()).expect("a time");
    let before = modified();
    for covered in ["sm86,sm89,sm120", "sm89", "12.0,sm86"] {
        let again = build(covered);
        assert!(again.status.success() && text(&again).contains("matches"), "{}", text(&again));
        assert_eq!(modified(), before, "{covered}");
    }
    assert!(build("sm80").status.success());
    assert_ne!(modified(), before);

    let inspected = text(&tool(&rtx.folder, &["inspect", path(&engine)]));
    for words in ["every GPU of compute capability 8.0 on linux", "TensorRT-RTX", "'vtrt'"] {
        assert!(inspected.contains(words), "{words}: {inspected}");
    }
}

#[test]
fn what_cannot_be_built_ahead_of_time_ends_before_the_build() {
    let Some(rtx) = Rtx::open() else { return };
    let policy = copied("data/reach_policy");
    let folder = path(policy.path());
    let onnx = policy.path().join("context.onnx");
    let engine = policy.path().join("context.engine");
    let single = |precision: &str, capabilities: &str| {
        let files = ["build", "--onnx", path(&onnx), "--engine", path(&engine), "--max-seq-len", "64"];
        tool(&rtx.folder, &[&files[..], &["--precision", precision, "--for", capabilities]].concat())
    };
    for (output, words) in [
        (tool(&rtx.folder, &["build", folder, "--for", "sm87"]), "Jetson Orin"),
        (tool(&rtx.folder, &["build", folder, "--for", "sm86,9.0"]), "Hopper"),
        (tool(&rtx.folder, &["build", folder, "--for", "sm42"]), "it builds for sm75"),
        (tool(&rtx.folder, &["build", folder, "--for", "sm86", "--calib-data", "x.npz"]), "cannot be used with"),
        (tool(&rtx.folder, &["build", folder, "--for", "sm75"]), "no FP32 products"),
        (single("int8+fp16", "sm86"), "no DequantizeLinear node"),
        (single("fp16", "sm86"), "no FP16 weight"),
        (tool(policy.path(), &["build", folder, "--for", "sm86"]), "pip install tensorrt-rtx-cu12-libs"),
    ] {
        assert!(!output.status.success() && text(&output).contains(words), "{words}: {}", text(&output));
    }
    assert!(!engine.exists() && !policy.path().join("engines").exists());
    assert!(single("fp32", "sm86").status.success());
}
