//! A checkpoint to a policy bundle: everything that a robot needs, in one folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::checkpoint::{Backbone, Checkpoint, Config, foreign};
use super::expected;
use super::expected::Expected;
use super::family::Family;
use super::layout::{ExportedStage, Layout, Network};
use super::lora::{self, Adapter};
use super::policy_yaml::{Description, POLICY_YAML};
use super::progress::{Metered, Progress};
use super::staging::{self, Staging, require_room};
use super::synthetic_checkpoint::MARK;
use super::weights::{Finite, Weights};
use super::{Error, Model, Options, RopeFrequencies, View, VisionAttention, split, tensor_file};
use vla_base::tensor::DType;
use vla_policy::encode::prompt::save_tokenizer;
use vla_policy::processor::{DeltaRows, Processor, ProcessorConfig, Statistics};

mod adapter;
pub mod embodiment;
mod features;
mod json;
mod layout;
mod letterbox;
mod options;
mod prompts;

pub use adapter::Merged;
pub use features::Features;
pub(crate) use json::write_json;
pub use letterbox::Letterbox;

/// What [`Error::OccupiedFolder`] expects.
const KIND: &str = "a policy bundle";
/// Files of a bundle beside its networks.
const TOKENIZER: &str = "tokenizer.json";
const TEMPLATE: &str = "prompt.json";
const PROCESSOR: &str = "processor_config.json";
const STATISTICS: &str = "statistics.json";
const EMBEDDING: (&str, &str) = ("embedding.safetensors", "embed_tokens");
/// A camera as the robot has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Camera {
    /// Its name in the policy.
    pub name: String,
    /// Width of its frames in pixels.
    pub width: usize,
    /// Height of its frames in pixels.
    pub height: usize,
}

impl FromStr for Camera {
    type Err = String;

    /// `name=WIDTHxHEIGHT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=').and_then(|(name, size)| Some((name, size.split_once('x')?)));
        let size = |text: &str| text.parse::<usize>().ok().filter(|size| *size > 0);
        match parts.map(|(name, (width, height))| (name, size(width), size(height))) {
            Some((name, Some(width), Some(height))) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), width, height })
            }
            _ => Err(format!("expected name=WIDTHxHEIGHT, such as front=640x480, found '{text}'")),
        }
    }
}

/// What is to be exported, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Checkpoint folder.
    pub checkpoint: PathBuf,
    /// Folder of a LoRA adapter that is merged into the checkpoint.
    pub lora: Option<PathBuf>,
    /// Hashes that the files of the weights must have.
    pub expected: Vec<Expected>,
    /// Tokenizer folder, or a `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// The backbone's `config.json`, when it lies elsewhere than beside the tokenizer.
    pub backbone: Option<PathBuf>,
    /// Embodiment tag.
    pub embodiment: String,
    /// The policy's cameras, each once, in any order.
    pub cameras: Vec<Camera>,
    /// Cameras among them whose frames were black in a part of the training data.
    pub blank_views: Vec<String>,
    /// Name of the policy, for people.
    pub name: String,
    /// Comment at the top of `policy.yaml`, one line; `None`: the release that was exported.
    pub about: Option<String>,
    /// How the network is cut into stages.
    pub layout: Layout,
    /// What a row of each action key with `rep: DELTA` is.
    pub deltas: BTreeMap<String, DeltaRows>,
    /// Whether frames are padded to squares.
    pub letterbox: Letterbox,
    /// Seconds between action rows.
    pub step_s: f64,
    /// Denoising step counts that get their constants.
    pub steps: Vec<u32>,
    /// Most text tokens of a prompt, template included.
    pub max_text: usize,
    /// Fewest and most usual text tokens; `None` asks the tokenizer.
    pub usual_text: Option<[usize; 2]>,
    /// Element type of weights and activations.
    pub dtype: DType,
    /// Stages with another element type.
    pub dtype_of: BTreeMap<String, DType>,
    /// What `build` makes of every stage, when not its element type.
    pub precision: Option<String>,
    /// Rotary frequencies.
    pub rope: RopeFrequencies,
    /// What the head takes of the language model.
    pub features: Features,
    /// Scope of the vision attention.
    pub attention: VisionAttention,
    /// Most blocks of vision, language and step in one stage; `None` keeps each in one.
    pub blocks_per_engine: Option<usize>,
    /// Whether products of one input with several weights are one product.
    pub stacked_projections: bool,
    /// Whether inner tensors become outputs too.
    pub debug_outputs: bool,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Fingerprint of the bundle.
    pub fingerprint: String,
    /// Views in the policy's order, at the size that the network takes.
    pub views: Vec<View>,
    /// Whether frames are padded to squares.
    pub letterbox: bool,
    /// Stages in run order that were written, each with the bytes of its files.
    pub stages: Vec<(String, u64)>,
    /// Stages whose network the user provides: the stage, its file, a description.
    pub supplied: Vec<[String; 3]>,
    /// The merged adapter.
    pub merged: Option<Merged>,
}

