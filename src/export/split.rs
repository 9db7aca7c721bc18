//! The `split` layout: `vision`, `language`, `context`, N times `step`, with everything hoisted that can be.
//!
//! Names at the edges: `pixels` (or `pixels.<camera>` when views differ in size), `image_rows`, `text_rows`,
//! `positions`, `vl_embs`, `text_index`, `image_index`, `state`, `k<i>` and `v<i>` of cross-attention block `i`,
//! `state_features`, `actions`, `modulation`, `dt`, `strength`, `next_actions`. Keys and values are one tensor a
//! block: a step engine multiplies them where they lie, and a step cut into several engines takes only its own.
//!
//! [`Options::blocks_per_engine`] cuts vision, language and step into stages `vision_0`, `vision_1` and so on, which
//! hand over `vision.<layer>.<input>`, `language.<layer>` and `step.<block>` in single precision.

use std::ops::Range;
use std::path::Path;

use super::layers::hoist::{ModulationRows, modulation};
use super::layers::vision::{ViewGroup, vision};
use super::layers::{Net, context, language, step};
use super::model::Attends;
use super::onnx::graph::GraphFiles;
use super::onnx::{Graph, Value};
use super::weights::{Weight, Weights};
use super::{Error, Model, Options, View, tensor_file};
use crate::tensor::{DType, TensorSpec};

/// Names of the stages, in run order.
pub const STAGES: [&str; 4] = ["vision", "language", "context", "step"];
/// File of the constants that change from step to step.
pub const CONSTANTS: &str = "modulation.safetensors";

/// One stage as written: its files and its edges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// Name of the stage.
    pub name: String,
    /// Model and weights.
    pub files: GraphFiles,
    /// Element type of its weights and activations.
    pub dtype: DType,
    /// Whether it runs once a denoising step.
    pub repeat: bool,
    /// Inputs and where they come from.
    pub inputs: Vec<(TensorSpec, Source)>,
    /// Outputs, and the input that an output feeds at the next repetition.
    pub outputs: Vec<(TensorSpec, Option<String>)>,
    /// Fewest, most usual and most of each symbolic dimension.
    pub profile: Vec<(String, [usize; 3])>,
}

/// Where a stage's input comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Encode on the host.
    Host,
    /// A stage before it.
    Stage,
    /// One row a repetition from a file of constants.
    Constants(&'static str),
}

/// The views as the vision stage takes them: stacked when all have one size, else one input a camera.
pub fn view_groups(model: &Model, views: &[View]) -> Result<Vec<ViewGroup>, Error> {
    let cell = 2 * model.vision.patch;
    for view in views {
        if view.width == 0 || view.height == 0 || view.width % cell != 0 || view.height % cell != 0 {
            return Err(Error::Config {
                file: "views".to_owned(),
                key: view.camera.clone(),
                expected: format!("width and height in positive multiples of {cell}"),
                found: format!("{}x{}", view.width, view.height),
            });
        }
    }
    let group = |input: String, view: &View, views| ViewGroup { input, views, height: view.height, width: view.width };
    match views {
        [] => Err(Error::Config {
            file: "views".to_owned(),
            key: "cameras".to_owned(),
            expected: "at least one camera".to_owned(),
            found: "none".to_owned(),
        }),
        [first, rest @ ..] if rest.iter().all(|v| (v.width, v.height) == (first.width, first.height)) => {
            Ok(vec![group("pixels".to_owned(), first, views.len())])
        }
        _ => Ok(views.iter().map(|view| group(format!("pixels.{}", view.camera), view, 1)).collect()),
    }
}

/// Writes the stages and the constants into `dir`.
pub fn write(
    weights: &dyn Weights,
    model: &Model,
    options: &Options,
    views: &[View],
    dir: &Path,
) -> Result<Vec<Stage>, Error> {
    let writer = Writer { weights, options, dir, measured: false };
    write_stages(&writer, model, views)
}

/// As [`write()`], with [measured](Graph::measured) graphs: in half precision by name, in single precision by storage,
/// and with an output `absmax.<stage>`.
pub fn write_measured(
    weights: &dyn Weights,
    model: &Model,
    options: &Options,
    views: &[View],
    dir: &Path,
) -> Result<Vec<Stage>, Error> {
    let options = Options { dtype: DType::F16, dtype_of: Default::default(), ..options.clone() };
    let writer = Writer { weights, options: &options, dir, measured: true };
    write_stages(&writer, model, views)
}

