//! A loaded policy.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use vla_base::tensor::{DType, HostTensor};
use vla_engines::{StageReport, Symbols};
use vla_motion::Chunk;

use super::actions::{ActionCodec, ActionInputs};
use super::bundle::{final_output, stages, with_true_fingerprint};
use super::columns::Columns;
use super::decode::ActionDecoder;
use super::family::Family;
use super::host::{HostInputs, host_specs};
use super::networks::Networks;
use super::observation::Observation;
use super::processor::Processor;
use super::state::State;
use super::text::Text;
use super::views::{ViewOptions, Views};
use super::{
    ActionPrefix, EncodeDevice, Error, LoadOptions, LoadPipeline, LoadedFiles, PolicySpec, Progress, Timings, error,
};

/// A loaded policy: encodes an observation, runs the networks and decodes the prediction. Reads no clock, does no I/O and
/// starts no thread in [`Policy::infer`]; the threads that encode frames start with the load.
pub struct Policy {
    pub(super) spec: PolicySpec,
    pub(super) inputs: HostInputs,
    pub(super) networks: Networks,
    /// Predicted actions: `[horizon, dims]`.
    pub(super) predicted: HostTensor,
    pub(super) codec: ActionCodec,
    files: LoadedFiles,
    family: &'static Family,
}

