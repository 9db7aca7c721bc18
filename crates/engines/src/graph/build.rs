//! Connects the stages, and collects every reason why they do not fit together.

use super::{Graph, GraphNode, GraphTensor, Input, Problem, Role, Stage, TensorOrigin, TypeAndShape};
use crate::{Error, profile};
use vla_base::tensor::{DType, Dim, TensorSpec, without_batch};

impl Graph {
    /// Connects `stages` (in run order) with the tensors of their `networks` and the tensors that the host offers.
    /// `narrows_int64`: the engines have 32-bit integers where networks have 64-bit ones.
    ///
    /// # Errors
    /// [`Error::Graph`] with every problem.
    pub(crate) fn build(
        stages: &[Stage],
        networks: &[(&[TensorSpec], &[TensorSpec])],
        host: &[TensorSpec],
        narrows_int64: bool,
    ) -> Result<Self, Error> {
        let mut builder = GraphBuilder { host, narrows_int64, tensors: Vec::new(), problems: Vec::new() };
        let nodes = stages.iter().zip(networks).map(|(stage, network)| builder.node(stage, *network)).collect();
        builder.close_loops(stages);
        builder.check_loop_types();
        builder.check_group(stages);
        if builder.problems.is_empty() {
            Ok(Self { tensors: builder.tensors, stages: nodes })
        } else {
            Err(Error::Graph { problems: builder.problems })
        }
    }
}

struct GraphBuilder<'a> {
    host: &'a [TensorSpec],
    narrows_int64: bool,
    tensors: Vec<GraphTensor>,
    problems: Vec<Problem>,
}

