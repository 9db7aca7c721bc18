//! Building ahead of time with TensorRT-RTX: for which GPUs, and what a network must be for that. No GPU and no driver is needed.
//!
//! TensorRT-RTX takes element types from the network alone: a precision names what the network has to hold.

use super::Request;
use vla_engines::Precision;
use vla_engines::onnx::Network;
use vla_engines::provenance::ComputeCapability;

/// Compute capabilities that TensorRT-RTX builds for.
pub const CAPABILITIES: [ComputeCapability; 6] = [
    TURING,
    ComputeCapability::new(8, 0),
    ComputeCapability::new(8, 6),
    ComputeCapability::new(8, 9),
    ComputeCapability::new(12, 0),
    ComputeCapability::new(12, 1),
];
/// The one for which neither FP32 nor BF16 products build.
const TURING: ComputeCapability = ComputeCapability::new(7, 5);
const ORIN: ComputeCapability = ComputeCapability::new(8, 7);
const HOPPER: ComputeCapability = ComputeCapability::new(9, 0);

const QUANTIZING: [&str; 2] = ["QuantizeLinear", "DequantizeLinear"];

/// ONNX's codes of element types.
const FP32: i32 = 1;
const FP16: i32 = 10;
const BF16: i32 = 16;

/// Reads a compute capability (`sm86`, `8.6`) that TensorRT-RTX builds for.
///
/// # Errors
/// What was found, what is expected, and where such a GPU's engines are built.
pub fn capability(text: &str) -> Result<ComputeCapability, String> {
    let found: ComputeCapability = text.parse()?;
    if CAPABILITIES.contains(&found) {
        return Ok(found);
    }
    let instead = match found {
        ORIN => "; 8.7 is Jetson Orin: build on the robot with TensorRT (vla-trt build without --for)",
        HOPPER => "; 9.0 is Hopper (H100, H200): build on that machine with TensorRT (vla-trt build without --for)",
        _ => "",
    };
    let known: Vec<String> = CAPABILITIES.iter().map(|known| format!("sm{}", known.number())).collect();
    Err(format!(
        "TensorRT-RTX does not build for compute capability {found}{instead}; it builds for {}",
        known.join(", ")
    ))
}

/// Everything that keeps TensorRT-RTX from building `network` as requested. Known before the build, which would end with an error
/// of a kernel.
pub fn problems(request: &Request, network: &Network) -> Vec<String> {
    let Precision { int8, bf16, fp16 } = request.precision;
    let mut problems = Vec::new();
    let holds = |data_type: i32| network.weights.iter().any(|weight| weight.data_type == data_type);
    let export = |dtype: &str| format!("export it so (vla-trt export --dtype {dtype})");
    let lacking = [
        (fp16 && !holds(FP16), "fp16", "no FP16 weight", export("fp16")),
        (bf16 && !holds(BF16), "bf16", "no BF16 weight", export("bf16")),
        (int8 && !network.is_quantized(), "int8", "no DequantizeLinear node", "quantize the policy first".to_owned()),
    ];
    for (_, name, found, remedy) in lacking.into_iter().filter(|(lacks, ..)| *lacks) {
        problems.push(format!(
            "precision {name}: TensorRT-RTX takes element types from the network, and this network has {found}; {remedy}, or set \
             precision fp32, which means the network's own types"
        ));
    }
    if request.ahead.contains(&TURING) {
        let floating = network.products().into_iter().filter(|product| product.bits.is_none());
        let wide = floating.filter_map(|product| Some((product.node, wide_type(product.data_type)?)));
        let wide: Vec<(String, &str)> = wide.collect();
        if let Some((node, name)) = wide.first() {
            problems.push(format!(
                "compute capability 7.5: TensorRT-RTX has no {name} products for it, and {} products of this network are such, the \
                 first '{node}'; export it with FP16 weights (vla-trt export --dtype fp16), or leave sm75 out of --for",
                wide.len()
            ));
        }
        let quantizing = network.nodes().filter(|(_, operator)| QUANTIZING.contains(operator)).count();
        let wide = quantizing.saturating_sub(network.half_scales().len());
        if wide > 0 {
            problems.push(format!(
                "compute capability 7.5: TensorRT-RTX has no FP32 products for it, and {wide} QuantizeLinear and DequantizeLinear \
                 nodes have FP32 scales, which makes their products such; quantise a policy that was exported with --dtype fp16, \
                 with vla-trt quantize --target trt10, or leave sm75 out of --for"
            ));
        }
    }
    problems
}

