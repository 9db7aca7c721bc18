//! `vla-trt inspect` at the process boundary: networks and engines as they lie on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vla_engines::provenance::{BuildSettings, DeviceIdentity, EngineIdentity, Memory, OnnxIdentity, Provenance, hash};

use vla_engines::onnx::Network;
use vla_trt_tests::demo;
use vla_trt_tests::quantized::{Form, quantize};

fn inspect(path: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vla-trt")).arg("inspect").arg(path).args(more).output().expect("started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn has(text: &str, all: &[&str]) {
    for words in all {
        assert!(text.contains(words), "'{words}' in\n{text}");
    }
}

/// An engine of `network` with the record that building it on this machine's files would write.
fn engine(dir: &Path, network: &Path) -> std::path::PathBuf {
    let engine = dir.join("step.engine");
    fs::write(&engine, b"ftrt and the rest").expect("written");
    let text = |text: &str| text.to_owned();
    let root = Path::new("/");
    let device = DeviceIdentity {
        tensorrt: text("10.3.0"),
        gpu: text("Orin"),
        sm_version: text("8.7"),
        sm_count: 8,
        driver: text("540.4.0"),
        cuda: text("12.6"),
        l4t: vla_engines::provenance::l4t(root),
        board: vla_engines::provenance::board(root),
    };
    let record = Provenance {
        format: vla_engines::provenance::FORMAT,
        device,
        portable: None,
        emulated: false,
        adopted: false,
        onnx: OnnxIdentity::of(network).expect("hashed"),
        precision: text("fp16"),
        profiles: BTreeMap::new(),
        flags: BuildSettings { optimization_level: Some(3), ..BuildSettings::default() },
        calibration: None,
        engine: EngineIdentity { sha256: hash::file_sha256(&engine).expect("hashed"), bytes: 17 },
        built_at: text("2026-01-02T03:04:05Z"),
        build_s: 12.5,
        memory: Memory { activation_bytes: Some(3 << 20), ..Memory::default() },
        verification: None,
    };
    record.write(&engine).expect("written");
    engine
}

#[test]
fn a_network_is_told_with_inputs_weights_nodes_and_cost() {
    let policy = demo::policy();
    let step = policy.path().join("step.onnx");
    let (code, text, error) = inspect(&step, &[]);
    assert_eq!(code, Some(0), "{error}");
    has(&text, &["producer      vla_trt", "opsets        ai.onnx", "MatMul", "f32:", "GFLOP", "no Q/DQ nodes"]);
    let (code, json, _) = inspect(&step, &["--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, json["kind"].as_str()), (Some(0), Some("network")));
    let inputs: Vec<_> = json["inputs"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(inputs.iter().any(|input| input.starts_with("actions: f32 [")), "{inputs:?}");
    assert!(json["flops"].as_u64().expect("a number") > 0);
}

#[test]
fn the_cost_follows_the_dimensions_that_are_given() {
    let policy = demo::policy();
    let language = policy.path().join("language.onnx");
    let json = |more: &[&str]| serde_json::from_str::<Value>(&inspect(&language, more).1).expect("JSON");
    let symbol = json(&["--json"])["symbols"][0].as_str().expect("a symbol").to_owned();
    let flops = |json: Value| json["flops"].as_u64().expect("a number");
    let (one, many) = (flops(json(&["--json"])), flops(json(&["--json", "--dim", &format!("{symbol}=64")])));
    assert!(many > one, "{one} {many}");
    assert_eq!(inspect(&language, &["--dim", "T"]).0, Some(2));
}

#[test]
fn weights_that_are_missing_or_cut_are_named_with_exit_code_3() {
    use prost::Message as _;
    use vla_engines::onnx::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
    let dir = tempfile::tempdir().expect("a folder");
    let location = StringStringEntryProto { key: Some("location".into()), value: Some("big.data".into()) };
    let weight = TensorProto {
        dims: vec![4, 2],
        data_type: Some(10),
        name: Some("w".into()),
        external_data: vec![location],
        data_location: Some(1),
        ..TensorProto::default()
    };
    let graph = GraphProto { initializer: vec![weight], ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    let path = dir.path().join("net.onnx");
    fs::write(&path, model.encode_to_vec()).expect("written");
    let (code, text, _) = inspect(&path, &[]);
    assert_eq!(code, Some(3));
    has(
        &text,
        &[
            "big.data: expected 16 bytes of weights, found no file",
            "f16: 8 elements, 16 bytes",
            "producer      unknown",
        ],
    );
    fs::write(dir.path().join("big.data"), [0; 15]).expect("written");
    let (code, json, _) = inspect(&path, &["--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let data = &json["data_files"][0];
    assert_eq!((code, data["bytes"].as_u64(), data["needed"].as_u64()), (Some(3), Some(15), Some(16)), "{json}");
    has(data["problem"].as_str().expect("a problem"), &["expected 16 bytes", "found 15", "cut"]);
    fs::write(dir.path().join("big.data"), [0; 16]).expect("written");
    let (code, text, _) = inspect(&path, &[]);
    assert_eq!(code, Some(0));
    has(&text, &["big.data, 16 bytes"]);
}

#[test]
fn a_truncated_network_and_other_files_are_told_with_their_first_bytes() {
    let policy = demo::policy();
    let bytes = fs::read(policy.path().join("step.onnx")).expect("read");
    let cut = policy.path().join("cut.onnx");
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
    let (code, _, error) = inspect(&cut, &[]);
    assert_eq!(code, Some(1));
    has(&error, &["cut.onnx", "not an ONNX model", "export the network again"]);
    let other = policy.path().join("other.bin");
    for (content, words) in [
        (&b"PK\x03\x04rest"[..], "zip"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xff\xfe\x00\x01", "ff fe 00 01"),
        (b"", "it is empty"),
    ] {
        fs::write(&other, content).expect("written");
        let (code, _, error) = inspect(&other, &[]);
        assert_eq!(code, Some(1), "{words}: {error}");
        has(&error, &["neither a network nor an engine", words]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _, error) = inspect(folder.path(), &[]);
    assert_eq!(code, Some(1));
    has(&error, &["neither a file nor the folder of a policy"]);
}

#[test]
fn an_engine_is_told_by_its_record_and_differs_once_its_network_does() {
    let policy = demo::policy();
    let network = policy.path().join("step.onnx");
    let engine = engine(policy.path(), &network);
    let (code, text, error) = inspect(&engine, &["--no-load"]);
    if code == Some(3) {
        // Only a machine with a GPU and TensorRT compares them.
        has(&text, &["differs: GPU: engine: Orin"]);
        eprintln!("skipped in part: this machine has a GPU and TensorRT");
        return;
    }
    assert_eq!(code, Some(0), "{text}{error}");
    has(
        &text,
        &[
            "17 bytes",
            "built         2026-01-02T03:04:05Z in 12.5 s",
            "Orin, SM 8.7, 8 SMs",
            "TensorRT 10.3.0",
            "precision     fp16",
            "optimisation level 3",
            "activation 3.0 MiB",
            "its files match",
            "not loaded",
        ],
    );
    fs::write(&network, b"another").expect("written");
    let (code, json, _) = inspect(&engine, &["--json", "--no-load"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, json["verdict"]["is"].as_str()), (Some(3), Some("differs")), "{json}");
    has(&json["verdict"].to_string(), &["ONNX"]);
}

#[test]
fn a_damaged_record_is_told_and_the_file_all_the_same() {
    let policy = demo::policy();
    let engine = engine(policy.path(), &policy.path().join("step.onnx"));
    fs::write(Provenance::path(&engine), "{ half").expect("written");
    let (code, text, error) = inspect(&engine, &["--no-load"]);
    assert_eq!(code, Some(0), "{error}");
    has(&text, &["not a provenance record", "sha256", "nothing says where it was built"]);
    fs::remove_file(Provenance::path(&engine)).expect("removed");
    has(&inspect(&engine, &["--no-load"]).1, &["step.engine.provenance.json is missing"]);
}

#[test]
fn of_a_quantised_network_the_share_of_8_bit_weights_and_the_other_products_are_told() {
    let policy = demo::policy();
    let step = policy.path().join("step.onnx");
    let (_, text, _) = inspect(&step, &[]);
    has(&text, &["products", "0.0 % of them 8-bit, 0.0 % 4-bit, 100.0 % floating"]);
    let all = Network::open(&step).expect("a network").products().len();
    let left = "step/block.0/";
    let quantized = quantize(&step, Form::Integers, |node| !node.contains(left));
    assert!(quantized > 0 && quantized < all, "{quantized} of {all}");
    let (code, json, _) = inspect(&step, &["--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let (products, share) = (&json["products"], json["products"]["int8_share"].as_f64().expect("a number"));
    assert_eq!(
        (code, json["quantized"].as_bool(), products["products"].as_u64()),
        (Some(0), Some(true), Some(all as u64))
    );
    let floating = products["floating"].as_array().expect("a list");
    assert_eq!(floating.len(), all - quantized);
    assert!(
        floating.iter().all(|product| product["node"].as_str().is_some_and(|node| node.contains(left))),
        "{floating:?}"
    );
    let elements = |key: &str| products["weights"][key].as_u64().expect("a number");
    assert!((share - elements("int8") as f64 / (elements("int8") + elements("single")) as f64).abs() < 1e-12);
    has(&inspect(&step, &[]).1, &["floating      ", left]);
}

#[test]
fn a_policys_folder_is_told_stage_by_stage() {
    let policy = demo::policy();
    quantize(&policy.path().join("language.onnx"), Form::Floating, |_| true);
    let (code, text, error) = inspect(policy.path(), &[]);
    assert_eq!(code, Some(0), "{error}");
    let line =
        |stage: &str| text.lines().find(|line| line.starts_with(stage)).unwrap_or_else(|| panic!("{stage} in {text}"));
    assert!(line("language").contains("100.0 % of them 8-bit"), "{text}");
    assert!(line("step").contains("0.0 % of them 8-bit"), "{text}");
    assert!(line("action").contains("left_arm 6") && line("action").contains("rows of 0.0"), "{text}");
    assert!(line("cameras").contains("left_wrist") && line("weights").contains("random"), "{text}");
    let json: Value = serde_json::from_str(&inspect(policy.path(), &["--json"]).1).expect("JSON");
    assert_eq!(json["default_steps"], 4, "{json}");
    let share = json["all"]["int8_share"].as_f64().expect("a number");
    assert!(json["kind"] == "policy" && share > 0.0 && share < 1.0, "{json}");
}
