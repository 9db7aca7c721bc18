//! `vla-trt plan` with rates that were measured, and of quantised networks.

use vla_trt_tests::demo;

use vla_engines::onnx::Network;
use vla_engines::roofline::Work;
use vla_engines::{EngineKind, Stage, pipeline};
use vla_policy::PolicySpec;

use crate::plan_command::{code, plan, stdout, summary};

#[test]
fn rates_that_were_measured_take_the_place_of_a_boards() {
    let policy = demo::policy();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roofs.json");
    let roofs = |read: f64| {
        let rates = r#""fp32_flops_per_s": 1e15, "fp16_flops_per_s": 1e15, "int8_ops_per_s": 2e15"#;
        let text = format!(
            r#"{{"format": 1, "device": "Orin", "engine": "TensorRT 10.3.0", "at": "", "read_bytes_per_s": {read:e}, {rates}}}"#
        );
        std::fs::write(&file, text).expect("written");
        plan(policy.path(), &["--roofline", "--roofs", file.to_str().expect("text")])
    };
    let name = policy.path().file_name().and_then(|name| name.to_str()).expect("text").to_owned();
    let floor = |read: f64| summary(&stdout(&roofs(read)), &name, "policy.yaml")[0];
    let (slow, fast) = (floor(1e6), floor(2e6));
    assert!((slow / fast - 2.0).abs() < 0.01, "bytes over the measured bandwidth: {slow} {fast}");
    let text = stdout(&roofs(1e6));
    assert!(text.contains("Orin, TensorRT 10.3.0, measured") && !text.contains("0.746"), "{text}");
    let refused = roofs(0.0);
    assert_eq!(code(&refused), 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read_bytes_per_s"));
    let both = plan(policy.path(), &["--roofline", "--roofs", "roofs.json", "--tflops", "3"]);
    assert_eq!(code(&both), 2);
}

#[test]
fn a_board_has_a_floor_at_its_pins_and_one_at_the_bandwidth_that_was_reached() {
    let policy = demo::policy();
    let text = stdout(&plan(policy.path(), &["--roofline", "--bandwidth-gb-s", "0.001", "--tflops", "1000"]));
    let (pins, reached) = text.split_once("the same at 0.746").unwrap_or_else(|| panic!("{text}"));
    let floor = |text: &str| {
        let row = text.lines().rev().find(|line| line.contains("policy.yaml")).unwrap_or_else(|| panic!("{text}"));
        row.split_whitespace().next_back().and_then(|word| word.parse::<f64>().ok()).unwrap_or_else(|| panic!("{row}"))
    };
    let ratio = floor(pins) / floor(reached);
    assert!((ratio - 0.746).abs() < 1e-3, "bound by memory: {ratio}");
}

#[test]
fn an_8_bit_network_is_planned_with_a_byte_a_weight_in_either_form() {
    use vla_trt_tests::quantized::{Form, quantize};

    let weights = |form: Option<Form>| {
        let policy = demo::policy();
        let spec = PolicySpec::load(policy.path()).expect("loads");
        if let Some(form) = form {
            for stage in &spec.stages {
                assert!(quantize(&stage.onnx, form, |_| true) > 0, "{}", stage.name);
            }
        }
        let stages: Vec<Stage> =
            spec.engine_stages().into_iter().map(|stage| Stage { precision: "int8+fp16".into(), ..stage }).collect();
        let plan = pipeline::plan(EngineKind::Tensorrt, &stages, None, true, None).expect("plans");
        let work: Vec<Work> = stages.iter().map(|stage| Work::of(stage, 1).expect("reads")).collect();
        let int8: u64 = work.iter().map(|work| work.int8_flops).sum();
        (plan.stages.iter().map(|stage| stage.weights.bytes).sum::<u64>(), int8)
    };
    let [calibrated, floating, integers] = [None, Some(Form::Floating), Some(Form::Integers)].map(weights);
    // Scales and zero points are a few bytes a product; what is no product (tables, convolutions) is in half precision.
    assert!(floating.0.abs_diff(integers.0) < 1000, "{floating:?} {integers:?}");
    assert!(integers.0 >= calibrated.0 && integers.0 < calibrated.0 * 5 / 4, "{calibrated:?} {integers:?}");
    assert_eq!(floating.1, integers.1);
    assert!(integers.1 > 0 && integers.1 <= calibrated.1, "{calibrated:?} {integers:?}");
}

#[test]
fn what_a_quantised_network_leaves_floating_is_planned_in_single_precision_for_tensorrt_8() {
    use vla_trt_tests::quantized::{Form, quantize};

    let policy = demo::policy();
    let spec = PolicySpec::load(policy.path()).expect("loads");
    for stage in &spec.stages {
        quantize(&stage.onnx, Form::Floating, |node| !node.contains("/block.0/"));
    }
    let stages: Vec<Stage> =
        spec.engine_stages().into_iter().map(|stage| Stage { precision: "int8+fp16".into(), ..stage }).collect();
    let weights = |tensorrt| {
        let plan = pipeline::plan(EngineKind::Tensorrt, &stages, None, true, tensorrt).expect("plans");
        plan.stages.iter().map(|stage| stage.weights.bytes).sum::<u64>()
    };
    let networks = stages.iter().map(|stage| Network::open(&stage.onnx).expect("reads"));
    let (half, single) = networks.fold((0, 0), |(half, single), network| {
        let single_here = if network.is_quantized() { "fp32" } else { "int8+fp16" };
        (half + network.weight_bytes_in("int8+fp16"), single + network.weight_bytes_in(single_here))
    });
    assert!(single > half * 5 / 4, "{half} {single}");
    assert_eq!([None, Some("10.3.0"), Some("RTX 1.7.1"), Some("8.6.1")].map(weights), [half, half, half, single]);
}
