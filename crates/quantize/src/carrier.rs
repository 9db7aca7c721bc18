//! Where a network can divide a tensor by a vector without a further operator.

use vla_engines::onnx::Network;
use vla_engines::onnx::proto::NodeProto;

use crate::graph::Index;
use crate::product::{self, Product};

/// Longest chain of nodes from a tensor to what carries its division.
const REACH: usize = 4;

/// What is divided so that a tensor `[.., channels]` is: vectors in front of it, and perhaps the columns of a product.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Carrier {
    /// Initializers of one element a channel: scale and bias of a norm, biases of a product.
    pub vectors: Vec<Vector>,
    /// Name of the product ([`Product::node`]) whose output channels are divided.
    pub product: Option<String>,
}

/// A vector that a node reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vector {
    /// The node's output, which names it without doubt.
    pub output: String,
    /// Place among the node's inputs.
    pub input: usize,
    /// The initializer.
    pub tensor: String,
}

/// How `tensor` can be divided by a vector of one number a channel. `None` when something but a product reads it, or when
/// what makes it has no such place: a LayerNormalization or a multiplication by a vector, or a product with no other reader,
/// with a bias or a factor behind it.
pub fn carrier(network: &Network, tensor: &str) -> Option<Carrier> {
    let index = Index::new(network);
    let products = product::of(&index);
    of(&index, &products, tensor)
}

/// As [`carrier`].
pub(crate) fn of(index: &Index<'_>, products: &[Product], tensor: &str) -> Option<Carrier> {
    let channels = products.iter().find(|product| product.input == tensor)?.rows;
    let is_product = |(place, at): &(usize, usize)| {
        let output = index.graph.node[*place].output.first();
        *at == 0 && products.iter().any(|product| Some(&product.output) == output && product.rows == channels)
    };
    if index.is_kept(tensor) || !index.readers(tensor).iter().all(is_product) {
        return None;
    }
    let mut carrier = Carrier::default();
    let search = Search { index, products, channels };
    search.divide(tensor, REACH, &mut carrier).then_some(carrier)
}

struct Search<'a, 'n> {
    index: &'a Index<'n>,
    products: &'a [Product],
    channels: usize,
}

impl Search<'_, '_> {
    /// Adds to `carrier` what divides `tensor`; false, and nothing added, when nothing does.
    fn divide(&self, tensor: &str, reach: usize, carrier: &mut Carrier) -> bool {
        let (Some(node), Some(reach)) = (self.index.maker(tensor), reach.checked_sub(1)) else { return false };
        if node.output.first().is_none_or(|output| output != tensor) {
            return false;
        }
        let vector = |input: usize| self.vector(node, input);
        match node.op_type() {
            "LayerNormalization" => {
                let bias = node.input.get(2).filter(|name| !name.is_empty());
                match (vector(1), bias.map(|_| vector(2))) {
                    (Some(scale), None) => carrier.vectors.push(scale),
                    (Some(scale), Some(Some(bias))) => carrier.vectors.extend([scale, bias]),
                    _ => return false,
                }
                true
            }
            "Mul" => {
                if let Some(factor) = vector(1).or_else(|| vector(0)) {
                    carrier.vectors.push(factor);
                    return true;
                }
                node.input.iter().any(|factor| self.is_alone(factor) && self.divide(factor, reach, carrier))
            }
            "Add" => [(0, 1), (1, 0)].into_iter().any(|(term, other)| {
                let (Some(bias), Some(term)) = (vector(other), node.input.get(term)) else { return false };
                let divided = self.is_alone(term) && self.divide(term, reach, carrier);
                if divided {
                    carrier.vectors.push(bias);
                }
                divided
            }),
            _ => self.columns(node, carrier),
        }
    }

    /// A product's output channels, and the bias of a Gemm.
    fn columns(&self, node: &NodeProto, carrier: &mut Carrier) -> bool {
        let own = self.products.iter().find(|product| node.output.first() == Some(&product.output));
        let Some(product) = own.filter(|product| product.columns == self.channels) else { return false };
        if node.input.get(2).is_some_and(|name| !name.is_empty()) {
            let Some(bias) = self.vector(node, 2) else { return false };
            carrier.vectors.push(bias);
        }
        carrier.product = Some(product.node.clone());
        true
    }

    /// The node's input when it is an initializer of one floating element a channel.
    fn vector(&self, node: &NodeProto, input: usize) -> Option<Vector> {
        let name = node.input.get(input)?;
        let tensor = self.index.initializer(name)?;
        let (last, front) = tensor.dims.split_last()?;
        let fits = usize::try_from(*last).ok() == Some(self.channels) && front.iter().all(|dim| *dim == 1);
        let floating = matches!(tensor.data_type(), 1 | 10 | 16);
        (fits && floating).then(|| Vector { output: node.output[0].clone(), input, tensor: name.clone() })
    }

    /// Whether one node alone reads a tensor, once.
    fn is_alone(&self, tensor: &str) -> bool {
        !self.index.is_kept(tensor) && self.index.readers(tensor).len() == 1
    }
}
