//! How stages are joined: every engine input is found by name among what the host offers, what stages before it
//! make, and tables of constants.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Error, profile};
use vla_base::tensor::{DType, Dim, TensorSpec, display_dims, without_batch};

/// Values of symbolic dimensions, by name.
pub type Symbols = BTreeMap<String, usize>;

/// One engine of a policy, as its bundle describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Name, unique in the policy.
    pub name: String,
    /// What the device loads: the network itself, or an engine built from it.
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
    /// Load an engine also when nothing proves where it was built.
    pub allow_unverified: bool,
    /// Load an engine also when its results were found too far from its network's.
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

/// Where a tensor's data comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// Written by the host before each inference.
    Host,
    /// Made by a stage.
    Stage,
    /// One row of a table per repetition.
    Constants(PathBuf),
}

/// One tensor of the pipeline.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub spec: TensorSpec,
    pub source: Source,
    /// Index of the tensor that this one replaces in the next repetition.
    pub feeds: Option<usize>,
}

/// Which tensors a stage reads and writes: (the network's name, index of the pipeline's tensor).
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub name: String,
    pub repeat: bool,
    pub inputs: Vec<(String, usize)>,
    pub outputs: Vec<(String, usize)>,
    /// Whether the engine's origin is proven; `None`: it is not tied to a device.
    pub proven: Option<bool>,
}

/// The joined pipeline.
#[derive(Clone, Debug)]
pub(super) struct Wiring {
    pub tensors: Vec<Tensor>,
    pub stages: Vec<Joined>,
}

impl Wiring {
    /// Joins `stages` (in run order) whose networks describe themselves by `networks`, given what the host offers.
    /// `narrows_int64`: the engine kind has 32-bit integers where networks have 64-bit ones.
    ///
    /// # Errors
    /// [`Error::Wiring`] with every problem: a tensor that a network lacks or has beyond the description, another
    /// type or shape, an input that nothing makes, a loop that does not close.
    pub fn join(
        stages: &[Stage],
        networks: &[(&[TensorSpec], &[TensorSpec])],
        host: &[TensorSpec],
        narrows_int64: bool,
    ) -> Result<Self, Error> {
        let mut joiner = Joiner { host, narrows_int64, tensors: Vec::new(), problems: Vec::new() };
        let joined = stages.iter().zip(networks).map(|(stage, network)| joiner.stage(stage, *network)).collect();
        joiner.close_loops(stages);
        joiner.check_fed();
        joiner.check_group(stages);
        if joiner.problems.is_empty() {
            Ok(Self { tensors: joiner.tensors, stages: joined })
        } else {
            Err(Error::Wiring { problems: joiner.problems })
        }
    }

    /// Index of the tensor that the last repetition leaves for the host: what closes the loop.
    pub fn result(&self) -> Option<usize> {
        self.tensors.iter().rposition(|tensor| tensor.feeds.is_some())
    }

    /// Index of the first tensor named `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.find_all(name).next()
    }

    /// Indices of the tensors named `name`: a host tensor that networks read in several types is several.
    pub fn find_all(&self, name: &str) -> impl Iterator<Item = usize> {
        self.tensors.iter().enumerate().filter(move |(_, tensor)| tensor.spec.name == name).map(|(index, _)| index)
    }
}

struct Joiner<'a> {
    host: &'a [TensorSpec],
    narrows_int64: bool,
    tensors: Vec<Tensor>,
    problems: Vec<String>,
}

