//! Activation ranges: nodes that output the largest magnitude of every tensor inside a network.
//!
//! The reduction is part of the graph, so a runtime keeps no tensor longer than without it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::graph::{Attribute, Graph, Node, Value};
use super::proto::ModelProto;
use crate::Error;
use vla_base::tensor::{DType, Dim};

/// Prefix of the output of a measured graph; the graph's name follows.
pub const OUTPUT: &str = "absmax.";
/// Key of the model's metadata with the list of the measured tensors.
const METADATA: &str = "absmax";
/// Operators whose result can be larger than their inputs; a cast is an operand of another stage or of the host.
const GROWING: [&str; 8] = ["Add", "Cast", "Div", "Gemm", "LayerNormalization", "MatMul", "Mul", "Pow"];
/// Operators whose result is correct for an infinity in place of a large number.
const LIMITING: [&str; 3] = ["Erf", "Sigmoid", "Tanh"];

/// One tensor of a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MeasuredTensor {
    /// Its name, as in the same network in half precision.
    pub tensor: String,
    /// The weight that it is a product with.
    pub weight: Option<String>,
    /// It is used only by operators whose result is correct for an infinity.
    pub saturates: bool,
}

impl Graph {
    /// In a graph that is [measured](Graph::measured): declares `absmax.<graph>` `[n]` f32, the largest magnitude of each
    /// tensor that is of half precision in the same graph unmeasured and that can be larger than what it is made of.
    /// Which ones, [`read`] says. Left out is the sum of scores and a mask, as large as the mask.
    ///
    /// # Errors
    /// None that input can cause.
    pub(crate) fn add_activation_ranges(&mut self) -> Result<(), Error> {
        if !self.is_measured() {
            return Ok(());
        }
        let limited = limited(&self.nodes, self.outputs.iter().map(|(id, _)| *id));
        let made_by: BTreeMap<usize, &str> =
            self.nodes.iter().flat_map(|node| node.outputs.iter().map(|id| (*id, node.operator))).collect();
        let masked = |node: &Node| node.inputs.iter().any(|id| made_by.get(id) == Some(&"Where"));
        let grown = |node: &&Node| node.dtype == DType::F16 && GROWING.contains(&node.operator) && !masked(node);
        let found: Vec<(usize, MeasuredTensor)> = self
            .nodes
            .iter()
            .filter(grown)
            .flat_map(|node| node.outputs.iter().map(move |id| (*id, node)))
            .map(|(id, node)| {
                let weight = node.inputs.get(1).filter(|_| node.operator == "Gemm");
                let measured = MeasuredTensor {
                    tensor: self.names[id].clone(),
                    weight: weight.map(|weight| self.names[*weight].clone()),
                    saturates: limited.get(&id).copied().unwrap_or_default(),
                };
                (id, measured)
            })
            .collect();
        let name = format!("{OUTPUT}{}", self.scope());
        self.enter("absmax");
        let mut largest = Vec::with_capacity(found.len());
        for (id, _) in &found {
            let magnitude = self.node("Abs", &[&Value::shapeless(*id, DType::F32)], vec![], DType::F32, vec![]);
            let all = vec![("keepdims", Attribute::Int(0))];
            let maximum = self.node("ReduceMax", &[&magnitude], all, DType::F32, vec![]);
            largest.push(self.reshape(&maximum, &[Dim::Fixed(1)])?);
        }
        // One joined to those before it, after all of them: ONNX Runtime, which runs last nodes' inputs depth first, from
        // the last node back, then reduces each tensor as soon as it is made. One node that joins all has it keep all.
        let mut largest = largest.into_iter();
        let Some(mut joined) = largest.next() else {
            self.leave();
            return Ok(());
        };
        for next in largest {
            joined = self.concat(&[&joined, &next], 0)?;
        }
        self.leave();
        self.output(&name, &joined)?;
        let measured: Vec<MeasuredTensor> = found.into_iter().map(|(_, measured)| measured).collect();
        self.note(METADATA, serde_json::json!(measured).to_string());
        Ok(())
    }
}

/// For every value that a node reads: whether each way from it leads to [`LIMITING`] operators. Not so an output.
fn limited(nodes: &[Node], outputs: impl Iterator<Item = usize>) -> BTreeMap<usize, bool> {
    let mut limited: BTreeMap<usize, bool> = outputs.map(|id| (id, false)).collect();
    // Nodes are sorted: a node comes after those that make its inputs.
    for node in nodes.iter().rev() {
        let passes = ["Add", "Div", "Mul", "Pow"].contains(&node.operator)
            && node.outputs.iter().all(|id| limited.get(id).copied().unwrap_or_default());
        let limits = passes || LIMITING.contains(&node.operator);
        for id in &node.inputs {
            limited.entry(*id).and_modify(|all| *all &= limits).or_insert(limits);
        }
    }
    limited
}

