use std::fs;

use prost::Message as _;
use tempfile::TempDir;

use super::*;
use vla_engines::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

const ONNX: &str = "aa";
const CACHE: &str = "TRT-8600-EntropyCalibration2\nx: 3c010a14\n(Unnamed Layer* 1) [Constant]_output: 3b0\na:b: 3c01\n";

fn network(operators: &[&str]) -> Network {
    let node = |operator: &&str| NodeProto {
        op_type: Some((*operator).into()),
        input: vec!["x".into()],
        output: vec!["a:b".into()],
        ..NodeProto::default()
    };
    let graph = GraphProto { node: operators.iter().map(node).collect(), ..GraphProto::default() };
    let graph = GraphProto { input: vec![tensor("x")], ..graph };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    Network::decode("net.onnx".as_ref(), model.encode_to_vec().into()).expect("a network")
}

/// Single precision, no dimensions.
fn tensor(name: &str) -> ValueInfoProto {
    use vla_engines::onnx::proto::{TensorShapeProto, TensorTypeProto, TypeProto};
    let tensor = TensorTypeProto { elem_type: Some(1), shape: Some(TensorShapeProto::default()) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

/// Scales in a folder, with recorded inputs whose content is `data`.
fn scales(data: Option<&str>) -> (TempDir, Scales) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = data.map(|content| {
        let file = dir.path().join("calib.npz");
        fs::write(&file, content).expect("written");
        file
    });
    let scales = Scales { data: file, cache: dir.path().join("c/net.calibration") };
    (dir, scales)
}

fn decide(scales: &Scales, onnx: &str, tensorrt: &str) -> Result<Decision, String> {
    scales.decide(&network(&["Relu"]), onnx, tensorrt)
}

fn stale(scales: &Scales, onnx: &str, tensorrt: &str) -> String {
    match decide(scales, onnx, tensorrt) {
        Ok(Decision::Calibrate { stale: Some(stale) }) => stale,
        other => panic!("expected a stale cache, found {other:?}"),
    }
}

#[test]
fn a_stored_cache_is_used_for_the_same_network_version_and_data() {
    let (_dir, scales) = scales(Some("recorded"));
    assert_eq!(decide(&scales, ONNX, "8.6.0"), Ok(Decision::Calibrate { stale: None }));
    scales.store(CACHE.as_bytes(), ONNX, "8.6.0").expect("stored");
    let used = Ok(Decision::Use(CACHE.as_bytes().to_vec()));
    assert_eq!(decide(&scales, ONNX, "8.6.0"), used);
    let without_data = Scales { data: None, ..scales };
    assert_eq!(decide(&without_data, ONNX, "8.6.0"), used, "the data need not be there any more");
}

#[test]
fn a_cache_of_another_network_version_or_data_is_made_anew_with_the_reason() {
    let (dir, scales) = scales(Some("recorded"));
    scales.store(CACHE.as_bytes(), ONNX, "8.6.0").expect("stored");
    assert!(stale(&scales, "bb", "8.6.0").contains("of another network"));
    assert_eq!(stale(&scales, ONNX, "10.3.0"), "TensorRT 8.6.0 made it, here is 10.3.0");
    fs::write(dir.path().join("calib.npz"), "other").expect("written");
    assert_eq!(stale(&scales, ONNX, "8.6.0"), "it is of other recorded inputs");
    fs::write(&scales.cache, CACHE.replace("3c01\n", "3c02\n")).expect("written");
    assert_eq!(stale(&scales, ONNX, "8.6.0"), "it was changed since it was written");
    fs::write(&scales.cache, "garbage").expect("written");
    assert_eq!(stale(&scales, ONNX, "8.6.0"), "it is no calibration cache of TensorRT");
    fs::write(&scales.cache, CACHE).expect("written");
    fs::write(CacheKey::path(&scales.cache), "{").expect("written");
    assert!(stale(&scales, ONNX, "8.6.0").contains("its key is damaged"));
}

#[test]
fn without_recorded_inputs_a_cache_that_does_not_fit_is_refused() {
    let (_dir, scales) = scales(None);
    let told = decide(&scales, ONNX, "8.6.0").expect_err("nothing is there");
    assert!(told.contains("there is no such file") && told.contains("--calib-data"), "{told}");
    scales.store(CACHE.as_bytes(), "bb", "8.6.0").expect("stored");
    let told = decide(&scales, ONNX, "8.6.0").expect_err("another network");
    assert!(told.contains("net.calibration") && told.contains("of another network"), "{told}");
}

#[test]
fn a_cache_that_another_tool_wrote_is_taken_when_its_tensors_are_the_networks() {
    let (_dir, scales) = scales(None);
    fs::create_dir_all(scales.cache.parent().expect("a folder")).expect("made");
    fs::write(&scales.cache, CACHE).expect("written");
    assert!(matches!(decide(&scales, ONNX, "8.6.0"), Ok(Decision::Use(_))));
    fs::write(&scales.cache, format!("{CACHE}elsewhere: 3c01\n")).expect("written");
    let told = decide(&scales, ONNX, "8.6.0").expect_err("another network");
    assert!(told.contains("this one has no tensor 'elsewhere'"), "{told}");
}

#[test]
fn versions_are_read_from_a_caches_first_line() {
    for (line, version) in [
        ("TRT-8600-EntropyCalibration2", Some("8.6.0")),
        ("TRT-8601-EntropyCalibration2", Some("8.6.1")),
        ("TRT-100300-EntropyCalibration2", Some("10.3.0")),
        ("TRT-101303-EntropyCalibration2", Some("10.13.3")),
        ("TRT-x-EntropyCalibration2", None),
        ("", None),
    ] {
        assert_eq!(version_of(line).as_deref(), version, "{line}");
    }
}

#[test]
fn int8_without_scales_and_scales_without_int8_are_problems() {
    let (_dir, scales) = scales(None);
    let int8 = vla_engines::Precision::INT8_FP16;
    let with = |precision, scales: Option<&Scales>| Request {
        onnx: "net.onnx".into(),
        precision,
        scales: scales.cloned(),
        ..Request::default()
    };
    let problems = |request: &Request, operators: &[&str]| Scales::problems(request, &network(operators)).join("\n");
    let plain: &[&str] = &["Relu"];
    let quantized: &[&str] = &["QuantizeLinear"];
    assert!(
        problems(&with(int8, None), plain)
            .contains("int8 needs scales: give --calib-data FILE.npz with its inputs (x;")
    );
    assert!(problems(&with(int8, Some(&scales)), plain).contains("net.calibration: there is no such file"));
    assert_eq!(problems(&with(int8, None), quantized), "");
    assert!(problems(&with(int8, Some(&scales)), quantized).contains("whose scales are used"));
    assert!(problems(&with(vla_engines::Precision::FP16, Some(&scales)), plain).contains("the precision is fp16"));
    assert_eq!(problems(&with(vla_engines::Precision::FP16, None), plain), "");
}