impl Joiner<'_> {
    fn stage(&mut self, stage: &Stage, (inputs, outputs): (&[TensorSpec], &[TensorSpec])) -> Joined {
        for extra in inputs.iter().filter(|spec| !stage.inputs.iter().any(|input| input.tensor == spec.name)) {
            self.problems.push(format!(
                "stage '{}': the network wants an input '{extra}' that policy.yaml does not describe",
                stage.name
            ));
        }
        let mut joined = Joined {
            name: stage.name.clone(),
            repeat: stage.repeat,
            inputs: Vec::new(),
            outputs: Vec::new(),
            proven: None,
        };
        for input in &stage.inputs {
            let Some(spec) = self.network_tensor(stage, "input", &input.tensor, inputs) else { continue };
            // What the host writes is converted on its way.
            let made = self.find(&input.name).is_some_and(|index| self.tensors[index].source == Source::Stage);
            let expected = input.dtype.filter(|dtype| made || !dtype.converts_to(spec.dtype));
            self.compare(stage, &input.tensor, spec, expected, input.dims.as_deref());
            if let Some(index) = self.source_of(stage, input, spec) {
                joined.inputs.push((input.tensor.clone(), index));
            }
        }
        for output in &stage.outputs {
            let Some(spec) = self.network_tensor(stage, "output", &output.tensor, outputs) else { continue };
            self.compare(stage, &output.tensor, spec, output.dtype, output.dims.as_deref());
            if self.find(&output.name).is_some() {
                self.problems.push(format!(
                    "stage '{}': output '{}' has the name of a tensor that exists already",
                    stage.name, output.name
                ));
                continue;
            }
            let dims = output.dims.clone().unwrap_or_else(|| spec.dims.clone());
            let spec = TensorSpec { name: output.name.clone(), dtype: spec.dtype, dims };
            joined.outputs.push((output.tensor.clone(), self.tensors.len()));
            self.tensors.push(Tensor { spec, source: Source::Stage, feeds: None });
        }
        joined
    }

    fn network_tensor<'n>(
        &mut self,
        stage: &Stage,
        role: &str,
        tensor: &str,
        network: &'n [TensorSpec],
    ) -> Option<&'n TensorSpec> {
        let found = network.iter().find(|spec| spec.name == tensor);
        if found.is_none() {
            let names: Vec<&str> = network.iter().map(|spec| spec.name.as_str()).collect();
            self.problems.push(format!(
                "stage '{}': {} has no {role} '{tensor}'; it has {} (join names that differ with 'rename')",
                stage.name,
                stage.file.display(),
                names.join(", ")
            ));
        }
        found
    }

    /// The network's own description against policy.yaml's.
    fn compare(&mut self, stage: &Stage, tensor: &str, spec: &TensorSpec, dtype: Option<DType>, dims: Option<&[Dim]>) {
        if let Some(expected) = dtype.filter(|dtype| !profile::same_type(*dtype, spec.dtype, self.narrows_int64)) {
            self.problems.push(format!(
                "stage '{}', tensor '{tensor}': policy.yaml says {expected}, the network has {}",
                stage.name, spec.dtype
            ));
        }
        if let Some(dims) = dims.filter(|dims| !compatible(dims, &spec.dims)) {
            self.problems.push(format!(
                "stage '{}', tensor '{tensor}': policy.yaml says {}, the network has {}",
                stage.name,
                display_dims(dims),
                display_dims(&spec.dims)
            ));
        }
    }

    /// The tensor that feeds `input`, made known on its first use.
    fn source_of(&mut self, stage: &Stage, input: &Input, spec: &TensorSpec) -> Option<usize> {
        let dims = input.dims.clone().unwrap_or_else(|| spec.dims.clone());
        let known: Vec<usize> =
            (0..self.tensors.len()).filter(|at| self.tensors[*at].spec.name == input.name).collect();
        let fits = |at: &&usize| {
            let made = &self.tensors[**at].spec;
            made.dtype == spec.dtype && compatible(&made.dims, &dims)
        };
        if let Some(index) = known.iter().find(fits) {
            return Some(*index);
        }
        if let Some(&first) = known.first()
            && self.tensors[first].source == Source::Stage
        {
            let made = &self.tensors[first].spec;
            self.problems.push(format!(
                "stage '{}' wants '{}' as {} {}, but it is {} {}; a stage reads in place what another made, so that \
                 types and dimensions have to be the same",
                stage.name,
                input.name,
                spec.dtype,
                display_dims(&dims),
                made.dtype,
                display_dims(&made.dims)
            ));
            return Some(first);
        }
        let source = if let Some(file) = &input.constants {
            Source::Constants(file.clone())
        } else if self.check_host(stage, input, spec.dtype, &dims) {
            Source::Host
        } else {
            return None;
        };
        let spec = TensorSpec { name: input.name.clone(), dtype: spec.dtype, dims };
        self.tensors.push(Tensor { spec, source, feeds: None });
        Some(self.tensors.len() - 1)
    }

    fn check_host(&mut self, stage: &Stage, input: &Input, dtype: DType, dims: &[Dim]) -> bool {
        let Some(offered) = self.host.iter().find(|spec| spec.name == input.name) else {
            let known: Vec<&str> = self.host.iter().map(|spec| spec.name.as_str()).collect();
            self.problems.push(format!(
                "stage '{}': nothing makes its input '{}'; stages before it make none of that name, and the host offers {}",
                stage.name,
                input.name,
                known.join(", ")
            ));
            return false;
        };
        if !compatible_but_for_batch(&offered.dims, dims) || !offered.dtype.converts_to(dtype) {
            self.problems.push(format!(
                "stage '{}' wants '{}' as {dtype} {}, but the host makes {} {}",
                stage.name,
                input.name,
                display_dims(dims),
                offered.dtype,
                display_dims(&offered.dims)
            ));
        }
        true
    }

    fn close_loops(&mut self, stages: &[Stage]) {
        for (stage, output) in stages.iter().flat_map(|stage| stage.outputs.iter().map(move |output| (stage, output))) {
            let Some(target) = &output.feeds else { continue };
            let (Some(from), Some(to)) = (self.find(&output.name), self.find(target)) else {
                self.problems.push(format!(
                    "stage '{}': output '{}' feeds '{target}', which no stage reads",
                    stage.name, output.name
                ));
                continue;
            };
            let (made, fed) = (&self.tensors[from].spec, &self.tensors[to].spec);
            if !stage.repeat {
                self.problems.push(format!(
                    "stage '{}': output '{}' feeds '{target}', but the stage does not repeat",
                    stage.name, output.name
                ));
            } else if made.dtype != fed.dtype || made.dims != fed.dims {
                self.problems.push(format!(
                    "stage '{}': '{}' ({} {}) cannot feed '{target}' ({} {})",
                    stage.name,
                    output.name,
                    made.dtype,
                    display_dims(&made.dims),
                    fed.dtype,
                    display_dims(&fed.dims)
                ));
            } else {
                self.tensors[from].feeds = Some(to);
            }
        }
    }

    /// Repeated stages stand together.
    fn check_group(&mut self, stages: &[Stage]) {
        let first = stages.iter().position(|stage| stage.repeat);
        let last = stages.iter().rposition(|stage| stage.repeat);
        if let (Some(first), Some(last)) = (first, last) {
            for stage in stages[first..=last].iter().filter(|stage| !stage.repeat) {
                self.problems
                    .push(format!("stage '{}' stands inside the repeated group but does not repeat", stage.name));
            }
        }
        for (stage, input) in stages.iter().flat_map(|stage| stage.inputs.iter().map(move |input| (stage, input))) {
            if input.constants.is_some() && !stage.repeat {
                self.problems.push(format!(
                    "stage '{}': input '{}' has a row of constants per repetition, but the stage does not repeat",
                    stage.name, input.name
                ));
            }
        }
    }

    /// A tensor that is fed exists once: the loop closes by swapping two buffers.
    fn check_fed(&mut self) {
        for from in self.tensors.iter().filter(|tensor| tensor.feeds.is_some()) {
            let Some(fed) = from.feeds.and_then(|to| self.tensors.get(to)) else { continue };
            let all: Vec<String> = self
                .tensors
                .iter()
                .filter(|tensor| tensor.spec.name == fed.spec.name)
                .map(|tensor| format!("{} {}", tensor.spec.dtype, display_dims(&tensor.spec.dims)))
                .collect();
            if all.len() > 1 {
                self.problems.push(format!(
                    "'{}' feeds '{}', which stages read as {}: they have to read it in one type and shape",
                    from.spec.name,
                    fed.spec.name,
                    all.join(" and as ")
                ));
            }
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|tensor| tensor.spec.name == name)
    }
}

/// Equal rank, and no pair of fixed dimensions that differ; a symbol fits anything.
fn compatible(a: &[Dim], b: &[Dim]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|pair| match pair {
            (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
            _ => true,
        })
}

/// As [`compatible`], leading ones of the longer aside: the host's tensors have no batch axis.
fn compatible_but_for_batch(a: &[Dim], b: &[Dim]) -> bool {
    let rank = a.len().min(b.len());
    without_batch(a, rank).zip(without_batch(b, rank)).is_some_and(|(a, b)| compatible(a, b))
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
