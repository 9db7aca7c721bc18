//! The graph of a policy's stages: each input of an engine is connected by name to a host tensor, an output of an earlier
//! stage, or a table of constants.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Error;
use vla_base::tensor::{DType, Dim, TensorSpec};

mod build;
mod problem;

pub use problem::{Problem, Role, TypeAndShape};

/// Values of symbolic dimensions, by name.
pub type Symbols = BTreeMap<String, usize>;

/// One engine of a policy, as its bundle describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Name, unique in the policy.
    pub name: String,
    /// File that the backend loads: the network, or an engine built from it.
    pub file: PathBuf,
    /// The network, an ONNX file.
    pub onnx: PathBuf,
    /// Belongs to the group that runs once for each repetition (denoising step).
    pub repeat: bool,
    /// Inputs that the network must have.
    pub inputs: Vec<Input>,
    /// Outputs that are used.
    pub outputs: Vec<Output>,
    /// Precision that an engine is to have, e.g. `fp16`.
    pub precision: String,
    /// Smallest, usual and largest value of each symbolic dimension.
    pub profile: Vec<(String, [usize; 3])>,
    /// Load an engine that has no provenance record.
    pub allow_unverified: bool,
    /// Load an engine that failed its accuracy gate.
    pub allow_inaccurate: bool,
}

impl Stage {
    /// Names of the symbolic dimensions that the description uses.
    pub fn symbols(&self) -> Vec<&str> {
        let dims = self.inputs.iter().filter_map(|input| input.dims.as_ref());
        let dims = dims.chain(self.outputs.iter().filter_map(|output| output.dims.as_ref())).flatten();
        let mut names: Vec<&str> = dims
            .filter_map(|dim| match dim {
                Dim::Symbol(name) => Some(name.as_str()),
                Dim::Fixed(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// One input of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The network's own name of it.
    pub tensor: String,
    /// The pipeline's name: where its data comes from.
    pub name: String,
    /// Expected element type, when the description gives one.
    pub dtype: Option<DType>,
    /// Expected dimensions, when the description gives them.
    pub dims: Option<Vec<Dim>>,
    /// A safetensors file with a tensor `<name>.<repetitions>` whose row i feeds repetition i.
    pub constants: Option<PathBuf>,
}

/// One output of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The network's own name of it.
    pub tensor: String,
    /// The pipeline's name.
    pub name: String,
    /// Expected element type, when the description gives one.
    pub dtype: Option<DType>,
    /// Expected dimensions, when the description gives them.
    pub dims: Option<Vec<Dim>>,
    /// In a repeated stage: the tensor that takes this output's value in the next repetition.
    pub feeds: Option<String>,
}

/// Producer of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TensorOrigin {
    /// Written by the host before each inference.
    Host,
    /// Output of a stage.
    Stage,
    /// One row of a table for each iteration.
    Constants(PathBuf),
}

/// One tensor of the pipeline.
#[derive(Clone, Debug)]
pub(super) struct GraphTensor {
    pub spec: TensorSpec,
    pub origin: TensorOrigin,
    /// Loop-carried output: index of the tensor that takes its value in the next iteration.
    pub carried_to: Option<usize>,
}

/// A stage with the tensors that it reads and writes: (name in the network, index in the graph).
#[derive(Clone, Debug)]
pub(super) struct GraphNode {
    pub name: String,
    pub repeat: bool,
    pub inputs: Vec<(String, usize)>,
    pub outputs: Vec<(String, usize)>,
    /// Whether the engine has a matching record; `None`: it is not tied to a device.
    pub verified: Option<bool>,
}

/// The connected stages.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub tensors: Vec<GraphTensor>,
    pub stages: Vec<GraphNode>,
}

impl Graph {
    /// Index of the result: the loop-carried output of the last iteration.
    pub(crate) fn result(&self) -> Option<usize> {
        self.tensors.iter().rposition(|tensor| tensor.carried_to.is_some())
    }

    /// Index of the first tensor named `name`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.find_all(name).next()
    }

    /// Indices of the tensors named `name`: a host tensor has one for each type that networks read it in.
    pub(crate) fn find_all(&self, name: &str) -> impl Iterator<Item = usize> {
        self.tensors.iter().enumerate().filter(move |(_, tensor)| tensor.spec.name == name).map(|(index, _)| index)
    }
}

/// Replaces symbols by their values.
pub(super) fn resolve(spec: &TensorSpec, symbols: &Symbols) -> Result<Vec<usize>, Error> {
    spec.dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(n) => Ok(*n),
            Dim::Symbol(name) => symbols.get(name).copied().ok_or_else(|| Error::Symbol {
                tensor: spec.name.clone(),
                symbol: name.clone(),
                known: symbols.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests;