impl GraphBuilder<'_> {
    fn node(&mut self, stage: &Stage, (inputs, outputs): (&[TensorSpec], &[TensorSpec])) -> GraphNode {
        let described = |spec: &&TensorSpec| !stage.inputs.iter().any(|input| input.tensor == spec.name);
        let extra = inputs.iter().filter(described);
        let extra = extra.map(|input| Problem::UndescribedInput { stage: stage.name.clone(), input: input.clone() });
        self.problems.extend(extra);
        let mut node = GraphNode {
            name: stage.name.clone(),
            repeat: stage.repeat,
            inputs: Vec::new(),
            outputs: Vec::new(),
            verified: None,
        };
        for input in &stage.inputs {
            let Some(spec) = self.network_tensor(stage, Role::Input, &input.tensor, inputs) else { continue };
            // Host tensors are converted when they are written.
            let made = self.find(&input.name).is_some_and(|index| self.tensors[index].origin == TensorOrigin::Stage);
            let expected = input.dtype.filter(|dtype| made || !dtype.converts_to(spec.dtype));
            self.compare(stage, &input.tensor, spec, expected, input.dims.as_deref());
            if let Some(index) = self.origin_of(stage, input, spec) {
                node.inputs.push((input.tensor.clone(), index));
            }
        }
        for output in &stage.outputs {
            let Some(spec) = self.network_tensor(stage, Role::Output, &output.tensor, outputs) else { continue };
            self.compare(stage, &output.tensor, spec, output.dtype, output.dims.as_deref());
            if self.find(&output.name).is_some() {
                let (stage, output) = (stage.name.clone(), output.name.clone());
                self.problems.push(Problem::DuplicateOutput { stage, output });
                continue;
            }
            let dims = output.dims.clone().unwrap_or_else(|| spec.dims.clone());
            let spec = TensorSpec { name: output.name.clone(), dtype: spec.dtype, dims };
            node.outputs.push((output.tensor.clone(), self.tensors.len()));
            self.tensors.push(GraphTensor { spec, origin: TensorOrigin::Stage, carried_to: None });
        }
        node
    }

    fn network_tensor<'n>(
        &mut self,
        stage: &Stage,
        role: Role,
        tensor: &str,
        network: &'n [TensorSpec],
    ) -> Option<&'n TensorSpec> {
        let found = network.iter().find(|spec| spec.name == tensor);
        if found.is_none() {
            self.problems.push(Problem::MissingTensor {
                stage: stage.name.clone(),
                file: stage.file.clone(),
                role,
                tensor: tensor.to_owned(),
                found: network.iter().map(|spec| spec.name.clone()).collect(),
            });
        }
        found
    }

    /// Compares the network's tensor with the description.
    fn compare(&mut self, stage: &Stage, tensor: &str, spec: &TensorSpec, dtype: Option<DType>, dims: Option<&[Dim]>) {
        let (stage, tensor) = (stage.name.clone(), tensor.to_owned());
        if let Some(described) = dtype.filter(|dtype| !profile::same_type(*dtype, spec.dtype, self.narrows_int64)) {
            let (stage, tensor) = (stage.clone(), tensor.clone());
            self.problems.push(Problem::DescribedType { stage, tensor, described, network: spec.dtype });
        }
        if let Some(dims) = dims.filter(|dims| !compatible(dims, &spec.dims)) {
            let (described, network) = (dims.to_vec(), spec.dims.clone());
            self.problems.push(Problem::DescribedShape { stage, tensor, described, network });
        }
    }

    /// The tensor that `input` reads, added when it is new.
    fn origin_of(&mut self, stage: &Stage, input: &Input, spec: &TensorSpec) -> Option<usize> {
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
            && self.tensors[first].origin == TensorOrigin::Stage
        {
            self.problems.push(Problem::BetweenStages {
                stage: stage.name.clone(),
                input: input.name.clone(),
                read: TypeAndShape { dtype: spec.dtype, dims },
                made: TypeAndShape::of(&self.tensors[first].spec),
            });
            return Some(first);
        }
        let origin = if let Some(file) = &input.constants {
            TensorOrigin::Constants(file.clone())
        } else if self.check_host(stage, input, spec.dtype, &dims) {
            TensorOrigin::Host
        } else {
            return None;
        };
        let spec = TensorSpec { name: input.name.clone(), dtype: spec.dtype, dims };
        self.tensors.push(GraphTensor { spec, origin, carried_to: None });
        Some(self.tensors.len() - 1)
    }

    fn check_host(&mut self, stage: &Stage, input: &Input, dtype: DType, dims: &[Dim]) -> bool {
        let (stage, name) = (stage.name.clone(), input.name.clone());
        let Some(offered) = self.host.iter().find(|spec| spec.name == name) else {
            let host = self.host.iter().map(|spec| spec.name.clone()).collect();
            self.problems.push(Problem::NoProducer { stage, input: name, host });
            return false;
        };
        if !compatible_but_for_batch(&offered.dims, dims) || !offered.dtype.converts_to(dtype) {
            let (read, made) = (TypeAndShape { dtype, dims: dims.to_vec() }, TypeAndShape::of(offered));
            self.problems.push(Problem::HostInput { stage, input: name, read, made });
        }
        true
    }

    fn close_loops(&mut self, stages: &[Stage]) {
        for (stage, output) in stages.iter().flat_map(|stage| stage.outputs.iter().map(move |output| (stage, output))) {
            let Some(target) = output.feeds.clone() else { continue };
            let (repeat, stage, output) = (stage.repeat, stage.name.clone(), output.name.clone());
            let (Some(from), Some(to)) = (self.find(&output), self.find(&target)) else {
                self.problems.push(Problem::LoopTarget { stage, output, target });
                continue;
            };
            let (made, read) = (&self.tensors[from].spec, &self.tensors[to].spec);
            if !repeat {
                self.problems.push(Problem::LoopOutsideGroup { stage, output, target });
            } else if made.dtype != read.dtype || made.dims != read.dims {
                let (made, read) = (TypeAndShape::of(made), TypeAndShape::of(read));
                self.problems.push(Problem::LoopShape { stage, output, made, target, read });
            } else {
                self.tensors[from].carried_to = Some(to);
            }
        }
    }

    /// Repeated stages are consecutive.
    fn check_group(&mut self, stages: &[Stage]) {
        let first = stages.iter().position(|stage| stage.repeat);
        let last = stages.iter().rposition(|stage| stage.repeat);
        if let (Some(first), Some(last)) = (first, last) {
            let gaps = stages[first..=last].iter().filter(|stage| !stage.repeat);
            self.problems.extend(gaps.map(|stage| Problem::GroupGap { stage: stage.name.clone() }));
        }
        for stage in stages.iter().filter(|stage| !stage.repeat) {
            let constants = stage.inputs.iter().filter(|input| input.constants.is_some());
            self.problems.extend(
                constants.map(|input| Problem::ConstantsOutsideGroup {
                    stage: stage.name.clone(),
                    input: input.name.clone(),
                }),
            );
        }
    }

    /// The target of a loop-carried output is one tensor: the loop closes by swapping two buffers.
    fn check_loop_types(&mut self) {
        for from in &self.tensors {
            let Some(target) = from.carried_to.and_then(|to| self.tensors.get(to)) else { continue };
            let same_name = self.tensors.iter().filter(|tensor| tensor.spec.name == target.spec.name);
            let read: Vec<TypeAndShape> = same_name.map(|tensor| TypeAndShape::of(&tensor.spec)).collect();
            if read.len() > 1 {
                let (output, target) = (from.spec.name.clone(), target.spec.name.clone());
                self.problems.push(Problem::LoopTypes { output, target, read });
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

/// As [`compatible`], without the leading ones of the longer: host tensors have no batch axis.
fn compatible_but_for_batch(a: &[Dim], b: &[Dim]) -> bool {
    let rank = a.len().min(b.len());
    without_batch(a, rank).zip(without_batch(b, rank)).is_some_and(|(a, b)| compatible(a, b))
}
