//! The `split` layout: `vision`, `language`, `fusion` where the model has such layers, `context`, N times `step`, with all that depends on the step count alone folded into constants.
//!
//! Names at the edges: `pixels` (or `pixels.<camera>` when views differ in size), `image_rows`, `text_rows`,
//! `deepstack_<k>` of layer `k`, `positions`, `backbone_features`, `vl_embs`, `text_index`, `image_index`, `state`, `k<i>` and `v<i>` of cross-attention block `i`,
//! `state_features`, `actions`, `modulation`, `dt`, `strength`, `next_actions`. Keys and values are one tensor a
//! block: a step engine multiplies them where they lie, and a step cut into several engines takes only its own.
//!
//! [`Options::blocks_per_engine`] cuts vision, language, fusion and step into stages `vision_0`, `vision_1` and so on, which
//! hand over `vision.<layer>.<input>`, `language.<layer>`, `fusion.<layer>` and `step.<block>`.
//!
//! Tensors between two stages of the same half-precision type are in that type, all others in single precision
//! ([`Writer::narrow_edges`]).

use std::ops::Range;
use std::path::Path;

use super::layers::step_constants::{ModulationRows, bucket, modulation, time_embedding};
use super::layers::vision::{self, ViewGroup};
use super::layers::{context, fusion, language, step};
use super::layout::{Layout, Network, StageOptions, Writer, euler_steps, sequence, timesteps};
use super::model::Attends;
use super::weights::{Weight, Weights};
use super::{Error, Model, Options, View, tensor_file};

pub use super::layout::{ExportedStage, InputSource};

/// File of the constants that change from step to step.
pub const CONSTANTS: &str = "modulation.safetensors";

/// All stages.
pub const LAYOUT: Layout = Layout {
    name: "split",
    stages: &["vision", "language", "fusion", "context", "step"],
    stacked: false,
    cuts: true,
    backbone: true,
    embedding: true,
    operations: true,
    constants: (CONSTANTS, &["modulation", "dt"]),
    reads: |_| true,
    write: stages,
};

/// Inputs of the vision stage: the stacked views if all have one size, otherwise one input per camera. With frames of several
/// times, stacked images are ordered by time, then view; those of one camera by time.
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
    let images = || views.iter().map(|view| view.images).sum();
    match views {
        [] => Err(Error::Config {
            file: "views".to_owned(),
            key: "cameras".to_owned(),
            expected: "at least one camera".to_owned(),
            found: "none".to_owned(),
        }),
        [first, rest @ ..] if rest.iter().all(|v| (v.width, v.height) == (first.width, first.height)) => {
            Ok(vec![group("pixels".to_owned(), first, images())])
        }
        _ => Ok(views.iter().map(|view| group(format!("pixels.{}", view.camera), view, view.images)).collect()),
    }
}

/// Rows and columns of tokens of every image, in the order of `image_rows`.
pub(crate) fn grids(model: &Model, groups: &[ViewGroup]) -> Vec<(usize, usize)> {
    groups.iter().flat_map(|group| group.cells(&model.vision)).collect()
}

/// Writes the stages and the constants into `dir`.
///
/// # Errors
/// As [`Layout::write_stages`].
pub fn write(
    weights: &dyn Weights,
    model: &Model,
    options: &Options,
    views: &[View],
    dir: &Path,
) -> Result<Vec<ExportedStage>, Error> {
    // No stage reads an id.
    LAYOUT.write_stages(weights, &Network { model, views, image_token: 0 }, options, dir)
}

