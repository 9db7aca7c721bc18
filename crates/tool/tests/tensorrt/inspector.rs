use super::*;
use vla_trt::inspect::loaded;

const DETAILED: &str =
    r#"inspect {"Name": "x", "LayerType": "gemm", "Outputs": [{"Format/Datatype": "Row major linear FP16 format"}]}"#;

#[test]
fn the_inspector_of_a_detailed_engine_counts_layers_by_precision() {
    let bench = Bench::new();
    let lines = [
        "name toy",
        "activation 256",
        "input rows f32 ?x4 range 1x4 2x4 8x4",
        "output sum f32 ?x4",
        DETAILED,
        DETAILED,
    ];
    let report = loaded(&bench.library, &bench.log, &bench.file("toy.engine", &lines)).expect("told");
    assert_eq!((report.inputs[0].tensor.as_str(), report.activation_bytes), ("rows: f32 [?, 4]", 256));
    assert_eq!(report.inputs[0].profiles, ["[1, 4]..[2, 4]..[8, 4]"]);
    assert!(report.outputs[0].profiles.is_empty());
    let count = &report.layers.by_precision[0];
    assert_eq!((count.precision.as_str(), count.kind.as_str(), count.layers), ("fp16", "gemm", 2));
}

#[test]
fn the_inspector_of_an_engine_without_details_gives_names_alone() {
    let bench = Bench::new();
    let lines = ["name toy", "input rows f32 4", "output sum f32 4", r#"inspect "a""#, r#"inspect "b""#];
    let report = loaded(&bench.library, &bench.log, &bench.file("toy.engine", &lines)).expect("told");
    assert_eq!((report.layers.total, report.layers.detailed), (2, false));
}
