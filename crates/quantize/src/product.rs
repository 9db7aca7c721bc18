//! The products of a network, and what each is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use vla_engines::onnx::Network;
use vla_engines::onnx::proto::{self, NodeProto};

use crate::graph::Index;

/// A MatMul or Gemm of a computed tensor with a weight matrix: `y = x W`, `W` `[rows, columns]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Product {
    /// Name of the node; its output's name where the node's is missing or not unique.
    pub node: String,
    /// Initializer with the weights. Several products may share it.
    pub weight: String,
    /// Tensor `[.., rows]` that it reads.
    pub input: String,
    /// Tensor `[.., columns]` that it makes, with the bias of a Gemm.
    pub output: String,
    /// Input channels.
    pub rows: usize,
    /// Output channels.
    pub columns: usize,
    /// Whether the weight is stored as `[columns, rows]`.
    pub transposed: bool,
    /// What it is for.
    pub kind: Kind,
    /// Number of the transformer block that it is in.
    pub block: Option<usize>,
    /// Elements of the weight.
    pub elements: u64,
}

/// What a product is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Feed-forward network of a block.
    FeedForward,
    /// Queries, keys or values of tokens that attend to each other.
    SelfAttention,
    /// Projection behind the attention.
    AttentionOutput,
    /// Queries, keys or values where tokens attend to another network's rows.
    CrossAttention,
    /// Everything else: patches, encoders, decoders, projections between networks.
    Edge,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FeedForward => "feed-forward",
            Self::SelfAttention => "self-attention",
            Self::AttentionOutput => "attention-output",
            Self::CrossAttention => "cross-attention",
            Self::Edge => "edge",
        })
    }
}

/// The products of a network, in the graph's order. Their kinds and blocks are found by the names of weights and nodes, as our
/// exports and PyTorch's have them; other products count as [`Kind::Edge`].
pub fn products(network: &Network) -> Vec<Product> {
    of(&Index::new(network))
}

/// As [`products`].
pub(crate) fn of(index: &Index<'_>) -> Vec<Product> {
    let mut products: Vec<Product> = index.graph.node.iter().filter_map(|node| product(index, node)).collect();
    let parts: Vec<Option<Part>> = products.iter().map(part).collect();
    let mut attentions: BTreeMap<String, [BTreeSet<String>; 3]> = BTreeMap::new();
    for (product, part) in products.iter().zip(&parts) {
        if let Some(Part::Projection { of, attention, .. }) = part {
            let inputs = attentions.entry(attention.clone()).or_default();
            for place in of {
                inputs[*place].insert(product.input.clone());
            }
        }
    }
    for (product, part) in products.iter_mut().zip(parts) {
        product.kind = match part {
            Some(Part::FeedForward) => Kind::FeedForward,
            Some(Part::Output) => Kind::AttentionOutput,
            Some(Part::Projection { attention, is_self, .. }) => {
                let own = attentions.get(&attention).is_some_and(|[q, k, v]| q == k && q == v);
                if is_self || own { Kind::SelfAttention } else { Kind::CrossAttention }
            }
            None => Kind::Edge,
        };
    }
    products
}

/// The product of a node; its kind is not known yet.
fn product(index: &Index<'_>, node: &NodeProto) -> Option<Product> {
    let [x, weight, ..] = node.input.as_slice() else { return None };
    let tensor = index.initializer(weight).filter(|tensor| matches!(tensor.data_type(), 1 | 10 | 16))?;
    let transposed = match node.op_type() {
        "MatMul" => false,
        "Gemm" if is_plain(node) => integer(node, "transB") == Some(1),
        _ => return None,
    };
    if index.initializer(x).is_some() || x.is_empty() {
        return None;
    }
    let [first, second] = tensor.dims.as_slice() else { return None };
    let sizes = [usize::try_from(*first).ok()?, usize::try_from(*second).ok()?];
    let [rows, columns] = if transposed { [sizes[1], sizes[0]] } else { sizes };
    let elements = (rows as u64).checked_mul(columns as u64).filter(|elements| *elements > 0)?;
    Some(Product {
        node: index.address(index.maker(node.output.first()?)?).to_owned(),
        weight: weight.clone(),
        input: x.clone(),
        output: node.output.first()?.clone(),
        rows,
        columns,
        transposed,
        kind: Kind::Edge,
        block: block(node.name()).or_else(|| block(weight)),
        elements,
    })
}

/// Whether a Gemm is `x W + c`: no factors, `x` not transposed.
fn is_plain(node: &NodeProto) -> bool {
    let one = |name: &str| {
        node.attribute
            .iter()
            .find(|attribute| attribute.name() == name)
            .is_none_or(|attribute| attribute.f == Some(1.0))
    };
    integer(node, "transA").unwrap_or(0) == 0 && one("alpha") && one("beta")
}

/// An integer attribute.
pub(crate) fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name() == name)?.i
}

/// A product's part of a transformer block.
enum Part {
    FeedForward,
    Output,
    Projection {
        /// Which of queries, keys and values it makes.
        of: Vec<usize>,
        /// The attention that it belongs to.
        attention: String,
        /// Whether the name says that it is self-attention.
        is_self: bool,
    },
}

/// By the weight's name, else by the node's, which PyTorch's exporter makes from the module's.
fn part(product: &Product) -> Option<Part> {
    named(&product.weight).or_else(|| named(&product.node))
}