/// The tensors that a measured model measures, in the order of its output; none for another model.
///
/// # Errors
/// [`Error::Io`], [`Error::Measured`] when the file is no such model.
pub fn read(model: &Path) -> Result<Vec<MeasuredTensor>, Error> {
    let bytes = fs::read(model).map_err(Error::io(model))?;
    let fail = |reason: String| Error::Measured { path: model.to_path_buf(), reason };
    let model = ModelProto::decode(bytes.as_slice()).map_err(|error| fail(error.to_string()))?;
    let notes = model.metadata_props.iter();
    let Some(note) = notes.filter(|note| note.key.as_deref() == Some(METADATA)).find_map(|note| note.value.as_deref())
    else {
        return Ok(Vec::new());
    };
    serde_json::from_str(note).map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `gelu_tanh(a b)`, with a sum of `c` and a mask beside it.
    fn graph(dir: &Path, dtype: DType, measured: bool) -> Graph {
        let mut graph = Graph::new("part", &dir.join("part.onnx"));
        if measured {
            graph.measured();
        }
        let dims = [Dim::Fixed(2), Dim::Fixed(2)];
        let [a, b, c] = ["a", "b", "c"].map(|name| {
            let input = graph.input(name, DType::F32, &dims).expect("input");
            graph.cast(&input, dtype)
        });
        let product = graph.gemm(&a, &b, None, false).expect("product");
        let hidden = graph.greater(&b, &c).expect("mask");
        let mask = graph.choose(&hidden, &a, &c).expect("mask");
        let scores = graph.add(&c, &mask).expect("scores");
        let gelu = graph.gelu_tanh(&product).expect("gelu");
        for (name, value) in [("gelu", &gelu), ("scores", &scores)] {
            let value = graph.cast(value, DType::F32);
            graph.output(name, &value).expect("output");
        }
        graph
    }

    #[test]
    fn what_grows_is_measured_under_its_name_in_half_precision_and_what_only_feeds_a_tanh_is_marked() {
        let dir = tempfile::tempdir().expect("scratch");
        let half = graph(dir.path(), DType::F16, false);
        let names = half.names.clone();
        let mut graph = graph(dir.path(), DType::F16, true);
        graph.add_activation_ranges().expect("measured");
        // Joined one by one after the last of them is made: nothing else keeps ONNX Runtime from keeping all tensors.
        let last: Vec<(&str, usize)> =
            graph.nodes.iter().rev().take(11).map(|node| (node.operator, node.inputs.len())).collect();
        assert_eq!(last, [&[("Concat", 2); 10][..], &[("Reshape", 2)]].concat());
        let model = graph.finish().expect("written").model;
        let found = read(&model).expect("reads");
        assert!(found.iter().all(|measured| names.contains(&measured.tensor)), "{found:?} in {names:?}");
        let operator = |measured: &MeasuredTensor| {
            let name = measured.tensor.strip_prefix("part/").expect("in the graph").split('_').next();
            name.expect("an operator").to_owned()
        };
        let all: Vec<String> = found.iter().map(operator).collect();
        // The casts of three inputs, the product, and the GELU: cube, its scale, sum, its scale, 1 + tanh, x/2, product.
        assert_eq!(all, ["Cast", "Cast", "Cast", "Gemm", "Pow", "Mul", "Add", "Mul", "Add", "Mul", "Mul"]);
        let marked: Vec<bool> = found.iter().map(|measured| measured.saturates).collect();
        assert_eq!(marked, [false, false, false, false, true, true, true, true, false, false, false]);
        assert_eq!(found[3].weight.as_deref(), Some("part/Cast_1"));
    }

    #[test]
    fn single_precision_is_not_measured_nor_is_a_graph_that_was_not_asked() {
        let dir = tempfile::tempdir().expect("scratch");
        for (dtype, measured) in [(DType::F32, true), (DType::F16, false)] {
            let mut graph = graph(dir.path(), dtype, measured);
            graph.add_activation_ranges().expect("nothing to measure");
            assert_eq!(graph.outputs().len(), 2);
            assert_eq!(read(&graph.finish().expect("written").model).expect("reads"), []);
        }
    }

    #[test]
    fn a_file_that_is_no_model_is_refused() {
        let dir = tempfile::tempdir().expect("scratch");
        let path = dir.path().join("x.onnx");
        fs::write(&path, [0xff; 16]).expect("written");
        assert!(read(&path).expect_err("refused").to_string().contains("x.onnx"));
    }
}