/// Refuses an `out` that [`write()`] would refuse.
///
/// # Errors
/// [`Error::OccupiedFolder`], [`Error::Output`].
pub fn check_output(out: &Path) -> Result<(), Error> {
    staging::check(out, KIND, POLICY_YAML)
}

/// Writes the bundle to `out`, a new or empty folder or an earlier bundle.
///
/// The files are made beside `out` and moved in at the end, `policy.yaml` last: a folder with a `policy.yaml` is whole.
///
/// # Errors
/// [`Error`]; everything about the request and the checkpoint's files is checked before the first weight is written.
pub fn write(request: &Request, out: &Path, report: &mut dyn FnMut(Progress)) -> Result<Summary, Error> {
    let staging = Staging::beside(out, KIND, POLICY_YAML)?;
    let summary = fill(request, staging.dir(), false, report)?;
    staging.finish()?;
    Ok(summary)
}

/// Fills the folder `dir` with a bundle of measured networks, which runs as
/// any other.
///
/// # Errors
/// As [`write()`].
pub fn fill_measured(request: &Request, dir: &Path, report: &mut dyn FnMut(Progress)) -> Result<Summary, Error> {
    // Whatever the layout: the split one has every part of the network.
    let request = Request { layout: split::LAYOUT, ..request.clone() };
    fill(&request, dir, true, report)
}

fn fill(request: &Request, dir: &Path, measured: bool, report: &mut dyn FnMut(Progress)) -> Result<Summary, Error> {
    let plan = ExportPlan::new(request, &dir.join(TEMPLATE))?;
    if !measured {
        request.letterbox.warn(plan.letterbox_of_file, &request.cameras);
        prompts::warn_of_class(&request.tokenizer);
    }
    let inside = request.tokenizer.join(TOKENIZER);
    match (request.tokenizer.is_file(), inside.is_file()) {
        (true, _) => staging::copy(&request.tokenizer, &dir.join(TOKENIZER))?,
        (false, true) => staging::copy(&inside, &dir.join(TOKENIZER))?,
        (false, false) => save_tokenizer(&request.tokenizer, &dir.join(TOKENIZER))?,
    }
    staging::copy(&plan.processor_dir.join(PROCESSOR), &dir.join(PROCESSOR))?;
    staging::copy(&plan.processor_dir.join(STATISTICS), &dir.join(STATISTICS))?;

    let stages = {
        let merged = plan.adapter.as_ref().map(|adapter| adapter.onto(&plan.checkpoint));
        let source: &dyn Weights = merged.as_ref().map_or(&plan.checkpoint, |merged| merged);
        let finite = Finite::new(source, plan.options.embodiment);
        let weights = Metered::new(&finite, &plan.model, request.layout.reads, report)?;
        let types = std::iter::once(request.dtype).chain(request.dtype_of.values().copied());
        let narrowest = types.map(DType::size).min().unwrap_or_default() as u64;
        require_room(dir, weights.elements().saturating_mul(narrowest))?;
        if request.layout.embedding {
            let mut table = weights.get(&format!("{}.embed_tokens.weight", plan.model.family.weights.decoder))?;
            table.name = EMBEDDING.1.to_owned();
            tensor_file::write(&[table], &dir.join(EMBEDDING.0))?;
        }
        let network = Network { model: &plan.model, views: &plan.views, image_token: plan.prompt.image_token };
        match measured {
            false => request.layout.write_stages(&weights, &network, &plan.options, dir)?,
            true => request.layout.write_measured_stages(&weights, &network, &plan.options, dir)?,
        }
    };
    report(Progress::Fingerprint);
    let merged = plan.adapter.as_ref().map(|adapter| Merged::of(&plan, adapter)).transpose()?;
    let fingerprint = plan.describe(request, merged.as_ref(), &stages, dir)?;
    let written = stages.iter().filter(|stage| stage.supplied.is_none());
    let sizes = written.map(|stage| Ok((stage.name.clone(), bytes_of(stage)?))).collect::<Result<_, Error>>()?;
    let supplied = stages.iter().filter_map(|stage| {
        let file = stage.files.model.file_name()?.to_string_lossy().into_owned();
        Some([stage.name.clone(), file, stage.supplied.clone()?])
    });
    let (views, letterbox) = (plan.views, plan.processor.image.letterbox);
    Ok(Summary { fingerprint, views, letterbox, stages: sizes, supplied: supplied.collect(), merged })
}

