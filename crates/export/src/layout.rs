//! Layouts: how a network is cut into the stages of a policy, and the list of stages that a layout writes.
//!
//! A [`Layout`] is a value. [`super::split`], [`super::backbone_dit`] and [`super::vendor`] hold those that there are.

use std::collections::BTreeMap;
use std::path::Path;

use super::layers::Net;
use super::layers::step_constants::bucket;
use super::layers::vision::ViewGroup;
use super::model::Head;
use super::onnx::graph::GraphFiles;
use super::onnx::{Graph, Value};
use super::weights::{Weight, Weights};
use super::{Error, Model, Options, View, operations, tensor_file};
use vla_base::tensor::{DType, Dim, TensorSpec};

/// Fewest, most usual and most of a symbolic dimension.
pub type Range = (String, [usize; 3]);

/// A way to cut the network.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// Stages whose element type can be chosen individually.
    pub stages: &'static [&'static str],
    /// Whether all views go into one tensor and so have one size.
    pub stacked: bool,
    /// Whether stages can be cut into several.
    pub cuts: bool,
    /// Whether it writes the backbone: vision tower and language model.
    pub backbone: bool,
    /// Whether rows of the token embedding are gathered on the host.
    pub embedding: bool,
    /// Whether each network's list of fused operations is written beside it.
    pub operations: bool,
    /// File of the constants that change from step to step, and its tensors.
    pub constants: (&'static str, &'static [&'static str]),
    /// Which weights it reads.
    pub reads: fn(&str) -> bool,
    /// Writes the stages.
    pub write: fn(&mut Writer<'_>, &Network<'_>) -> Result<(), Error>,
}

/// The network that is cut.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// Sizes.
    pub model: &'a Model,
    /// Views in the policy's order.
    pub views: &'a [View],
    /// Id of the token that image rows replace.
    pub image_token: i32,
}

/// One stage as written: its files and its edges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportedStage {
    /// Name of the stage.
    pub name: String,
    /// Model and weights.
    pub files: GraphFiles,
    /// For a network that the user provides: description and expected source.
    pub supplied: Option<String>,
    /// Element type of its weights and activations; of its edges when it is supplied.
    pub dtype: DType,
    /// Whether it runs once a denoising step.
    pub repeat: bool,
    /// Inputs by the policy's names and where they come from.
    pub inputs: Vec<(TensorSpec, InputSource)>,
    /// Outputs by the policy's names, and the input that an output feeds at the next repetition.
    pub outputs: Vec<(TensorSpec, Option<String>)>,
    /// The network's names that differ from the policy's.
    pub rename: Vec<(String, String)>,
    /// Fewest, most usual and most of each symbolic dimension.
    pub profile: Vec<Range>,
}

/// Where a stage's input comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InputSource {
    /// Encode on the host.
    Host,
    /// A stage before it.
    Stage,
    /// One row a repetition from a file of constants.
    Constants(&'static str),
}

/// Name of a stage and how it runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageOptions<'a> {
    /// Name without the suffix of a divided stage; selects the element type.
    pub part: &'a str,
    /// Appended to the name.
    pub suffix: &'a str,
    /// Whether it runs once a denoising step.
    pub repeat: bool,
    /// The network's names that differ from the policy's, with those.
    pub rename: &'a [(&'a str, &'a str)],
}

/// A network that is not in the bundle; the user provides it.
pub struct SuppliedNetwork<'a> {
    /// File that is expected in the bundle.
    pub file: &'a str,
    /// Description and expected source.
    pub what: &'a str,
    /// Inputs by the policy's names.
    pub inputs: Vec<TensorSpec>,
    /// Outputs by the policy's names.
    pub outputs: Vec<TensorSpec>,
}

impl Layout {
    /// Writes the stages and the constants into `dir`.
    ///
    /// # Errors
    /// [`Error`] of a weight, the views or a file.
    pub fn write_stages(
        &self,
        weights: &dyn Weights,
        network: &Network<'_>,
        options: &Options,
        dir: &Path,
    ) -> Result<Vec<ExportedStage>, Error> {
        self.write(weights, network, options, dir, false)
    }

    /// As [`Self::write_stages`], with [measured](Graph::measured) graphs: in half precision by name, in single precision
    /// by storage, and with an output `absmax.<stage>`.
    ///
    /// # Errors
    /// As [`Self::write_stages`].
    pub(crate) fn write_measured_stages(
        &self,
        weights: &dyn Weights,
        network: &Network<'_>,
        options: &Options,
        dir: &Path,
    ) -> Result<Vec<ExportedStage>, Error> {
        self.write(weights, network, options, dir, true)
    }