fn wide_type(data_type: i32) -> Option<&'static str> {
    match data_type {
        FP32 => Some("FP32"),
        BF16 => Some("BF16"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use vla_engines::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};

    /// One product whose weight has that element type, and a node of the operator `beside`.
    fn network(data_type: i32, beside: &str) -> Network {
        let weight = TensorProto {
            name: Some("w".into()),
            dims: vec![4, 4],
            data_type: Some(data_type),
            ..TensorProto::default()
        };
        let node = |name: &str, operator: &str, input: &[&str]| NodeProto {
            name: Some(name.into()),
            op_type: Some(operator.into()),
            input: input.iter().map(|&input| input.to_owned()).collect(),
            output: vec![format!("{name}.out")],
            ..NodeProto::default()
        };
        let nodes = vec![node("/product", "MatMul", &["x", "w"]), node("/beside", beside, &["/product.out"])];
        let graph = GraphProto { node: nodes, initializer: vec![weight], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        Network::decode("m.onnx".as_ref(), model.encode_to_vec().into()).expect("a network")
    }

    fn found(precision: &str, capabilities: &[&str], network: &Network) -> Vec<String> {
        let ahead = capabilities.iter().map(|text| capability(text).expect(text)).collect();
        let precision = precision.parse().expect("a precision");
        problems(&Request { precision, ahead, ..Request::default() }, network)
    }

    #[test]
    fn gpus_that_tensorrt_rtx_does_not_know_are_refused_by_name() {
        for known in ["sm75", "8.0", "sm86", "sm89", "sm120", "12.1"] {
            capability(known).expect(known);
        }
        for (text, words) in [
            ("sm87", "Jetson Orin: build on the robot with TensorRT"),
            ("9.0", "Hopper"),
            ("sm100", "does not build for compute capability 10.0; it builds for sm75, sm80"),
            ("orin", "expected a compute capability such as sm86"),
        ] {
            let refused = capability(text).expect_err(text);
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn a_precision_that_the_network_does_not_hold_is_refused() {
        let (single, half) = (network(FP32, "Relu"), network(FP16, "Relu"));
        assert!(found("fp32", &["sm86"], &single).is_empty());
        assert!(found("fp32", &["sm86"], &half).is_empty());
        assert!(found("fp16", &["sm86"], &half).is_empty());
        assert!(found("fp16", &["sm86"], &single)[0].contains("no FP16 weight"));
        let both = found("int8+fp16", &["sm86"], &single);
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(found("int8", &["sm86"], &network(FP32, "DequantizeLinear")).is_empty());
    }

    #[test]
    fn single_precision_products_are_refused_for_the_gpu_that_lacks_them() {
        let refused = found("fp32", &["sm75", "sm86"], &network(FP32, "Relu"));
        assert!(refused[0].contains("'/product'") && refused[0].contains("--dtype fp16"), "{refused:?}");
        assert!(found("fp32", &["sm75"], &network(BF16, "Relu"))[0].contains("BF16 products"));
        assert!(found("fp32", &["sm75"], &network(FP16, "Relu")).is_empty());
        let scales = found("fp32", &["sm75"], &network(FP16, "QuantizeLinear"));
        assert!(scales[0].contains("1 QuantizeLinear and DequantizeLinear nodes have FP32 scales"), "{scales:?}");
        assert!(found("fp32", &["sm86"], &network(FP16, "QuantizeLinear")).is_empty());
    }
}