fn named(name: &str) -> Option<Part> {
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    for (place, part) in parts.iter().enumerate().rev() {
        let words: Vec<&str> = part.split('+').collect();
        let all: Vec<Vec<usize>> = words.iter().map(|word| projection(word)).collect();
        if all.iter().all(|of| !of.is_empty()) {
            let is_self = parts[..place].contains(&"self_attn") || words.len() == 3 || all[0].len() == 3;
            return Some(Part::Projection { of: all.concat(), attention: parts[..place].join("."), is_self });
        }
        match *part {
            "out_proj" | "o_proj" | "to_out" => return Some(Part::Output),
            // As vision transformers have it; elsewhere `proj` is the last part of many names.
            "proj" if parts[..place].last() == Some(&"attn") => return Some(Part::Output),
            "mlp" | "ff" | "ffn" | "feed_forward" | "fc1" | "fc2" => return Some(Part::FeedForward),
            _ if words.iter().all(|word| matches!(*word, "gate_proj" | "up_proj" | "down_proj")) => {
                return Some(Part::FeedForward);
            }
            _ => {}
        }
    }
    None
}

/// Which of queries (0), keys (1) and values (2) a linear layer of that name makes.
fn projection(word: &str) -> Vec<usize> {
    match word {
        "q_proj" | "to_q" | "query" => vec![0],
        "k_proj" | "to_k" | "key" => vec![1],
        "v_proj" | "to_v" | "value" => vec![2],
        "qkv" | "qkv_proj" | "in_proj" => vec![0, 1, 2],
        _ => Vec::new(),
    }
}

/// The number behind the first list of blocks in a name: `vision/pixels/layers.3/Gemm_8` is in block 3.
fn block(name: &str) -> Option<usize> {
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    let lists = ["layers", "layer", "blocks", "block", "transformer_blocks", "h"];
    parts.windows(2).find(|pair| lists.contains(&pair[0])).and_then(|pair| pair[1].parse().ok())
}

/// Name of a tensor's element type.
pub(crate) fn type_of(tensor: &proto::TensorProto) -> &'static str {
    proto::type_name(tensor.data_type())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind by a name alone: what an attention reads is not known.
    fn kind(name: &str) -> Option<Kind> {
        named(name).map(|part| match part {
            Part::FeedForward => Kind::FeedForward,
            Part::Output => Kind::AttentionOutput,
            Part::Projection { is_self: true, .. } => Kind::SelfAttention,
            Part::Projection { .. } => Kind::CrossAttention,
        })
    }

    #[test]
    fn names_of_weights_and_of_modules_in_node_names_say_what_a_product_is_for() {
        for (name, expected) in [
            ("backbone.model.vision_model.vision_model.encoder.layers.3.self_attn.q_proj.weight", Kind::SelfAttention),
            ("backbone.model.language_model.model.layers.0.self_attn.q_proj+k_proj+v_proj.weight", Kind::SelfAttention),
            ("/language_model/model/layers.11/self_attn/v_proj/MatMul", Kind::SelfAttention),
            ("/vision_model/encoder/layers.0/self_attn/out_proj/MatMul", Kind::AttentionOutput),
            ("action_head.model.transformer_blocks.0.attn1.to_out.0.weight", Kind::AttentionOutput),
            ("action_head.model.transformer_blocks.0.attn1.to_k.weight", Kind::CrossAttention),
            ("/transformer_blocks.0/ff/net.0/proj/MatMul", Kind::FeedForward),
            ("backbone.model.language_model.model.layers.0.mlp.gate_proj+up_proj.weight", Kind::FeedForward),
            ("backbone.model.model.visual.blocks.3.attn.qkv.weight", Kind::SelfAttention),
            ("backbone.model.model.visual.blocks.3.attn.proj.weight", Kind::AttentionOutput),
            ("/visual/blocks.3/attn/proj/MatMul", Kind::AttentionOutput),
            ("backbone.model.model.visual.blocks.3.mlp.linear_fc1.weight", Kind::FeedForward),
            ("action_head.vl_self_attention.transformer_blocks.1.attn1.to_out.0.weight", Kind::AttentionOutput),
            ("action_head.vl_self_attention.transformer_blocks.1.ff.net.2.weight", Kind::FeedForward),
        ] {
            assert_eq!(kind(name), Some(expected), "{name}");
        }
        for name in [
            "backbone.model.mlp1.1.weight",
            "backbone.model.model.visual.patch_embed.proj.weight.folded",
            "backbone.model.model.visual.deepstack_merger_list.0.linear_fc1.weight",
            "action_head.action_decoder.layer1.W[10]",
            "onnx::MatMul_4711",
            "action_head.model.proj_out_2.weight",
        ] {
            assert_eq!(kind(name), None, "{name}");
        }
    }

    #[test]
    fn the_block_is_the_number_behind_a_list_of_blocks() {
        assert_eq!(block("vision/pixels/layers.3/Gemm_8"), Some(3));
        assert_eq!(block("/transformer_blocks.12/attn1/to_q/MatMul"), Some(12));
        assert_eq!(block("step/block.0/Gemm_24"), Some(0));
        assert_eq!(block("step/output/Gemm_151"), None);
        assert_eq!(block("action_head.action_decoder.layer1.W[10]"), None);
    }
}