/// A request that has passed every check, with its inputs.
struct ExportPlan {
    checkpoint: Checkpoint,
    adapter: Option<Adapter>,
    model: Model,
    /// Where the processor's files are.
    processor_dir: PathBuf,
    processor: Processor,
    /// What the processor's file says about the letterbox.
    letterbox_of_file: Option<bool>,
    views: Vec<View>,
    options: Options,
    prompt: prompts::Prompts,
    default_steps: u32,
}

impl ExportPlan {
    fn new(request: &Request, template: &Path) -> Result<Self, Error> {
        let dir = &request.checkpoint;
        if !request.tokenizer.exists() {
            let path = request.tokenizer.display();
            return Err(Error::Request {
                problems: vec![format!("--tokenizer: expected a tokenizer folder or tokenizer.json, found no {path}")],
            });
        }
        let folders: Vec<&Path> = std::iter::once(dir.as_path()).chain(request.lora.as_deref()).collect();
        lora::refuse_as_checkpoint(dir)?;
        foreign::check(&[&folders[..], &[&request.tokenizer]].concat())?;
        let config = Config::load(&dir.join("config.json"))?;
        let family = config.family;
        let mut model = config.model(&backbone(request, family)?)?;
        model.language.final_norm = request.features.behind_norm(&config, request.layout.backbone)?;
        let processor_dir = request.processor_dir()?;
        let processor_config = ProcessorConfig::load(&processor_dir.join(PROCESSOR))?;
        let rows = model.head.embodiments;
        let row = embodiment::row(&processor_dir, family, &request.embodiment, rows, &processor_config)?;
        let statistics = Statistics::load(&processor_dir.join(STATISTICS))?;
        let mut processor = Processor::new(&processor_config, &statistics, &request.embodiment)?;
        let letterbox_of_file = processor_config.letterbox();
        processor.image.letterbox = request.letterbox.with(letterbox_of_file);

        let mut problems = Vec::new();
        let deltas = processor.set_deltas(&request.deltas, |key, rows| format!("--delta {key}={rows}"));
        problems.extend(deltas.err().into_iter().flatten());
        options::check_family(&model, &processor, &mut problems);
        options::check_sizes(&model, &processor, &mut problems);
        options::check(request, &mut problems);
        let views = options::views(request, &processor, &mut problems);
        options::check_blank_views(request, &processor, &mut problems);
        layout::check(request, &model, &views, &mut problems);
        if !problems.is_empty() {
            return Err(Error::Request { problems });
        }
        split::view_groups(&model, &views)?;
        write_json(&(family.prompt.template)(), template)?;
        let prompt = prompts::prompts(request, &model, &processor, &views, template)?;
        let checkpoint = Checkpoint::open(dir)?;
        checkpoint.check(&model)?;
        let adapter = request.lora.as_ref().map(|folder| Adapter::open(folder, &checkpoint)).transpose()?;
        let files: Vec<(&Path, &[u8])> = checkpoint.files().chain(adapter.as_ref().map(Adapter::file)).collect();
        expected::check(&request.expected, &files, &folders)?;
        // The count of the vendor's own inference is always among them, and the policy's default.
        let usual = u32::try_from(config.inference_steps).ok().filter(|usual| *usual <= options::MOST_STEPS);
        let mut steps = request.steps.clone();
        steps.extend(usual.filter(|usual| !request.steps.contains(usual)));
        let options = Options {
            dtype: request.dtype,
            dtype_of: request.dtype_of.clone(),
            rope: request.rope,
            attention: request.attention,
            steps: steps.clone(),
            embodiment: row,
            text: prompt.text,
            blocks_per_engine: request.blocks_per_engine,
            stacked_projections: request.stacked_projections,
            debug_outputs: request.debug_outputs,
        };
        let default_steps = usual.or(steps.last().copied()).unwrap_or(1);
        Ok(Self {
            checkpoint,
            adapter,
            model,
            processor_dir,
            processor,
            letterbox_of_file,
            views,
            options,
            prompt,
            default_steps,
        })
    }