    fn write(
        &self,
        weights: &dyn Weights,
        network: &Network<'_>,
        requested: &Options,
        dir: &Path,
        measured: bool,
    ) -> Result<Vec<ExportedStage>, Error> {
        let half = measured.then(|| Options { dtype: DType::F16, dtype_of: BTreeMap::new(), ..requested.clone() });
        let options = half.as_ref().unwrap_or(requested);
        let (edges, stages) = (BTreeMap::new(), Vec::new());
        let mut writer = Writer { layout: self, weights, options, requested, dir, measured, edges, stages };
        (self.write)(&mut writer, network)?;
        Ok(writer.stages)
    }
}

/// The list of stages under construction.
pub struct Writer<'a> {
    layout: &'a Layout,
    /// Where weights come from.
    pub weights: &'a dyn Weights,
    /// The switches.
    pub options: &'a Options,
    /// The switches as requested: graphs that are measured are all built as in half precision.
    requested: &'a Options,
    /// Where files go.
    pub dir: &'a Path,
    /// Whether graphs record the largest magnitude of their tensors.
    measured: bool,
    /// Element types of the tensors between stages that are not in single precision.
    edges: BTreeMap<String, DType>,
    /// Written so far, in run order.
    pub stages: Vec<ExportedStage>,
}

impl Writer<'_> {
    /// Element type of a stage.
    pub fn dtype(&self, part: &str) -> DType {
        self.options.dtype_of(part)
    }

    /// Says that tensors between stages are in the element type of stage `part`, which is supplied.
    pub fn edges(&mut self, part: &str, tensors: &[&str]) {
        let dtype = self.dtype(part);
        self.edges.extend(tensors.iter().map(|name| ((*name).to_owned(), dtype)));
    }

    /// Says that stage `reader` alone reads `tensors` of stage `maker`. Where both are exported in the same half-precision
    /// type the tensors are in that type, else in single precision. No value changes: each was in the maker's type before
    /// it was converted, and is in the reader's type after it.
    pub fn narrow_edges<T: Into<String>>(&mut self, [maker, reader]: [&str; 2], tensors: impl IntoIterator<Item = T>) {
        let dtype = self.requested.dtype_of(maker);
        // A measured graph holds half precision in single precision, but bfloat16 as it is.
        let narrow = dtype == DType::F16 || (dtype == DType::BF16 && !self.measured);
        if narrow && self.requested.dtype_of(reader) == dtype {
            self.edges.extend(tensors.into_iter().map(|name| (name.into(), dtype)));
        }
    }

    /// A tensor between stages, in its edge's element type.
    pub fn between(&self, name: &str, dims: Vec<Dim>) -> TensorSpec {
        let dtype = self.edges.get(name).copied().unwrap_or(DType::F32);
        TensorSpec { name: name.to_owned(), dtype, dims }
    }

    /// Writes a stage; `build` makes its outputs.
    ///
    /// # Errors
    /// Of `build`, or of the files.
    pub fn stage(
        &mut self,
        place: StageOptions<'_>,
        profile: Vec<Range>,
        build: impl FnOnce(&mut Net<'_>) -> Result<Vec<(String, Value)>, Error>,
    ) -> Result<(), Error> {
        let name = format!("{}{}", place.part, place.suffix);
        let dtype = self.dtype(place.part);
        let options = Options { dtype, ..self.options.clone() };
        let mut graph = Graph::new(&name, &self.dir.join(format!("{name}.onnx")));
        if self.measured {
            graph.measured();
        }
        let mut net = Net { graph: &mut graph, weights: self.weights, options: &options, edges: &self.edges };
        for (name, value) in build(&mut net)? {
            let value = net.graph.cast(&value, net.edge(&name));
            net.graph.output(&name, &value)?;
        }
        graph.add_activation_ranges()?;
        let mut stage = ExportedStage {
            dtype,
            repeat: place.repeat,
            inputs: Vec::new(),
            outputs: Vec::new(),
            rename: place.rename.iter().map(|(network, policy)| ((*network).into(), (*policy).into())).collect(),
            profile,
            supplied: None,
            files: GraphFiles { model: self.dir.to_path_buf(), data: None },
            name,
        };
        let policy_name = |mut spec: TensorSpec| {
            if let Some((_, policy)) = place.rename.iter().find(|(network, _)| *network == spec.name) {
                spec.name = (*policy).to_owned();
            }
            spec
        };
        self.join(
            &mut stage,
            graph.inputs().into_iter().map(policy_name),
            graph.outputs().into_iter().map(policy_name),
        );
        // Those of a network with outputs for measurements would be none that runs on a robot.
        let listed = self.layout.operations && !self.measured && !options.debug_outputs;
        let program = if listed { Some(operations::program(&graph)?) } else { None };
        stage.files = graph.finish()?;
        if let Some(program) = program {
            operations::write(program, &stage.name, &stage.files.model)?;
        }
        self.stages.push(stage);
        Ok(())
    }

    /// Adds a stage whose network is supplied.
    pub fn supplied(&mut self, place: StageOptions<'_>, profile: Vec<Range>, network: SuppliedNetwork<'_>) {
        let mut stage = ExportedStage {
            name: place.part.to_owned(),
            files: GraphFiles { model: self.dir.join(network.file), data: None },
            supplied: Some(network.what.to_owned()),
            dtype: self.dtype(place.part),
            repeat: place.repeat,
            inputs: Vec::new(),
            outputs: Vec::new(),
            rename: place.rename.iter().map(|(network, policy)| ((*network).into(), (*policy).into())).collect(),
            profile,
        };
        self.join(&mut stage, network.inputs.into_iter(), network.outputs.into_iter());
        self.stages.push(stage);
    }

    /// Sets the source of each input and the destination of each output.
    fn join(
        &self,
        stage: &mut ExportedStage,
        inputs: impl Iterator<Item = TensorSpec>,
        outputs: impl Iterator<Item = TensorSpec>,
    ) {
        let made = |name: &str| self.stages.iter().any(|stage| stage.outputs.iter().any(|(made, _)| made.name == name));
        let (file, constants) = self.layout.constants;
        stage.inputs = inputs
            .map(|input| {
                let source = match input.name.as_str() {
                    name if constants.contains(&name) => InputSource::Constants(file),
                    name if made(name) => InputSource::Stage,
                    _ => InputSource::Host,
                };
                (input, source)
            })
            .collect();
        let repeat = stage.repeat;
        let feeds = |output: &TensorSpec| (repeat && output.name == "next_actions").then(|| "actions".to_owned());
        stage.outputs = outputs.map(|output| (output.clone(), feeds(&output))).collect();
    }
}

