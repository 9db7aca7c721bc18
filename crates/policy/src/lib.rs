//! A policy: encode, run the engines, decode. No clock, no I/O, no spawn inside [`Policy::infer`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::observation::{JointMap, Observation, PoseMap};
use vla_base::tensor::{HostTensor, TensorSpec};
use vla_engines as engine;
use vla_engines::{Admission, EngineKind, Inference, Launch, LoadEvent, StageReport, StageTime, Symbols};
use vla_messages as message;
use vla_motion::Chunk;

mod bundle;
mod columns;
pub mod decode;
mod embedding;
pub mod encode;
mod error;
mod files;
mod fingerprint;
mod frames;
mod guide;
mod host;
pub mod inspect;
mod instruction;
mod noise;
pub mod observation;
mod plausible;
pub mod processor;
pub mod spec;
mod state;
mod text;
mod views;

pub use error::Error;
pub use files::LoadedFiles;
pub use fingerprint::{FingerprintError, fingerprint};
pub use frames::FrameSizes;
pub use guide::Guide;
pub use instruction::{InstructionCheck, SharedEncoder};
pub use spec::PolicySpec;

use bundle::{final_output, stages, with_true_fingerprint};
use columns::Columns;
use guide::Guiding;
use host::{Given, host_specs, host_tensor, unify};
use state::State;
use text::Text;
use views::Views;

/// What the operator decides about loading.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Engine kind of every stage.
    pub engine: EngineKind,
    /// Order of loading; `None`: largest file first.
    pub load_order: Option<Vec<String>>,
    /// Files that stand in for the bundle's own, by stage.
    pub stage_files: BTreeMap<String, PathBuf>,
    /// Stages whose engines may be loaded although nothing proves where they were built.
    pub allow_unverified: BTreeSet<String>,
    /// Stages whose engines may be loaded although they failed their accuracy gate.
    pub allow_inaccurate: BTreeSet<String>,
    /// Joints of each state key that joints give, in model order.
    pub state: Vec<JointMap>,
    /// The state keys that poses give.
    pub poses: Vec<PoseMap>,
    /// Joints of each action key that moves joints, in model order.
    pub action: Vec<JointMap>,
    /// What a row of each action key with `rep: DELTA` is, where it is not as policy.yaml says.
    pub deltas: BTreeMap<String, processor::DeltaRows>,
    /// Step count to warm up with.
    pub denoise_steps: u32,
    /// Threads of one inference on the CPU.
    pub threads: usize,
    /// How passes are started (TensorRT).
    pub launch: Launch,
    /// Give back TensorRT's host copies of the engines where that was tried.
    pub release_host_copy: bool,
    /// What the engines may take of the machine's memory.
    pub admission: Admission,
}

/// Progress of [`Policy::load`].
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The bundle's files are read and checked.
    Planning,
    /// An engine is being loaded, or is loaded.
    Engine(LoadEvent),
    /// The first inference runs, on zeros.
    WarmUp,
}

/// Loads stages that take what the host offers.
pub type LoadPipeline<'l> =
    &'l mut dyn FnMut(&[engine::Stage], &[TensorSpec], &mut dyn FnMut(Progress)) -> Result<Box<dyn Inference>, Error>;

/// Where the time of one inference went.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Images, instruction and state to host tensors.
    pub encode: Duration,
    /// The engine room as the host sees it: host tensors in, every stage, actions out.
    pub run: Duration,
    /// Each stage where it runs, all repetitions together, in run order.
    pub stages: Vec<StageTime>,
    /// Output tensor to joint positions and poses.
    pub decode: Duration,
    /// All of it.
    pub total: Duration,
}

impl Timings {
    /// Sets every time to zero, keeping the stages.
    pub fn reset(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.time = Duration::ZERO);
        (self.encode, self.run, self.decode, self.total) = Default::default();
    }

    /// What the engine room took beyond its stages: transfers, launches, waiting.
    pub fn overhead(&self) -> Duration {
        self.run.saturating_sub(self.stages.iter().map(|stage| stage.time).sum())
    }
}

/// A loaded policy.
pub struct Policy {
    spec: PolicySpec,
    pipeline: Box<dyn Inference>,
    /// The host tensors that the pipeline reads, in its order.
    host_inputs: Vec<TensorSpec>,
    views: Views,
    text: Text,
    state: State,
    decoder: decode::ActionDecoder,
    /// Columns of the decoded action.
    columns: Columns,
    guiding: Guiding,
    given: Given,
    symbols: Symbols,
    output: String,
    files: LoadedFiles,
    log_shapes: bool,
}

