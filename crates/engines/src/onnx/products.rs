//! Types that the weights of products have in an engine.

use std::collections::HashSet;

use super::{Network, Product};

/// Behind the name of a tensor: the name of the product alone, where a rewritten network adds the bias after it or converts it.
pub const PRODUCT_SUFFIX: &str = ".product";

/// Elements of the weights of products (MatMul, Gemm), each weight once, by the type that an engine keeps them in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct ProductWeights {
    /// 8-bit integers, and floating-point weights behind QuantizeLinear and DequantizeLinear, which a builder folds to them.
    pub int8: u64,
    /// 4-bit integers.
    pub int4: u64,
    /// 16-bit floating point.
    pub half: u64,
    /// Wider floating point.
    pub single: u64,
}

impl ProductWeights {
    /// Of these products.
    pub fn of(products: &[Product]) -> Self {
        let (mut sum, mut seen) = (Self::default(), HashSet::new());
        for product in products.iter().filter(|product| seen.insert(product.weight.as_str())) {
            let count = match (product.bits, product.data_type) {
                (Some(4), _) => &mut sum.int4,
                (Some(_), _) => &mut sum.int8,
                (None, 10 | 16) => &mut sum.half,
                (None, _) => &mut sum.single,
            };
            *count = count.saturating_add(product.elements);
        }
        sum
    }

    /// Of several networks together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            int8: self.int8.saturating_add(other.int8),
            int4: self.int4.saturating_add(other.int4),
            half: self.half.saturating_add(other.half),
            single: self.single.saturating_add(other.single),
        }
    }

    /// Elements that stay floating.
    pub const fn floating(&self) -> u64 {
        self.half.saturating_add(self.single)
    }

    /// All elements.
    pub const fn elements(&self) -> u64 {
        self.int8.saturating_add(self.int4).saturating_add(self.half).saturating_add(self.single)
    }

    /// Their bytes in an engine that keeps each type as the network has it; scales not counted.
    pub const fn engine_bytes(&self) -> u64 {
        let integers = self.int8.saturating_add(self.int4.div_ceil(2));
        integers.saturating_add(self.half.saturating_mul(2)).saturating_add(self.single.saturating_mul(4))
    }

    /// Share of the elements that have at most 8 bits, 0..=1; 0 without products.
    pub fn quantized_share(&self) -> f64 {
        let all = self.elements();
        if all == 0 { 0.0 } else { (self.int8.saturating_add(self.int4)) as f64 / all as f64 }
    }
}

impl Network {
    /// Whether the network contains scales of its own: QuantizeLinear or DequantizeLinear nodes.
    pub fn is_quantized(&self) -> bool {
        self.graph.node.iter().any(|node| matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear"))
    }

    /// How many weights of products have which type.
    pub fn product_weights(&self) -> ProductWeights {
        ProductWeights::of(&self.products())
    }
}

/// The tensor that a product's own result is part of, see [`PRODUCT_SUFFIX`].
pub(super) fn whole(name: &str) -> Option<&str> {
    name.strip_suffix(PRODUCT_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
    use prost::Message as _;

    fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            op_type: Some(operator.to_owned()),
            ..NodeProto::default()
        }
    }

    fn weight(name: &str, data_type: i32) -> TensorProto {
        TensorProto {
            dims: vec![64, 32],
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        }
    }

    fn network(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Network {
        let graph = GraphProto { node, initializer, ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        Network::decode(std::path::Path::new("net.onnx"), model.encode_to_vec().into()).expect("a network")
    }

    #[test]
    fn weights_count_once_with_the_type_that_an_engine_keeps() {
        let nodes = vec![
            node("QuantizeLinear", &["folded", "s", "z"], "folded8"),
            node("DequantizeLinear", &["folded8", "s", "z"], "f"),
            node("DequantizeLinear", &["int8", "s", "z"], "i8"),
            node("DequantizeLinear", &["int4", "s4"], "i4"),
            node("MatMul", &["x", "f"], "a"),
            node("MatMul", &["x", "i8"], "b"),
            node("MatMul", &["y", "i8"], "c"),
            node("MatMul", &["x", "i4"], "d"),
            node("Gemm", &["x", "half"], "e"),
            node("MatMul", &["x", "single"], "g"),
            node("Gather", &["table", "x"], "h"),
        ];
        let types = [("folded", 1), ("int8", 3), ("int4", 22), ("half", 10), ("single", 1), ("table", 10)];
        let network = network(nodes, types.map(|(name, data_type)| weight(name, data_type)).to_vec());
        let n = 64 * 32;
        let weights = network.product_weights();
        assert_eq!(weights, ProductWeights { int8: 2 * n, int4: n, half: n, single: n });
        assert_eq!((weights.elements(), weights.engine_bytes()), (5 * n, 2 * n + n / 2 + 2 * n + 4 * n));
        assert!((weights.quantized_share() - 0.6).abs() < 1e-12);
        assert!(network.is_quantized());
        // As an engine has them, with the table: 8, 8 and 4 bits, and three of half precision.
        assert_eq!(network.weight_bytes_in("fp16"), 2 * n + n / 2 + 3 * 2 * n);
    }

    #[test]
    fn a_network_without_products_has_no_share() {
        let network = network(vec![node("Relu", &["x"], "y")], vec![weight("unused", 1)]);
        assert_eq!((network.product_weights(), network.is_quantized()), (ProductWeights::default(), false));
        assert!(network.product_weights().quantized_share().abs() < f64::EPSILON);
    }
}