/// File and tensors of `write_steps`.
pub const STEPS: (&str, &[&str]) = ("steps.safetensors", &["timestep", "dt"]);

/// `timestep.<n>` INT32 `[n, 1]` and `dt.<n>` `[n, 1]` for every step count `n`.
///
/// # Errors
/// Of the file.
pub(crate) fn write_steps(head: &Head, options: &Options, dir: &Path) -> Result<(), Error> {
    let mut tensors = Vec::new();
    for &count in &options.steps {
        tensors.push(timesteps(head, count));
        tensors.push(euler_steps(count));
    }
    tensor_file::write(&tensors, &dir.join(STEPS.0))
}

/// `timestep.<n>` `[n, 1]`: the time bucket of every step.
pub fn timesteps(head: &Head, count: u32) -> Weight<'static> {
    let times = (0..count).map(|index| bucket(index, count, head.timestep_buckets));
    let times: Vec<i32> = times.map(|time| i32::try_from(time).unwrap_or(i32::MAX)).collect();
    Weight::whole(&format!("timestep.{count}"), &[count as usize, 1], &times)
}

/// `dt.<n>` `[n, 1]`.
pub(crate) fn euler_steps(count: u32) -> Weight<'static> {
    let n = count as usize;
    Weight::computed(&format!("dt.{count}"), &[n, 1], &vec![(1.0 / f64::from(count)) as f32; n])
}

/// Range of the symbol `S`, all tokens of a prompt, with this many image rows.
pub fn sequence(options: &Options, images: usize) -> Range {
    ("S".to_owned(), options.text.map(|text| text + images))
}

/// All views as one input `[views, 3, height, width]` called `input`.
///
/// # Errors
/// [`Error::Config`] for sizes that are no multiples of two patches, or that differ.
pub fn stacked(model: &Model, views: &[View], input: &str) -> Result<ViewGroup, Error> {
    match super::split::view_groups(model, views)?.as_slice() {
        [group] => Ok(ViewGroup { input: input.to_owned(), ..group.clone() }),
        _ => Err(Error::Config {
            file: "views".to_owned(),
            key: "cameras".to_owned(),
            expected: "one final size, as all views go into one tensor".to_owned(),
            found: sizes(views),
        }),
    }
}

/// `front 336x252, wrist 448x252`
pub fn sizes(views: &[View]) -> String {
    let sizes: Vec<String> =
        views.iter().map(|view| format!("{} {}x{}", view.camera, view.width, view.height)).collect();
    sizes.join(", ")
}

/// `[1, S]`: one value a token.
pub fn ids() -> [Dim; 2] {
    [Dim::Fixed(1), Dim::Symbol("S".to_owned())]
}

/// `[1, S, channels]`: one row a token.
pub fn rows(channels: usize) -> [Dim; 3] {
    [Dim::Fixed(1), Dim::Symbol("S".to_owned()), Dim::Fixed(channels)]
}

/// A tensor that the host makes.
pub fn spec(name: &str, dtype: DType, dims: &[Dim]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, dims: dims.to_vec() }
}

/// Outputs of a stage.
pub fn named<const N: usize>(outputs: [(&str, Value); N]) -> Vec<(String, Value)> {
    outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