impl Policy {
    /// Loads every engine with `load`, which makes a pipeline of the stages and of what the host offers them, and runs one inference on
    /// zeros.
    ///
    /// # Errors
    /// [`Error`] naming the file, stage or tensor, and those of `load`; nothing stays loaded.
    pub fn load(
        spec: PolicySpec,
        options: LoadOptions,
        load: LoadPipeline<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        progress(Progress::Planning);
        // Before the first of them is read: what is written from here on is seen.
        let stages = stages(&spec, &options)?;
        let files = LoadedFiles::of(&spec, options.engine, &stages);
        let spec = with_true_fingerprint(spec)?;
        let described = &spec.processor;
        let mut processor =
            processor::Processor::load(&described.config, &described.statistics, &described.embodiment)?;
        error::agree(&spec, &processor)?;
        let mut deltas = spec.action.deltas.clone();
        deltas.extend(options.deltas.iter().map(|(key, rows)| (key.clone(), *rows)));
        processor
            .set_deltas(&deltas, |key, rows| format!("action.{key}.delta: {rows}"))
            .map_err(|problems| Error::Deltas { problems })?;
        let pipeline = load(&stages, &host_specs(&spec), progress)?;
        let host_inputs = pipeline.host_inputs();
        let views = Views::new(&spec, &processor, &host_inputs)?;
        let text = Text::new(&spec, &processor, views.image_tokens())?;
        let state = State::new(&spec, &processor, &options.state, &options.poses)?;
        let decoder = decode::ActionDecoder::new(&processor)?;
        let columns = Columns::new(&processor, &options.action)?;
        let output = final_output(&spec)?;
        let mut policy = Self {
            given: Given::new(&spec)?,
            guiding: Guiding::new(spec.action.rows, columns.names.len()),
            symbols: Symbols::new(),
            log_shapes: false,
            spec,
            pipeline,
            host_inputs,
            views,
            text,
            state,
            decoder,
            columns,
            output,
            files,
        };
        progress(Progress::WarmUp);
        policy.warm_up(options.denoise_steps)?;
        // The fingerprint is of the bytes that run only if nobody wrote between hashing and loading.
        match policy.files.changed() {
            changed if changed.is_empty() => Ok(policy),
            changed => Err(Error::ChangedWhileLoading { files: changed.into_iter().map(Path::to_owned).collect() }),
        }
    }

    /// The bundle.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// The files that it was loaded from.
    pub fn files(&self) -> &LoadedFiles {
        &self.files
    }

