//! A policy: encode, run the engines, decode. No clock, no I/O, no spawn inside [`Policy::infer`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chunk::Chunk;
use crate::engine::{self, Admission, EngineKind, LoadEvent, Pipeline, Run, StageReport, StageTime, Symbols};
use crate::message;
use crate::observation::{self, JointMap, Observation};
use crate::tensor::TensorSpec;

pub mod decode;
mod embedding;
pub mod encode;
mod error;
mod fingerprint;
mod host;
pub mod inspect;
mod noise;
pub mod processor;
pub mod spec;
mod state;
mod text;
mod views;

pub use error::Error;
pub use fingerprint::{FingerprintError, fingerprint};
pub use spec::PolicySpec;

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
    /// Joints of each state key, in model order.
    pub state: Vec<JointMap>,
    /// Joints of each action key, in model order.
    pub action: Vec<JointMap>,
    /// Step count to warm up with.
    pub denoise_steps: u32,
    /// Threads of one inference on the CPU.
    pub threads: usize,
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

/// Where the time of one inference went.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Images, instruction and state to host tensors.
    pub encode: Duration,
    /// Each stage, all repetitions together, in run order.
    pub stages: Vec<StageTime>,
    /// Output tensor to joint positions.
    pub decode: Duration,
    /// All of it.
    pub total: Duration,
}

impl Timings {
    /// Sets every time to zero, keeping the stages.
    pub fn reset(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.time = Duration::ZERO);
        (self.encode, self.decode, self.total) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    }
}

/// A loaded policy.
pub struct Policy {
    spec: PolicySpec,
    pipeline: Box<dyn Run>,
    /// The host tensors that the pipeline reads, in its order.
    host_inputs: Vec<TensorSpec>,
    views: Views,
    text: Text,
    state: State,
    decoder: decode::ActionDecoder,
    /// Columns of the decoded action and their joints.
    action: Vec<JointMap>,
    names: Arc<[String]>,
    given: Given,
    symbols: Symbols,
    output: String,
    log_shapes: bool,
}

impl Policy {
    /// Loads every engine in the operator's order and runs one inference on zeros.
    ///
    /// # Errors
    /// [`Error`] naming the file, stage or tensor; nothing stays loaded.
    pub fn load(spec: PolicySpec, options: LoadOptions, progress: &mut dyn FnMut(Progress)) -> Result<Self, Error> {
        progress(Progress::Planning);
        let spec = with_true_fingerprint(spec)?;
        let processor =
            processor::Processor::load(&spec.processor.config, &spec.processor.statistics, &spec.processor.embodiment)?;
        error::agree(&spec, &processor)?;
        let stages = stages(&spec, &options.stage_files)?;
        let pipeline = load_pipeline(&options, &stages, &spec, &mut |event| progress(Progress::Engine(event)))?;
        let host_inputs = pipeline.host_inputs();
        let views = Views::new(&spec, &processor, &host_inputs)?;
        let text = Text::new(&spec, &processor, views.image_tokens())?;
        let state = State::new(&spec, &processor, options.state)?;
        let decoder = decode::ActionDecoder::new(&processor)?;
        let names = action_names(&options.action);
        let output = final_output(&spec)?;
        let mut policy = Self {
            given: Given::new(&spec)?,
            symbols: Symbols::new(),
            log_shapes: false,
            spec,
            pipeline,
            host_inputs,
            views,
            text,
            state,
            decoder,
            action: options.action,
            names,
            output,
        };
        progress(Progress::WarmUp);
        policy.warm_up(options.denoise_steps)?;
        Ok(policy)
    }

