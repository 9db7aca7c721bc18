//! Who makes and who reads each tensor of a network.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vla_engines::onnx::Network;
use vla_engines::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Producers, readers and initializers by the tensor's name.
pub(crate) struct Index<'n> {
    /// The graph.
    pub graph: &'n GraphProto,
    makers: HashMap<&'n str, &'n NodeProto>,
    readers: HashMap<&'n str, Vec<(usize, usize)>>,
    initializers: HashMap<&'n str, &'n TensorProto>,
    /// Tensors that leave the network or are read by a graph inside a node.
    kept: BTreeSet<&'n str>,
    /// Names that more than one node has.
    ambiguous: BTreeSet<&'n str>,
}

impl<'n> Index<'n> {
    /// Of a network's own graph.
    pub(crate) fn new(network: &'n Network) -> Self {
        let graph = network.graph();
        let mut index = Self {
            graph,
            makers: HashMap::new(),
            readers: HashMap::new(),
            initializers: graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect(),
            kept: graph.output.iter().map(|output| output.name()).collect(),
            ambiguous: BTreeSet::new(),
        };
        let mut seen = BTreeMap::new();
        for (place, node) in graph.node.iter().enumerate() {
            for (at, input) in node.input.iter().enumerate() {
                index.readers.entry(input).or_default().push((place, at));
            }
            index.makers.extend(node.output.iter().map(|output| (output.as_str(), node)));
            inner_reads(&node.attribute, &mut index.kept);
            *seen.entry(node.name()).or_insert(0) += 1;
        }
        index.ambiguous =
            seen.into_iter().filter(|(name, count)| name.is_empty() || *count > 1).map(|(name, _)| name).collect();
        index
    }

    /// The node that makes a tensor; `None` for inputs and initializers.
    pub(crate) fn maker(&self, tensor: &str) -> Option<&'n NodeProto> {
        self.makers.get(tensor).copied()
    }

    /// Place in the graph and place among the inputs of everything that reads a tensor.
    pub(crate) fn readers(&self, tensor: &str) -> &[(usize, usize)] {
        self.readers.get(tensor).map_or(&[], Vec::as_slice)
    }

    /// The initializer of that name.
    pub(crate) fn initializer(&self, tensor: &str) -> Option<&'n TensorProto> {
        self.initializers.get(tensor).copied()
    }

    /// Whether a tensor leaves the network, or a graph inside a node reads it.
    pub(crate) fn is_kept(&self, tensor: &str) -> bool {
        self.kept.contains(tensor)
    }

    /// What a recipe calls a node: its name, or its first output where the name is missing or not unique.
    pub(crate) fn address(&self, node: &'n NodeProto) -> &'n str {
        match node.output.first() {
            Some(output) if self.ambiguous.contains(node.name()) => output,
            _ => node.name(),
        }
    }
}

/// Names that graphs inside nodes read; those of their own values do no harm.
fn inner_reads<'n>(attributes: &'n [AttributeProto], kept: &mut BTreeSet<&'n str>) {
    for graph in attributes.iter().filter_map(|attribute| attribute.g.as_ref()) {
        kept.extend(graph.output.iter().map(|output| output.name()));
        for node in &graph.node {
            kept.extend(node.input.iter().map(String::as_str));
            inner_reads(&node.attribute, kept);
        }
    }
}