impl Policy {
    /// Loads every engine with `load`, which makes a pipeline of the stages and of the host tensors offered to them, and
    /// runs one inference on zeros.
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
        // Before the first file is read, so that every later write is noticed.
        let stages = stages(&spec, &options)?;
        let files = LoadedFiles::of(&spec, options.engine, &stages);
        let spec = with_true_fingerprint(spec)?;
        let processor = load_processor(&spec, &options)?;
        let mut pipeline = load(&stages, &host_specs(&spec), progress)?;
        let host_inputs = pipeline.host_inputs();
        for view in &options.blank_views {
            tracing::warn!("no camera gives the view `{view}`: the policy sees black in its place");
        }
        let views = ViewOptions {
            cameras: &spec.cameras,
            blank: &options.blank_views,
            times: spec.video_history.len(),
            transform: &processor.image,
            threads: options.encode_threads,
        };
        let mut views = Views::new(views, &host_inputs)?;
        let on_gpu = options.encode_device != EncodeDevice::Cpu && views.offer_frames(&mut *pipeline);
        match options.encode_device {
            EncodeDevice::Gpu if !on_gpu => tracing::warn!(
                "encode.device is gpu, but frames are resampled by the CPU: that needs engine.kind cuda and one input of single precision \
                 that has all views"
            ),
            _ => tracing::debug!("frames are resampled by the {}", if on_gpu { "GPU" } else { "CPU" }),
        }
        let codec = ActionCodec {
            decoder: ActionDecoder::new(&processor)?,
            columns: Columns::new(&processor, &options.action, &options.columns, &options.poses)?,
        };
        let inputs = HostInputs {
            text: Text::new(&spec, &processor, views.image_tokens())?,
            state: State::new(&processor, &options.state, &options.poses)?,
            actions: ActionInputs::new(&spec, codec.columns.names.len())?,
        };
        let networks = Networks {
            pipeline,
            host_inputs,
            views,
            output: final_output(&spec)?,
            steps: spec.denoise.steps.clone(),
            symbols: Symbols::new(),
            log_shapes: false,
        };
        let predicted = HostTensor::zeros(DType::F32, &[spec.action.horizon, spec.action.dims]);
        let predicted = predicted.ok_or(Error::Internal("f32 zeros"))?;
        let mut policy = Self { spec, inputs, networks, predicted, codec, files, family: processor.family };
        progress(Progress::WarmUp);
        policy.warm_up(options.denoise_steps)?;
        // The fingerprint is that of the loaded bytes only if no file changed between hashing and loading.
        match policy.files.changed() {
            changed if changed.is_empty() => Ok(policy),
            changed => Err(Error::ChangedWhileLoading { files: changed.into_iter().map(Path::to_owned).collect() }),
        }
    }

    /// The bundle's description.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// The family of models that it belongs to.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The files that the policy was loaded from.
    pub fn files(&self) -> &LoadedFiles {
        &self.files
    }

    /// Names of a chunk's columns.
    pub fn columns(&self) -> &[String] {
        &self.codec.columns.names
    }

    /// Short name of the engine kind.
    pub fn engine_kind(&self) -> &'static str {
        self.networks.pipeline.kind()
    }

    /// Whether the device resamples frames, those that it takes.
    pub fn resamples_on_device(&self) -> bool {
        self.networks.views.give_frames()
    }

    /// Load report of each stage, in load order.
    pub fn load_reports(&self) -> &[StageReport] {
        self.networks.pipeline.reports()
    }

    /// Whether each inference logs the shapes of its host tensors.
    pub fn log_shapes(&mut self, on: bool) {
        self.networks.log_shapes = on;
    }

    /// Whether [`Policy::infer_with_prefix`] accepts an action prefix: whether a stage reads `strength`.
    pub fn accepts_prefix(&self) -> bool {
        self.networks.host_inputs.iter().any(|spec| spec.name == "strength")
    }

    /// A chunk of this policy's size, to be reused.
    pub fn new_chunk(&self) -> Chunk {
        let Columns { names, poses, .. } = &self.codec.columns;
        Chunk {
            names: Arc::clone(names),
            poses: Arc::clone(poses),
            rows: self.spec.action.rows,
            values: vec![0.0; self.spec.action.rows * names.len()],
            step: self.spec.action.step,
            ..Chunk::default()
        }
    }

    /// Predicts a chunk from an observation. Allocates no buffer once it has seen the instruction and the step count; the
    /// engine's runtime may allocate.
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
        self.infer_with_prefix(observation, seed, steps, None, chunk, timings)
    }

    /// As [`Self::infer`]; with a prefix the chunk begins with its frozen rows, bit by bit, and continues them.
    ///
    /// # Errors
    /// As [`Self::infer`]; [`Error::Prefix`] for rows that cannot be used, and when [`Self::accepts_prefix`] is false.
    pub fn infer_with_prefix(
        &mut self,
        observation: &Observation,
        seed: u64,
        steps: u32,
        prefix: Option<&ActionPrefix<'_>>,
        chunk: &mut Chunk,
        timings: &mut Timings,
    ) -> Result<(), Error> {
        let started = Instant::now();
        if prefix.is_some() && !self.accepts_prefix() {
            return Err(Error::Prefix(
                "no stage of this policy reads 'strength', the guidance weights; export the policy again".to_owned(),
            ));
        }
        timings.resize(&self.spec.stages);
        let encoded = self.inputs.encode(observation, seed, prefix, &mut self.codec)?;
        let ready = self.networks.prepare(encoded, steps)?.with_frames(observation)?;
        timings.encode = started.elapsed();
        let running = Instant::now();
        ready.run(&mut timings.stages, &mut self.predicted)?;
        timings.run = running.elapsed();
        let decoding = Instant::now();
        let frozen = prefix.map_or(0, |prefix| prefix.frozen);
        self.codec.decode(encoded.prefix(frozen), &self.predicted, encoded.raw_state(), chunk)?;
        if let Some(prefix) = prefix {
            // Bit by bit, also outside the policy's normalisation ranges.
            let frozen = frozen.saturating_mul(chunk.width());
            chunk
                .values
                .iter_mut()
                .zip(prefix.previous)
                .take(frozen)
                .for_each(|(value, &committed)| *value = committed);
        }
        chunk.observation_stamp = observation.stamp;
        chunk.seed = seed;
        chunk.inputs.clear();
        chunk.inputs.extend(observation.identity().map(|(name, stamp)| (Arc::clone(name), stamp)));
        timings.decode = decoding.elapsed();
        timings.total = started.elapsed();
        Ok(())
    }

    /// Runs one inference on zeros, so that the first real one finds every buffer allocated and every page mapped.
    fn warm_up(&mut self, steps: u32) -> Result<(), Error> {
        let mut timings = Timings::default();
        timings.resize(&self.spec.stages);
        let encoded = self.inputs.encode_empty()?;
        let ready = self.networks.prepare(encoded, steps)?.with_zeros()?;
        ready.run(&mut timings.stages, &mut self.predicted)
    }
}

/// Reads the processor's files, and checks them against policy.yaml and the options.
fn load_processor(spec: &PolicySpec, options: &LoadOptions) -> Result<Processor, Error> {
    let mut processor = spec.processor.load()?;
    error::agree(spec, &processor)?;
    let mut deltas = spec.action.deltas.clone();
    deltas.extend(options.deltas.iter().map(|(key, rows)| (key.clone(), *rows)));
    processor
        .set_deltas(&deltas, |key, rows| format!("action.{key}.delta: {rows}"))
        .map_err(|problems| Error::Deltas { problems })?;
    Ok(processor)
}