    /// The bundle.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
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
            names: Arc::clone(&self.names),
            rows: self.spec.action.rows,
            values: vec![0.0; self.spec.action.rows * self.names.len()],
            step: self.spec.action.step,
            ..Chunk::default()
        }
    }

    /// One observation to one chunk. Once it has seen the instruction and the step count, no buffer is made anew; what
    /// the engine's runtime allocates inside a run is its own.
    ///
    /// # Errors
    /// [`Error`] naming the camera, joint, stage or tensor; the chunk's values are then meaningless.
    pub fn infer(
        &mut self,
        observation: &Observation,
        seed: u64,
        steps: u32,
        chunk: &mut Chunk,
        timings: &mut Timings,
    ) -> Result<(), Error> {
        let started = Instant::now();
        self.prepare_times(timings);
        self.views.encode(&observation.cameras)?;
        self.text.set(&observation.instruction)?;
        self.state.encode(&observation.joints)?;
        if let Some(noise) = self.given.actions.as_f32_mut() {
            noise::fill(noise, seed, observation.identity().map(|(name, stamp)| (name.as_ref(), stamp)));
        }
        timings.encode = started.elapsed();
        self.run(steps, &mut timings.stages)?;
        let decoding = Instant::now();
        self.decode(chunk)?;
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
            let stages = self.spec.stages.iter().map(|spec| spec.stage.name.clone());
            timings.stages = stages.map(|stage| StageTime { stage, time: Duration::ZERO }).collect();
        }
    }

    /// Runs every stage on what was encoded and reads the last actions back into `self.actions`.
    fn run(&mut self, steps: u32, times: &mut [StageTime]) -> Result<(), Error> {
        self.write_inputs(steps)?;
        self.pipeline.execute(times)?;
        self.pipeline.read(&self.output, &mut self.given.actions)?;
        Ok(())
    }

    /// Writes the host tensors of an inference with this step count.
    fn write_inputs(&mut self, steps: u32) -> Result<(), Error> {
        if !self.spec.denoise.steps.contains(&steps) {
            return Err(Error::Steps { found: steps, exported: self.spec.denoise.steps.clone() });
        }
        let Self { host_inputs, symbols, pipeline, .. } = self;
        for spec in host_inputs.iter() {
            let tensor = host_tensor(&self.views, &self.text, &self.state, &self.given, &spec.name)
                .ok_or_else(|| Error::HostTensor { name: spec.name.clone() })?;
            unify(symbols, spec, tensor)?;
            if self.log_shapes {
                tracing::info!(tensor = %spec.name, dims = ?tensor.dims(), "input");
            }
        }
        pipeline.prepare(symbols, steps)?;
        for (at, spec) in host_inputs.iter().enumerate() {
            // A name that comes in several types is written to all of them at once.
            let first = host_inputs.iter().take(at).all(|earlier| earlier.name != spec.name);
            let tensor = host_tensor(&self.views, &self.text, &self.state, &self.given, &spec.name);
            if let Some(tensor) = tensor.filter(|_| first) {
                pipeline.write(&spec.name, tensor)?;
            }
        }
        Ok(())
    }

    fn decode(&mut self, chunk: &mut Chunk) -> Result<(), Error> {
        let actions = self.given.actions.as_f32().unwrap_or_default();
        chunk.values.resize(chunk.rows * chunk.names.len(), 0.0);
        self.decoder.decode(actions, self.state.raw(), &mut chunk.values)?;
        for row in chunk.values.chunks_exact_mut(self.names.len().max(1)) {
            let mut column = row.iter_mut();
            for key in &self.action {
                for (index, value) in column.by_ref().take(key.joints.len()).enumerate() {
                    if let Some(joint) = key.to_joint(index, f64::from(*value)) {
                        *value = joint as f32;
                    }
                }
            }
        }
        Ok(())
    }

    /// One inference on zeros, so that the first real one finds every buffer allocated and every page touched.
    fn warm_up(&mut self, steps: u32) -> Result<(), Error> {
        self.text.set("")?;
        let mut timings = Timings::default();
        self.prepare_times(&mut timings);
        self.run(steps, &mut timings.stages)
    }
}

/// Chunks carry the fingerprint of the files that made them: one that policy.yaml does not know is said and replaced,
/// and networks that were put into the bundle count.
fn with_true_fingerprint(mut spec: PolicySpec) -> Result<PolicySpec, Error> {
    let files = spec.files();
    let found = fingerprint(&spec.dir, &files.iter().map(String::as_str).collect::<Vec<_>>())?;
    if found != spec.fingerprint {
        tracing::warn!(
            expected = %spec.fingerprint,
            %found,
            "files of the policy changed since it was made; chunks carry the fingerprint of what is there now"
        );
        spec.fingerprint = found;
    }
    let supplied = spec.supplied_files();
    if !supplied.is_empty() {
        let all: Vec<&str> = files.iter().chain(&supplied).map(String::as_str).collect();
        spec.fingerprint = fingerprint(&spec.dir, &all)?;
    }
    Ok(spec)
}

/// The stages with the files that they run.
fn stages(spec: &PolicySpec, files: &BTreeMap<String, PathBuf>) -> Result<Vec<engine::Stage>, Error> {
    let mut missing = Vec::new();
    let mut stages = Vec::with_capacity(spec.stages.len());
    for described in &spec.stages {
        let mut stage = described.stage.clone();
        if let Some(file) = files.get(&stage.name) {
            stage.file.clone_from(file);
        }
        if let Some(what) = described.supplied.as_ref().filter(|_| !stage.file.is_file()) {
            missing.push(format!(
                "stage '{name}': expected {}, found no such file: {what}. Put it there, with the weights that lie beside \
                 it, or set engines.{name}.path",
                stage.file.display(),
                name = stage.name
            ));
        }
        stages.push(stage);
    }
    if missing.is_empty() { Ok(stages) } else { Err(Error::Supplied { missing }) }
}

fn load_pipeline(
    options: &LoadOptions,
    stages: &[engine::Stage],
    spec: &PolicySpec,
    progress: &mut dyn FnMut(LoadEvent),
) -> Result<Box<dyn Run>, Error> {
    let host = host_specs(spec);
    match options.engine {
        EngineKind::Onnx => {
            let device = engine::onnx::Onnx::new(options.threads)?;
            let order = options.load_order.as_deref();
            Ok(Box::new(Pipeline::load(device, stages, order, &host, options.admission, progress)?))
        }
        EngineKind::Tensorrt => Err(Error::NoTensorrt),
    }
}

/// The tensor that holds the actions after the last repetition: the one that feeds `actions`.
fn final_output(spec: &PolicySpec) -> Result<String, Error> {
    let outputs = spec.stages.iter().flat_map(|stage| &stage.stage.outputs);
    let mut feeding = outputs.filter(|output| output.feeds.as_deref() == Some("actions"));
    feeding.next_back().map(|output| output.name.clone()).ok_or(Error::NoLoop)
}

fn action_names(action: &[JointMap]) -> Arc<[String]> {
    action.iter().flat_map(|key| key.joints.iter().cloned()).collect()
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
