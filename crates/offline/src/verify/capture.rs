//! The reference: inputs and outputs of every stage's network, for every observation of a bag.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::actions::Decoded;
use super::stages::{find, write_inputs};
use super::store::Store;
use super::{Candidate, Options, Progress, Reference};
use crate::Error;
use crate::observations;
use crate::replay::Source;
use vla_base::tensor::{DType, HostTensor, TensorSpec};
use vla_engines::onnx::Network;
use vla_engines::provenance::hash;
use vla_engines::{EngineKind, Stage, StageOutput, Symbols};
use vla_policy::spec::Accuracy;
use vla_policy::{LoadOptions, PolicySpec};
use vla_runtime::parameters::Settings;
use vla_runtime::session;

/// The recorded tensors of the reference, and their sources.
pub struct ReferenceRun {
    spec: PolicySpec,
    settings: Settings,
    source: Source,
    bag_sha256: String,
    reference: Reference,
    scratch: PathBuf,
    /// The tensor with the actions after each repetition.
    output: String,
    /// What the host offers.
    host: Vec<TensorSpec>,
    /// Every tensor that a stage reads or makes, as the reference has it; those of the host in the type that it writes.
    specs: BTreeMap<String, TensorSpec>,
    host_types: BTreeMap<String, DType>,
    inner: BTreeMap<String, Vec<String>>,
    moments: Vec<ObservationShape>,
    store: Store,
    /// The last actions decoded, once they were.
    decoded: OnceCell<Decoded>,
}

/// One observation.
struct ObservationShape {
    symbols: Symbols,
    steps: u32,
}

/// One run of a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageRun {
    /// Which observation.
    pub observation: usize,
    /// The denoising step; `None` outside the repeated group.
    pub repetition: Option<usize>,
}