fn stages(writer: &mut Writer<'_>, network: &Network<'_>) -> Result<(), Error> {
    let (model, options) = (network.model, writer.options);
    let groups = view_groups(model, network.views)?;
    let grids = grids(model, &groups);
    let images = language::rows_of(&grids);
    let text = ("T".to_owned(), options.text);
    let sequence = sequence(options, images);
    narrow_edges(writer, model, &groups);

    let cuts = |blocks| cuts(blocks, options.blocks_per_engine);
    for (suffix, layers) in cuts(model.vision.layers) {
        let place = StageOptions { part: "vision", suffix: &suffix, ..StageOptions::default() };
        writer.stage(place, vec![], |net| vision::vision(net, model, &groups, layers))?;
    }
    for (suffix, layers) in cuts(model.language.layers) {
        // Symbols of this stage's inputs only.
        let text = (layers.start == 0).then(|| text.clone());
        let profile = text.into_iter().chain([sequence.clone()]).collect();
        let place = StageOptions { part: "language", suffix: &suffix, ..StageOptions::default() };
        writer
            .stage(place, profile, |net| language::language(net, model, &grids, layers).map(|output| vec![output]))?;
    }
    if let Some(layers_of_head) = &model.head.fusion {
        for (suffix, layers) in cuts(layers_of_head.layers) {
            let place = StageOptions { part: "fusion", suffix: &suffix, ..StageOptions::default() };
            writer.stage(place, vec![sequence.clone()], |net| {
                fusion::fusion(net, model, layers_of_head, images, layers).map(|output| vec![output])
            })?;
        }
    }
    let place = StageOptions { part: "context", ..StageOptions::default() };
    writer.stage(place, vec![text.clone(), sequence.clone()], |net| context::context(net, model, images))?;
    for (suffix, blocks) in cuts(model.head.blocks) {
        let reads = |rows| blocks.clone().any(|block| model.head.attends(block) == rows);
        let profile = [(Attends::Text, &text), (Attends::All, &sequence)];
        let profile = profile.into_iter().filter(|(rows, _)| reads(*rows)).map(|(_, range)| range.clone()).collect();
        let place = StageOptions { part: "step", suffix: &suffix, repeat: true, ..StageOptions::default() };
        writer.stage(place, profile, |net| step::step(net, model, images, blocks).map(|output| vec![output]))?;
    }
    write_constants(writer.weights, model, options, &writer.dir.join(CONSTANTS))
}

/// Sets the element types of the tensors between the stages.
fn narrow_edges(writer: &mut Writer<'_>, model: &Model, groups: &[ViewGroup]) {
    let most = writer.options.blocks_per_engine;
    let starts = |blocks| cuts(blocks, most).into_iter().skip(1).map(|(_, blocks)| blocks.start);
    for layer in starts(model.vision.layers) {
        writer.narrow_edges(["vision", "vision"], groups.iter().map(|group| vision::between(layer, group)));
    }
    writer.narrow_edges(["vision", "language"], ["image_rows"]);
    writer.narrow_edges(["vision", "language"], (0..model.vision.deepstack.len()).map(vision::deepstack));
    writer.narrow_edges(["language", "language"], starts(model.language.layers).map(language::between));
    match &model.head.fusion {
        Some(layers_of_head) => {
            writer.narrow_edges(["language", "fusion"], ["backbone_features"]);
            writer.narrow_edges(["fusion", "fusion"], starts(layers_of_head.layers).map(fusion::between));
            writer.narrow_edges(["fusion", "context"], ["vl_embs"]);
        }
        None => writer.narrow_edges(["language", "context"], ["vl_embs"]),
    }
    let cross = (0..model.head.blocks).filter(|block| model.head.attends(*block) != Attends::Own);
    writer.narrow_edges(["context", "step"], cross.flat_map(|block| [format!("k{block}"), format!("v{block}")]));
    writer.narrow_edges(["context", "step"], ["state_features"]);
    writer.narrow_edges(["step", "step"], starts(model.head.blocks).map(step::between));
}

/// Ranges of at most `most` blocks with what is appended to the stage's name: nothing when there is one range.
fn cuts(blocks: usize, most: Option<usize>) -> Vec<(String, Range<usize>)> {
    let most = most.unwrap_or(blocks).max(1);
    let suffix = |at: usize| if blocks <= most { String::new() } else { format!("_{at}") };
    let starts = (0..blocks.max(1)).step_by(most);
    starts.enumerate().map(|(at, start)| (suffix(at), start..blocks.min(start + most))).collect()
}

/// `modulation.<n>` `[n, rows, width]` and `dt.<n>` `[n, 1]` for every step count `n`; with debug outputs `timestep.<n>`
/// `[n, 1]` and `temb.<n>` `[n, width]` as well.
fn write_constants(weights: &dyn Weights, model: &Model, options: &Options, path: &Path) -> Result<(), Error> {
    let (rows, width) = (ModulationRows::of(&model.head).total(), model.head.width);
    let mut tensors = Vec::new();
    for (count, table) in modulation(weights, &model.head, options.embodiment, &options.steps)? {
        let n = count as usize;
        let name = format!("modulation.{count}");
        tensors.push(Weight::computed(&name, &[n, rows, width], &table));
        tensors.push(euler_steps(count));
        if options.debug_outputs {
            // No stage reads them: what the modulation was made of.
            let mut embedded = Vec::with_capacity(n * width);
            let times = (0..count).map(|index| bucket(index, count, model.head.timestep_buckets));
            for time in times {
                embedded.extend(time_embedding(weights, &model.head, time as f64)?.iter().map(|value| *value as f32));
            }
            tensors.push(timesteps(&model.head, count));
            tensors.push(Weight::computed(&format!("temb.{count}"), &[n, width], &embedded));
        }
    }
    tensor_file::write(&tensors, path)
}