fn write_stages(writer: &Writer<'_>, model: &Model, views: &[View]) -> Result<Vec<Stage>, Error> {
    let Writer { weights, options, dir, .. } = *writer;
    let groups = view_groups(model, views)?;
    let images: usize = groups.iter().map(|group| group.rows(&model.vision)).sum();
    let [fewest, usual, most] = options.text;
    let text = ("T".to_owned(), options.text);
    let sequence = ("S".to_owned(), [fewest + images, usual + images, most + images]);

    let mut stages = Vec::new();
    let cuts = |blocks| cuts(blocks, options.blocks_per_engine);
    for (at, layers) in cuts(model.vision.layers) {
        writer.stage(&mut stages, "vision", &at, vec![], |net| vision(net, model, &groups, layers))?;
    }
    for (at, layers) in cuts(model.language.layers) {
        // Symbols of the stage's own inputs alone.
        let text = (layers.start == 0).then(|| text.clone());
        let profile = text.into_iter().chain([sequence.clone()]).collect();
        writer.stage(&mut stages, "language", &at, profile, |net| {
            language::language(net, model, images, layers).map(|output| vec![output])
        })?;
    }
    writer
        .stage(&mut stages, "context", "", vec![text.clone(), sequence], |net| context::context(net, model, images))?;
    let first_step = stages.len();
    for (at, blocks) in cuts(model.head.blocks) {
        let reads_text = blocks.clone().any(|block| model.head.attends(block) == Attends::Text);
        let profile = reads_text.then(|| text.clone()).into_iter().collect();
        writer.stage(&mut stages, "step", &at, profile, |net| {
            step::step(net, model, images, blocks).map(|output| vec![output])
        })?;
    }
    for step in stages.iter_mut().skip(first_step) {
        step.repeat = true;
        for (output, feeds) in &mut step.outputs {
            *feeds = (output.name == "next_actions").then(|| "actions".to_owned());
        }
    }
    write_constants(weights, model, options, &dir.join(CONSTANTS))?;
    Ok(stages)
}

/// Ranges of at most `most` blocks with what is appended to the stage's name: nothing when there is one range.
fn cuts(blocks: usize, most: Option<usize>) -> Vec<(String, Range<usize>)> {
    let most = most.unwrap_or(blocks).max(1);
    let suffix = |at: usize| if blocks <= most { String::new() } else { format!("_{at}") };
    let starts = (0..blocks.max(1)).step_by(most);
    starts.enumerate().map(|(at, start)| (suffix(at), start..blocks.min(start + most))).collect()
}

struct Writer<'a> {
    weights: &'a dyn Weights,
    options: &'a Options,
    dir: &'a Path,
    measured: bool,
}

impl Writer<'_> {
    fn stage(
        &self,
        stages: &mut Vec<Stage>,
        part: &str,
        suffix: &str,
        profile: Vec<(String, [usize; 3])>,
        build: impl FnOnce(&mut Net<'_>) -> Result<Vec<(String, Value)>, Error>,
    ) -> Result<(), Error> {
        let name = format!("{part}{suffix}");
        let dtype = self.options.dtype_of.get(part).copied().unwrap_or(self.options.dtype);
        let options = Options { dtype, ..self.options.clone() };
        let mut graph = Graph::new(&name, &self.dir.join(format!("{name}.onnx")));
        if self.measured {
            graph.measured();
        }
        let mut net = Net { graph: &mut graph, weights: self.weights, options: &options };
        for (name, value) in build(&mut net)? {
            let value = net.graph.cast(&value, DType::F32);
            net.graph.output(&name, &value)?;
        }
        graph.absmax()?;
        let made = |name: &str| stages.iter().any(|stage| stage.outputs.iter().any(|(output, _)| output.name == name));
        let source = |input: &TensorSpec| match input.name.as_str() {
            "modulation" | "dt" => Source::Constants(CONSTANTS),
            name if made(name) => Source::Stage,
            _ => Source::Host,
        };
        let inputs = graph.inputs().into_iter().map(|input| (input.clone(), source(&input))).collect();
        let outputs = graph.outputs().into_iter().map(|output| (output, None)).collect();
        let files = graph.finish()?;
        stages.push(Stage { name, files, dtype, repeat: false, inputs, outputs, profile });
        Ok(())
    }
}

/// `modulation.<n>` `[n, rows, width]` and `dt.<n>` `[n, 1]` for every step count `n`.
fn write_constants(weights: &dyn Weights, model: &Model, options: &Options, path: &Path) -> Result<(), Error> {
    let (rows, width) = (ModulationRows::of(&model.head).total(), model.head.width);
    let mut tensors = Vec::new();
    for (count, table) in modulation(weights, &model.head, options.embodiment, &options.steps)? {
        let n = count as usize;
        let name = format!("modulation.{count}");
        tensors.push(Weight::computed(&name, &[n, rows, width], &table));
        tensors.push(Weight::computed(&format!("dt.{count}"), &[n, 1], &vec![(1.0 / f64::from(count)) as f32; n]));
    }
    tensor_file::write(&tensors, path)
}
