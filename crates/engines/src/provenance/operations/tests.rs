use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::memory::Footprint;
use crate::onnx::proto::{
    DimensionProto, GraphProto, ModelProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use crate::operations::{FORMAT, LinearPart, Operand, Source, Value, path_beside};
use crate::provenance::{BuildSettings, DeviceIdentity, ProvenanceStatus, Verification};
use vla_base::tensor::Dim;

/// A stage of one product, its weights in a file beside the network, with its list of operations.
struct Bundle {
    dir: TempDir,
    stage: Stage,
    program: Program,
}

fn tensor(name: &str, data_type: i32, dims: &[i64]) -> TensorProto {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        data_location: Some(1),
        external_data: vec![entry("location", "step.onnx.data")],
        ..TensorProto::default()
    }
}

fn write_network(dir: &TempDir, weight: TensorProto) {
    let edge = |name: &str, width: i64| {
        let dim = |n| DimensionProto { dim_value: Some(n), dim_param: None };
        let shape = Some(TensorShapeProto { dim: vec![dim(1), dim(width)] });
        let tensor_type = Some(TensorTypeProto { elem_type: Some(10), shape });
        ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type }) }
    };
    let (input, output) = (vec![edge("x", 8)], vec![edge("y", 4)]);
    let graph = GraphProto { initializer: vec![weight], input, output, ..GraphProto::default() };
    let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
    std::fs::write(dir.path().join("step.onnx"), model.encode_to_vec()).expect("written");
}

fn bundle() -> Bundle {
    let dir = tempfile::tempdir().expect("a folder");
    let onnx = dir.path().join("step.onnx");
    std::fs::write(dir.path().join("step.onnx.data"), [0; 64]).expect("written");
    write_network(&dir, tensor("w", 10, &[4, 8]));
    let value = |name: &str, dims: [usize; 2]| Value {
        name: name.into(),
        dtype: DType::F16,
        dims: dims.map(Dim::Fixed).to_vec(),
    };
    let x = Operand { source: Source::Value(0), rows: Dim::Fixed(1), row: 0, columns: 8, column: 0 };
    let product = Operation::Linear {
        x,
        parts: vec![LinearPart { weight: 0, bias: None }],
        transposed: true,
        activation: None,
        residual: None,
        out: 1,
    };
    let program = Program {
        format: FORMAT,
        network: hash::file_sha256(&onnx).expect("hashed"),
        values: vec![value("x", [1, 8]), value("y", [1, 4])],
        inputs: vec![0],
        outputs: vec![1],
        weights: vec![crate::operations::Weight { name: "w".into(), dtype: DType::F16, dims: vec![4, 8] }],
        operations: vec![product],
    };
    let stage = Stage {
        name: "step".into(),
        file: path_beside(&onnx),
        onnx,
        repeat: true,
        inputs: Vec::new(),
        outputs: Vec::new(),
        precision: "fp16".into(),
        profile: Vec::new(),
        allow_unverified: false,
        allow_inaccurate: false,
    };
    let bundle = Bundle { dir, stage, program };
    bundle.write();
    bundle
}

impl Bundle {
    fn write(&self) {
        let text = serde_json::to_vec(&self.program).expect("JSON");
        std::fs::write(&self.stage.file, text).expect("written");
    }