/// Replays the bag and runs the reference on it, a stage at a time. `reference`: the networks. `inner`: tensors inside
/// each stage's network to record as well ([`super::checkpoints`]).
///
/// # Errors
/// [`Error`], naming the topic, joint, stage or file.
pub fn capture(
    spec: &PolicySpec,
    settings: &Settings,
    options: &Options,
    reference: &mut dyn Candidate,
    inner: &BTreeMap<String, Vec<String>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<ReferenceRun, Error> {
    let settings = &for_networks(settings);
    let bag_sha256 = source_sha256(&options.source)?;
    let found = observations::record(spec.clone(), settings, &options.source, options.observations, &mut |done| {
        progress(Progress::Replay(done))
    })?;
    let mut store = Store::create(&options.scratch)?;
    let mut moments = Vec::with_capacity(found.observations.len());
    let mut host_types = BTreeMap::new();
    for (at, observation) in found.observations.into_iter().enumerate() {
        for (name, tensor) in &observation.tensors {
            store.put(at, None, name, tensor)?;
            host_types.insert(name.clone(), tensor.dtype());
        }
        moments.push(ObservationShape { symbols: observation.symbols, steps: observation.steps });
    }
    let mut captured = ReferenceRun {
        output: output(spec)?,
        spec: spec.clone(),
        settings: found.settings,
        source: options.source.clone(),
        bag_sha256,
        reference: kind_of(reference),
        scratch: options.scratch.clone(),
        host: found.host,
        specs: BTreeMap::new(),
        host_types,
        inner: inner.clone(),
        moments,
        store,
        decoded: OnceCell::new(),
    };
    let stages = reference.stages().to_vec();
    let wanted = |stage: &Stage| options.stages.as_ref().is_none_or(|names| names.contains(&stage.name));
    let behind = stages.iter().rposition(wanted).map_or(0, |last| last + 1);
    let mut offered = captured.host.clone();
    for group in stages.chunk_by(|a, b| a.repeat && b.repeat) {
        let first = stages.iter().position(|stage| stage.name == group[0].name).unwrap_or(0);
        if first < behind {
            captured.run(group, reference, &mut offered, progress)?;
        }
    }
    Ok(captured)
}

/// What the networks of the reference are. One that cannot be read is reported when it is loaded.
fn kind_of(reference: &dyn Candidate) -> Reference {
    let quantized = |stage: &Stage| Network::open(&stage.file).is_ok_and(|network| network.is_quantized());
    if reference.stages().iter().any(quantized) { Reference::QuantizedNetworks } else { Reference::Networks }
}

impl ReferenceRun {
    /// Runs one group of the reference's stages on every observation and stores its outputs.
    fn run(
        &mut self,
        group: &[Stage],
        reference: &mut dyn Candidate,
        offered: &mut Vec<TensorSpec>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Error> {
        let (name, total) = (group[0].name.clone(), self.moments.len());
        let mut say = |done| progress(Progress::Reference { stage: name.clone(), done, total });
        say(0);
        let shown = group.iter().map(|stage| self.showing(stage, reference)).collect::<Result<Vec<_>, _>>()?;
        let mut pipeline = reference.load(&shown, offered)?;
        for at in 0..total {
            let ObservationShape { symbols, steps } = &self.moments[at];
            pipeline.prepare(symbols, *steps)?;
            write_inputs(&mut *pipeline, &mut |input| self.host_tensor(at, input))?;
            let (store, mut kept) = (&mut self.store, Ok(()));
            pipeline.inspect(&mut |made: StageOutput<'_>| {
                if kept.is_ok() {
                    kept = store.put(at, made.iteration, made.name, &made.tensor);
                }
            })?;
            kept?;
            say(at + 1);
        }
        for stage in &shown {
            let names =
                stage.inputs.iter().map(|input| &input.name).chain(stage.outputs.iter().map(|output| &output.name));
            let known = names.filter_map(|name| Some((name.clone(), pipeline.tensor(name)?.clone())));
            for (name, spec) in known {
                let dtype = self.host_types.get(&name).copied().unwrap_or(spec.dtype);
                self.specs.entry(name).or_insert(TensorSpec { dtype, ..spec });
            }
        }
        let made = group.iter().flat_map(|stage| &stage.outputs).filter_map(|output| pipeline.tensor(&output.name));
        offered.extend(made.cloned());
        Ok(())
    }

    /// The stage with the tensors inside it that are recorded among its outputs.
    fn showing(&self, stage: &Stage, reference: &dyn Candidate) -> Result<Stage, Error> {
        let inner = self.inner(&stage.name);
        if inner.is_empty() {
            return Ok(stage.clone());
        }
        reference.showing(stage, inner, &self.scratch.join("reference").join(&stage.name))
    }

    /// Observations that were recorded.
    pub fn observations(&self) -> usize {
        self.moments.len()
    }

    /// SHA-256 of everything that the stages were given and made.
    pub(crate) fn tensors_sha256(&self) -> Result<String, Error> {
        self.store.sha256()
    }

    /// The policy.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// The bag, or the folder of the data set.
    pub fn bag(&self) -> &Path {
        self.source.path()
    }

    /// What it was recorded from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// What the candidate is compared with.
    pub(super) fn reference(&self) -> Reference {
        self.reference
    }

    /// Its hash: of a file its SHA-256; of a bag's folder that of the lines `name NUL sha256 LF` of its files, sorted by name; of a data
    /// set the same of the files of the chosen episodes, with paths in place of names.
    pub fn bag_sha256(&self) -> &str {
        &self.bag_sha256
    }

    pub(super) fn decoded(&self) -> &OnceCell<Decoded> {
        &self.decoded
    }

    pub(super) fn limits(&self) -> &Accuracy {
        &self.spec.accuracy
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(super) fn host(&self) -> &[TensorSpec] {
        &self.host
    }

    pub(super) fn specs(&self) -> &BTreeMap<String, TensorSpec> {
        &self.specs
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn output(&self) -> &str {
        &self.output
    }

    pub(super) fn symbols(&self, observation: usize) -> &Symbols {
        &self.moments[observation].symbols
    }

    pub(super) fn steps(&self, observation: usize) -> u32 {
        self.moments[observation].steps
    }

    pub(super) fn inner(&self, stage: &str) -> &[String] {
        self.inner.get(stage).map(Vec::as_slice).unwrap_or_default()
    }

    /// A stage as the policy describes it.
    pub(super) fn stage(&self, name: &str) -> Result<&Stage, Error> {
        find(&self.spec.stages, name, || "policy.yaml".to_owned())
    }

    /// How the policy is loaded where its pipeline is ours.
    pub(super) fn load_options(&self) -> LoadOptions {
        session::load_options(&self.settings)
    }

    /// Every run of a stage.
    pub fn runs(&self, stage: &Stage) -> Vec<StageRun> {
        let of = |(observation, moment): (usize, &ObservationShape)| -> Vec<StageRun> {
            if stage.repeat {
                (0..moment.steps as usize).map(|step| StageRun { observation, repetition: Some(step) }).collect()
            } else {
                vec![StageRun { observation, repetition: None }]
            }
        };
        self.moments.iter().enumerate().flat_map(of).collect()
    }

    /// What a run of a stage was given: made in the same step, a row of constants, what the step before left, made
    /// before the group or by the host, or left by the last step. `name`: the pipeline's.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Internal`] for a stage that was not run.
    pub fn input(&self, run: StageRun, name: &str) -> Result<HostTensor, Error> {
        let StageRun { observation, repetition } = run;
        let get = |repetition, name: &str| self.store.get(observation, repetition, name);
        if let Some(step) = repetition {
            if let Some(tensor) = get(Some(step), name)? {
                return Ok(tensor);
            }
            let feeds = |output: &&vla_engines::Output| output.feeds.as_deref() == Some(name);
            let feeder = self.spec.stages.iter().flat_map(|stage| &stage.outputs).find(feeds);
            if let (Some(before), Some(feeder)) = (step.checked_sub(1), feeder)
                && let Some(tensor) = get(Some(before), &feeder.name)?
            {
                return Ok(tensor);
            }
        }
        self.host_tensor(observation, name)
    }

    /// What is there outside the repeated group.
    pub(super) fn host_tensor(&self, observation: usize, name: &str) -> Result<HostTensor, Error> {
        let found = self.store.latest(observation, self.steps(observation), name)?;
        found.ok_or_else(|| self.lost(name))
    }

    /// What a run of a stage made.
    pub(super) fn output_of(&self, run: StageRun, name: &str) -> Result<HostTensor, Error> {
        self.store.get(run.observation, run.repetition, name)?.ok_or_else(|| self.lost(name))
    }

    /// The actions after the last step.
    pub(super) fn last_actions(&self, observation: usize) -> Result<HostTensor, Error> {
        self.host_tensor(observation, &self.output)
    }

    /// The host tensors that the stages take, for a pipeline that runs no network.
    pub(super) fn host_inputs(&self, stages: &[Stage]) -> Vec<TensorSpec> {
        observations::host_inputs(stages)
    }

    pub(super) fn lost(&self, tensor: &str) -> Error {
        Error::Internal(format!("tensor '{tensor}' was not recorded"))
    }
}

/// With the networks in place of engines: the files that settings for engines name are those of engines.
fn for_networks(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    if settings.engine.kind != EngineKind::Onnx {
        settings.engine.kind = EngineKind::Onnx;
        settings.engine.stages.values_mut().for_each(|stage| stage.path = None);
    }
    // A clamped action would hide a difference; nothing is moved.
    (settings.limits, settings.allow_unlimited) = (Ok(Arc::default()), true);
    settings
}

/// The tensor that closes the denoising loop.
fn output(spec: &PolicySpec) -> Result<String, Error> {
    let outputs = spec.stages.iter().flat_map(|stage| &stage.outputs);
    let mut closing = outputs.filter(|output| output.feeds.as_deref() == Some("actions"));
    Ok(closing.next_back().map(|output| output.name.clone()).ok_or(vla_policy::Error::NoLoop)?)
}

/// See [`ReferenceRun::bag_sha256`].
fn source_sha256(source: &Source) -> Result<String, Error> {
    let bag = source.path();
    if let Source::Dataset(_) = source {
        let mut files = source.files();
        files.retain(|file| file.is_file());
        files.sort();
        files.dedup();
        let names = |file: &Path| file.strip_prefix(bag).unwrap_or(file).as_os_str().as_encoded_bytes().to_vec();
        return files_sha256(&files, names);
    }
    if !bag.is_dir() {
        return hash::file_sha256(bag).map_err(Error::io(bag));
    }
    let entries = fs::read_dir(bag).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut files: Vec<PathBuf> = entries.map_err(Error::io(bag))?.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files_sha256(&files, |file| file.file_name().unwrap_or_default().as_encoded_bytes().to_vec())
}

/// The hash of the lines `name NUL sha256 LF` of files.
fn files_sha256(files: &[PathBuf], name: impl Fn(&Path) -> Vec<u8>) -> Result<String, Error> {
    let mut lines = Sha256::new();
    for file in files {
        lines.update(name(file));
        lines.update([0]);
        lines.update(hash::file_sha256(file).map_err(Error::io(file))?.as_bytes());
        lines.update(b"\n");
    }
    Ok(hash::hex(&lines.finalize()))
}