    /// Names of a chunk's columns.
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// Short name of the engine kind.
    pub fn engine_kind(&self) -> &'static str {
        self.pipeline.kind()
    }

    /// What loading each stage took, in load order.
    pub fn load_reports(&self) -> &[StageReport] {
        self.pipeline.reports()
    }

    /// Whether each inference logs the shapes of its host tensors.
    pub fn log_shapes(&mut self, on: bool) {
        self.log_shapes = on;
    }

    /// A chunk of this policy's size, to be reused.
    pub fn new_chunk(&self) -> Chunk {
        Chunk {
            names: Arc::clone(&self.columns.names),
            poses: Arc::clone(&self.columns.poses),
            rows: self.spec.action.rows,
            values: vec![0.0; self.spec.action.rows * self.columns.names.len()],
            step: self.spec.action.step,
            ..Chunk::default()
        }
    }

    /// One observation to one chunk. Once it has seen the instruction and the step count, no buffer is made anew; what
    /// the engine's runtime allocates inside a run is its own.
    ///
    /// # Errors
    /// [`Error`] naming the camera, joint, pose, stage or tensor; the chunk's values are then meaningless.
    pub fn infer(
        &mut self,
        observation: &Observation,
        seed: u64,
        steps: u32,
        chunk: &mut Chunk,
        timings: &mut Timings,
    ) -> Result<(), Error> {
        self.infer_guided(observation, seed, steps, None, chunk, timings)
    }

    /// As [`Self::infer`]; with a guide the chunk begins with its frozen rows, to the bit, and goes on from them.
    ///
    /// # Errors
    /// As [`Self::infer`]; [`Error::Guide`] for rows that are none, and when [`Self::takes_guide`] says no.
    pub fn infer_guided(
        &mut self,
        observation: &Observation,
        seed: u64,
        steps: u32,
        guide: Option<&Guide<'_>>,
        chunk: &mut Chunk,
        timings: &mut Timings,
    ) -> Result<(), Error> {
        let started = Instant::now();
        self.prepare_times(timings);
        self.text.set(&observation.instruction)?;
        self.state.encode(observation)?;
        if let Some(noise) = self.given.actions.as_f32_mut() {
            noise::fill(noise, seed, observation.identity().map(|(name, stamp)| (name.as_ref(), stamp)));
        }
        self.guide(guide)?;
        self.prepare(steps)?;
        self.views.encode(&observation.cameras, &mut *self.pipeline)?;
        timings.encode = started.elapsed();
        let running = Instant::now();
        self.write_inputs()?;
        self.pipeline.execute(&mut timings.stages)?;
        self.pipeline.read(&self.output, &mut self.given.actions)?;
        timings.run = running.elapsed();
        let decoding = Instant::now();
        self.decode(chunk, guide.map_or(0, |guide| guide.frozen))?;
        if let Some(guide) = guide {
            // Also where the policy's ranges do not reach them.
            let frozen = guide.frozen.saturating_mul(chunk.width());
            chunk.values.iter_mut().zip(guide.previous).take(frozen).for_each(|(value, &promised)| *value = promised);
        }
        chunk.observation_stamp = observation.stamp;
        chunk.seed = seed;
        chunk.inputs.clear();
        chunk.inputs.extend(observation.identity().map(|(name, stamp)| (Arc::clone(name), stamp)));
        timings.decode = decoding.elapsed();
        timings.total = started.elapsed();
        Ok(())
    }

    fn prepare_times(&self, timings: &mut Timings) {
        if timings.stages.len() != self.spec.stages.len() {
            let stages = self.spec.stages.iter().map(|stage| stage.name.clone());
            timings.stages = stages.map(|stage| StageTime { stage, time: Duration::ZERO }).collect();
        }
    }

    /// Chooses the program for this step count and the sizes of the host tensors.
    fn prepare(&mut self, steps: u32) -> Result<(), Error> {
        if !self.spec.denoise.steps.contains(&steps) {
            return Err(Error::Steps { found: steps, exported: self.spec.denoise.steps.clone() });
        }
        let Self { host_inputs, symbols, views, text, state, given, .. } = self;
        for spec in host_inputs.iter() {
            let tensor = || host_tensor(text, state, given, &spec.name).map(HostTensor::dims);
            let dims = views.dims(&spec.name).or_else(tensor);
            let dims = dims.ok_or_else(|| Error::HostTensor { name: spec.name.clone() })?;
            unify(symbols, spec, dims)?;
        }
        self.pipeline.prepare(&self.symbols, steps)?;
        if self.log_shapes {
            self.pipeline.shapes(&mut |input| {
                let engine::BoundInput { stage, tensor, dtype, dims } = input;
                tracing::info!(stage, tensor, %dtype, ?dims, "input");
            });
        }
        Ok(())
    }

    /// Writes the host tensors that are not pixels.
    fn write_inputs(&mut self) -> Result<(), Error> {
        for (at, spec) in self.host_inputs.iter().enumerate() {
            // A name that comes in several types is written to all of them at once.
            let first = self.host_inputs.iter().take(at).all(|earlier| earlier.name != spec.name);
            let tensor = host_tensor(&self.text, &self.state, &self.given, &spec.name);
            if let Some(tensor) = tensor.filter(|_| first) {
                self.pipeline.write(&spec.name, tensor)?;
            }
        }
        Ok(())
    }

    /// `kept`: rows of the guide that the chunk begins with.
    fn decode(&mut self, chunk: &mut Chunk, kept: usize) -> Result<(), Error> {
        let actions = self.given.actions.as_f32().unwrap_or_default();
        chunk.values.resize(chunk.rows * chunk.names.len(), 0.0);
        let kept = self.guiding.kept(kept, self.columns.names.len());
        self.decoder.decode_after(kept, actions, self.state.raw(), &mut chunk.values)?;
        self.columns.to_joints(&mut chunk.values);
        Ok(())
    }

    /// One inference on zeros, so that the first real one finds every buffer allocated and every page touched.
    fn warm_up(&mut self, steps: u32) -> Result<(), Error> {
        self.text.set("")?;
        self.prepare(steps)?;
        self.views.encode_zeros(&mut *self.pipeline)?;
        self.write_inputs()?;
        let mut timings = Timings::default();
        self.prepare_times(&mut timings);
        Ok(self.pipeline.execute(&mut timings.stages)?)
    }
}

impl From<message::Error> for Error {
    fn from(error: message::Error) -> Self {
        Self::Joints(error.to_string())
    }
}

impl From<observation::Error> for Error {
    fn from(error: observation::Error) -> Self {
        Self::Joints(error.to_string())
    }
}