    /// Writes `policy.yaml`; returns the fingerprint.
    fn describe(
        &self,
        request: &Request,
        merged: Option<&Merged>,
        stages: &[ExportedStage],
        dir: &Path,
    ) -> Result<String, Error> {
        let cameras: Vec<&str> = self.processor.cameras.iter().map(String::as_str).collect();
        let state: Vec<_> = self.processor.state.iter().map(|key| (key.name.as_str(), key.width)).collect();
        let action: Vec<_> = self.processor.action.iter().map(|key| (key.name.as_str(), key.decoded_width())).collect();
        let exported = format!("{}, exported from a checkpoint.", self.model.family.title());
        let description = Description {
            about: request.about.as_deref().unwrap_or(&exported),
            merged: merged.map(|merged| merged.fingerprint.as_str()),
            name: &request.name,
            random_weights: request.checkpoint.join(MARK).is_file(),
            cameras: &cameras,
            blank_views: &request.blank_views,
            video_history: &self.processor.video_deltas,
            state: &state,
            action_keys: &action,
            deltas: &request.deltas,
            step_s: request.step_s,
            horizon: self.model.head.horizon,
            rows: self.processor.rows(),
            dims: self.model.head.action_dims,
            tokenizer: TOKENIZER,
            template: TEMPLATE,
            max_tokens: self.options.text[2],
            embedding: request.layout.embedding.then_some(EMBEDDING),
            config: PROCESSOR,
            statistics: STATISTICS,
            embodiment: (&request.embodiment, self.options.embodiment),
            letterbox: self.processor.image.letterbox,
            steps: &self.options.steps,
            default_steps: self.default_steps,
            precision: request.precision.as_deref(),
        };
        description.write(stages, dir)
    }
}

/// The backbone's sizes: the file that was named, else one beside the tokenizer, else the release's own.
fn backbone(request: &Request, family: &'static Family) -> Result<Backbone, Error> {
    if let Some(path) = &request.backbone {
        return Backbone::load(family, path);
    }
    let folder =
        if request.tokenizer.is_dir() { Some(request.tokenizer.as_path()) } else { request.tokenizer.parent() };
    let beside = folder.map(|folder| Backbone::find(family, &folder.join("config.json"))).transpose()?.flatten();
    Ok(beside.unwrap_or_else(|| Backbone::released(family)))
}

/// Bytes of a stage's files.
fn bytes_of(stage: &ExportedStage) -> Result<u64, Error> {
    let mut sum = 0;
    for path in std::iter::once(&stage.files.model).chain(&stage.files.data) {
        sum += fs::metadata(path).map_err(Error::io(path))?.len();
    }
    Ok(sum)
}