    fn fault(&self) -> OperationsFault {
        match operations(&self.stage).expect_err("a fault") {
            Error::Provenance { mut rejections } => match rejections.remove(0).reason {
                Reason::Operations(fault) => *fault,
                other => panic!("{other:?}"),
            },
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_list_of_its_network_is_read() {
    let bundle = bundle();
    let (program, network) = operations(&bundle.stage).expect("usable");
    assert_eq!((program, network.weights.len()), (bundle.program, 1));
}

#[test]
fn a_list_that_is_missing_damaged_or_of_another_network_is_refused_by_name() {
    let mut bundle = bundle();
    let text = std::fs::read(&bundle.stage.file).expect("read");
    std::fs::write(&bundle.stage.file, &text[..text.len() / 2]).expect("cut");
    assert!(matches!(bundle.fault(), OperationsFault::Unusable(ProgramError::Invalid { .. })));
    std::fs::remove_file(&bundle.stage.file).expect("removed");
    assert!(matches!(bundle.fault(), OperationsFault::Missing { file } if file == bundle.stage.file));
    bundle.write();
    for (weight, what) in [
        (tensor("w", 1, &[4, 8]), "f32 [4, 8]"),
        (tensor("w", 10, &[8, 4]), "f16 [8, 4]"),
        (tensor("v", 10, &[4, 8]), "none"),
    ] {
        write_network(&bundle.dir, weight);
        let fault = bundle.fault();
        assert!(matches!(&fault, OperationsFault::OtherNetwork { found, .. } if found == what), "{fault}");
    }
    let mut same = tensor("w", 10, &[4, 8]);
    same.external_data.push(StringStringEntryProto { key: Some("offset".into()), value: Some("0".into()) });
    write_network(&bundle.dir, same);
    let fault = bundle.fault();
    assert!(matches!(&fault, OperationsFault::OtherNetwork { what, .. } if what == "SHA-256"), "{fault}");
    write_network(&bundle.dir, tensor("w", 10, &[4, 8]));
    bundle.program.format += 1;
    bundle.write();
    assert!(matches!(bundle.fault(), OperationsFault::Unusable(ProgramError::Invalid { .. })));
}

#[test]
fn a_network_in_a_type_that_the_policy_does_not_allow_is_refused_with_both() {
    let mut bundle = bundle();
    for wanted in ["fp32", "int8", "bf16"] {
        bundle.stage.precision = wanted.into();
        let fault = bundle.fault();
        let OperationsFault::Precision { wanted: named, found, .. } = &fault else { panic!("{fault}") };
        assert_eq!((named.as_str(), found.as_str()), (wanted, "fp16"));
    }
    for allowed in ["fp16", "int8+fp16", "bf16+fp16"] {
        bundle.stage.precision = allowed.into();
        assert!(operations(&bundle.stage).is_ok(), "{allowed}");
    }
}

#[test]
fn all_stages_are_refused_at_once_and_weights_that_were_cut_are_named() {
    let (first, second) = (bundle(), bundle());
    for bundle in [&first, &second] {
        std::fs::remove_file(&bundle.stage.file).expect("removed");
    }
    let refused = check_operations(&[first.stage.clone(), second.stage.clone()]).expect_err("refused");
    assert!(matches!(&refused, Error::Provenance { rejections } if rejections.len() == 2), "{refused}");
    first.write();
    check_operations(std::slice::from_ref(&first.stage)).expect("usable");
    let footprint = Footprint::of_operations(&first.stage).expect("planned");
    assert_eq!(footprint.weights.bytes, 64);
    assert!(footprint.activation.bytes >= Footprint::PRODUCT_WORKSPACE);
    std::fs::write(first.dir.path().join("step.onnx.data"), [0; 63]).expect("cut");
    let cut = Footprint::of_operations(&first.stage).expect_err("cut");
    assert!(matches!(&cut, Error::Load { source, .. } if source.to_string().contains("step.onnx.data")), "{cut}");
}

fn device(sm_count: u32) -> DeviceIdentity {
    DeviceIdentity {
        tensorrt: "cuBLASLt 12.8.4, kernels 0f3a9c2b17de".into(),
        gpu: "Orin".into(),
        sm_version: "8.7".into(),
        sm_count,
        driver: "540.4.0".into(),
        cuda: "12.6".into(),
        l4t: None,
        board: None,
    }
}

#[test]
fn a_verdict_counts_on_its_device_with_its_files_and_nowhere_else() {
    let mut bundle = bundle();
    let verdict = |bundle: &Bundle, sm_count| verdict_on_operations(&bundle.stage, &device(sm_count));
    let refused = |bundle: &Bundle, sm_count| match verdict(bundle, sm_count).map_err(|rejection| rejection.reason) {
        Err(Reason::NotVerified { found }) => found.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&bundle, 8), "", "no verdict");
    bundle.stage.allow_unverified = true;
    assert_eq!(verdict(&bundle, 8).expect("allowed"), ProvenanceStatus::Unverified);
    bundle.stage.allow_unverified = false;
    let failed = Verification {
        passed: false,
        at: "2026-03-01T12:00:00Z".into(),
        bag_sha256: "ab".repeat(32),
        observations: 8,
        tensors: Vec::new(),
        summary: "cosine 0.5".into(),
    };
    let record = record_of_operations(&bundle.stage, device(8)).expect("a record");
    let record = Provenance { verification: Some(failed), ..record };
    record.write(&bundle.stage.file).expect("written");
    let rejection = verdict(&bundle, 8).expect_err("inaccurate");
    assert!(matches!(rejection.reason, Reason::Inaccurate), "{rejection}");
    assert!(refused(&bundle, 16).contains("SM count"), "another device");
    let updated = DeviceIdentity { tensorrt: "cuBLASLt 12.8.4, kernels 9b1e44d07a52".into(), ..device(8) };
    let other_kernels = verdict_on_operations(&bundle.stage, &updated).expect_err("another program").to_string();
    assert!(
        other_kernels.contains("cuBLASLt and kernels") && other_kernels.contains("9b1e44d07a52"),
        "{other_kernels}"
    );
    bundle.stage.allow_inaccurate = true;
    assert_eq!(verdict(&bundle, 8).expect("allowed").inaccuracy(), Some("cosine 0.5"));
    bundle.stage.allow_inaccurate = false;
    bundle.stage.precision = "int8+fp16".into();
    assert!(refused(&bundle, 8).contains("int8+fp16"), "of 16 bits: {}", refused(&bundle, 8));
    let eight_bits = record_of_operations(&bundle.stage, device(8)).expect("a record");
    let before = Provenance { flags: BuildSettings::default(), ..eight_bits.clone() };
    before.write(&bundle.stage.file).expect("written");
    let older = refused(&bundle, 8);
    assert!(older.contains("8-bit products"), "a program that had none wrote it: {older}");
    eight_bits.write(&bundle.stage.file).expect("written");
    assert!(matches!(verdict(&bundle, 8), Ok(ProvenanceStatus::Verified(_))));
    bundle.stage.precision = "fp16".into();
    assert!(refused(&bundle, 8).contains("int8+fp16"), "of 8 bits: {}", refused(&bundle, 8));
    let text = [serde_json::to_vec(&bundle.program).expect("JSON"), b"\n".to_vec()].concat();
    std::fs::write(&bundle.stage.file, text).expect("written");
    assert!(refused(&bundle, 8).contains("engine size"), "another list: {}", refused(&bundle, 8));
}
