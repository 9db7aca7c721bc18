//! The whole chain: every stage of the candidate in its own pipeline on the recorded host tensors, and what both sides'
//! last actions are once they are decoded.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::capture::ReferenceRun;
use super::report::{ActionReport, KeyFigures};
use super::stages::write_inputs;
use super::store::Store;
use super::{Candidate, Progress};
use crate::Error;
use crate::replay;
use crate::replay::source::Recording;
use crate::replay::{Pace, Sink};
use vla_base::tensor::{HostTensor, TensorSpec};
use vla_base::time::{Span, Stamp};
use vla_engines::provenance::Figures;
use vla_engines::{BoundInput, Inference, Stage, StageOutput, StageTime, Symbols};
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};
use vla_policy::Policy;
use vla_runtime::session::Session;

/// Runs the candidate's whole pipeline on the host tensors of every observation and decodes its last actions and the
/// reference's by the policy's own code. Memory: all stages of the candidate, and one observation.
///
/// # Errors
/// [`Error`] naming the stage, tensor or file.
pub fn actions(
    captured: &ReferenceRun,
    candidate: &mut dyn Candidate,
    progress: &mut dyn FnMut(Progress),
) -> Result<ActionReport, Error> {
    let total = captured.observations();
    let mut found = Vec::with_capacity(total);
    progress(Progress::Chain { done: 0, total });
    let stages = candidate.stages().to_vec();
    let mut pipeline = candidate.load(&stages, captured.host())?;
    for observation in 0..total {
        let expected = captured.last_actions(observation)?;
        pipeline.prepare(captured.symbols(observation), captured.steps(observation))?;
        write_inputs(&mut *pipeline, &mut |input| captured.host_tensor(observation, input))?;
        pipeline.execute(&mut times(&stages))?;
        let spec = pipeline.tensor(captured.output()).ok_or_else(|| captured.lost(captured.output()))?;
        let actions = HostTensor::zeros(spec.dtype, expected.dims());
        let mut actions = actions.ok_or_else(|| captured.lost(captured.output()))?;
        pipeline.read(captured.output(), &mut actions)?;
        found.push(actions);
        progress(Progress::Chain { done: observation + 1, total });
    }
    drop(pipeline);
    report(captured, found, progress)
}

/// As [`actions`], but the stages before `first` are the reference's own, whose outputs are recorded, and the others run one after
/// the other. Memory: one stage of the candidate (or all that repeat), and one observation.
///
/// # Errors
/// As [`actions`].
pub(crate) fn actions_from(
    captured: &ReferenceRun,
    candidate: &mut dyn Candidate,
    first: Option<&str>,
) -> Result<ActionReport, Error> {
    let all = candidate.stages().to_vec();
    let (before, stages) = all.split_at(first_of(&all, first));
    let made = before.iter().flat_map(|stage| &stage.outputs).filter_map(|output| captured.specs().get(&output.name));
    let mut offered: Vec<TensorSpec> = captured.host().iter().chain(made).cloned().collect();
    let mut store = Store::create(&scratch(captured)?)?;
    for group in stages.chunk_by(|a, b| a.repeat && b.repeat) {
        let mut pipeline = candidate.load(group, &offered)?;
        for observation in 0..captured.observations() {
            pipeline.prepare(captured.symbols(observation), captured.steps(observation))?;
            let steps = captured.steps(observation);
            write_inputs(&mut *pipeline, &mut |input| match store.latest(observation, steps, input)? {
                Some(tensor) => Ok(tensor),
                None => captured.host_tensor(observation, input),
            })?;
            let mut kept = Ok(());
            pipeline.inspect(&mut |made: StageOutput<'_>| {
                if kept.is_ok() {
                    kept = store.put(observation, made.iteration, made.name, &made.tensor);
                }
            })?;
            kept?;
        }
        offered.extend(
            group.iter().flat_map(|stage| &stage.outputs).filter_map(|output| pipeline.tensor(&output.name)).cloned(),
        );
    }
    let last = |observation| {
        let found = store.latest(observation, captured.steps(observation), captured.output())?;
        found.ok_or_else(|| captured.lost(captured.output()))
    };
    let found = (0..captured.observations()).map(last).collect::<Result<Vec<_>, _>>()?;
    report(captured, found, &mut |_| {})
}

/// A folder for the tensors of one run.
fn scratch(captured: &ReferenceRun) -> Result<PathBuf, Error> {
    let folder = captured.scratch().join("chain");
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    Ok(folder)
}

/// Compares last actions of the candidate, one an observation, with the reference's.
fn report(
    captured: &ReferenceRun,
    found: Vec<HostTensor>,
    progress: &mut dyn FnMut(Progress),
) -> Result<ActionReport, Error> {
    let (mut actions, mut reference) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
    let mut predicted = Figures::EQUAL;
    for (observation, found) in found.into_iter().enumerate() {
        let expected = captured.last_actions(observation)?;
        let [found, expected] = [&found, &expected].map(|tensor| tensor.to_single().into_owned());
        predicted = predicted.worse(Figures::of(&found, &expected).unwrap_or(Figures::NOT_FINITE));
        actions.push(found);
        reference.push(expected);
    }
    if captured.decoded().get().is_none() {
        let decoded = decode(captured, reference, &mut |done| progress(Progress::Decode(done / 2.0)))?;
        captured.decoded().get_or_init(|| decoded);
    }
    let reference = captured.decoded().get().ok_or_else(|| captured.lost(captured.output()))?;
    let found = decode(captured, actions, &mut |done| progress(Progress::Decode(0.5 + done / 2.0)))?;
    Ok(compare(captured, predicted, &found, reference))
}

/// Where the stages that run begin: at the one of this name, or at the repeated group that it is in.
fn first_of(stages: &[Stage], name: Option<&str>) -> usize {
    let named = name.and_then(|name| stages.iter().position(|stage| stage.name == name)).unwrap_or(0);
    let repeated = stages.iter().position(|stage| stage.repeat).unwrap_or(named);
    if stages.get(named).is_some_and(|stage| stage.repeat) { repeated } else { named }
}

fn times(stages: &[Stage]) -> Vec<StageTime> {
    vec![StageTime::default(); stages.len()]
}

/// Decoded chunks, `[rows, columns]`, or why there is none; by the time of the inference.
pub(super) struct Decoded {
    columns: Vec<String>,
    chunks: Vec<(Stamp, Result<Vec<f32>, String>)>,
}

/// The chunks that a session makes of the bag when its pipeline gives these actions, one after the other. Limits of
/// joints are left out: they would hide differences.
fn decode(captured: &ReferenceRun, actions: Vec<HostTensor>, progress: &mut dyn FnMut(f64)) -> Result<Decoded, Error> {
    let count = actions.len();
    let playing = Arc::new(Mutex::new(Playing { actions, next: 0 }));
    let settings = captured.settings();
    let load = &mut |stages: &[Stage], _: &[TensorSpec], _: &mut dyn FnMut(_)| {
        Ok(Box::new(Playback { playing: Arc::clone(&playing), inputs: captured.host_inputs(stages) })
            as Box<dyn Inference>)
    };
    let options = captured.load_options();
    let policy = Policy::load(captured.spec().clone(), options, load, &mut |_| {})?;
    // The warm-up took the first.
    playing.lock().unwrap_or_else(PoisonError::into_inner).next = 0;
    let mut session = Session::new(policy)?;
    let recording = Recording::open(captured.source(), captured.spec(), settings)?;
    let mut made = Chunks::default();
    let record = replay::drive(&recording, &mut session, settings, Span::ZERO, Pace::Even, &mut made, progress)?;
    let made = made.0.into_iter().map(|(at, values)| (at, Ok(values)));
    let refused = record.events.into_iter().filter(|event| event.kind == "refused");
    let mut chunks: Vec<_> = made.chain(refused.map(|event| (event.at, Err(event.text)))).collect();
    chunks.sort_by_key(|(at, _)| *at);
    chunks.truncate(count);
    Ok(Decoded { columns: record.joints, chunks })
}

/// Keeps the values of every chunk with the time of its inference, which is that of its publication where no latency is assumed.
#[derive(Default)]
struct Chunks(Vec<(Stamp, Vec<f32>)>);

impl Sink for Chunks {
    fn chunk(&mut self, at: Stamp, chunk: &ActionChunkMessage) -> Result<(), Error> {
        self.0.push((at, chunk.values.clone()));
        Ok(())
    }

    fn trajectory(&mut self, _at: Stamp, _trajectory: &JointTrajectoryMessage) -> Result<(), Error> {
        Ok(())
    }
}

fn compare(captured: &ReferenceRun, predicted: Figures, found: &Decoded, reference: &Decoded) -> ActionReport {
    // Of nothing there are no figures.
    let none = reference.chunks.iter().all(|(_, chunk)| chunk.is_err()) || found.chunks.iter().all(|(_, c)| c.is_err());
    let mut figures = if none { Figures::NOT_FINITE } else { Figures::EQUAL };
    let mut refused = Vec::new();
    let width = reference.columns.len().max(1);
    let mut largest: Vec<Option<f64>> = vec![Some(0.0).filter(|_| !none); reference.columns.len()];
    let by_time: BTreeMap<Stamp, &Result<Vec<f32>, String>> =
        found.chunks.iter().map(|(at, chunk)| (*at, chunk)).collect();
    for (at, reference) in &reference.chunks {
        match (reference, by_time.get(at)) {
            (Ok(expected), Some(Ok(values))) if expected.len() == values.len() => {
                let each = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>().into_iter();
                figures = figures.worse(Figures::between(each(values), each(expected)));
                for (index, (a, b)) in values.iter().zip(expected).enumerate() {
                    let difference = Some((f64::from(*a) - f64::from(*b)).abs()).filter(|d| d.is_finite());
                    if let Some(worst) = largest.get_mut(index % width) {
                        *worst = worst.zip(difference).map(|(worst, difference)| worst.max(difference));
                    }
                }
            }
            (Err(reason), _) => refused.push(format!("the reference at {at}: {reason}")),
            (_, Some(Err(reason))) => refused.push(format!("at {at}: {reason}")),
            _ => refused.push(format!("at {at}: no chunk")),
        }
    }
    let limits = captured.limits();
    ActionReport {
        keys: by_key(captured, &reference.columns, &largest),
        cosine: figures.cosine,
        relative_l2: figures.relative_l2,
        predicted,
        refused,
        least_cosine: limits.action_cosine,
        most_rad: limits.action_rad,
    }
}

/// The column of each key that differs most.
fn by_key(captured: &ReferenceRun, columns: &[String], largest: &[Option<f64>]) -> Vec<KeyFigures> {
    let mut start = 0;
    let keys = captured.spec().action.keys.iter().map(|(key, width)| {
        let of = start..(start + width).min(columns.len());
        start += width;
        // What is no number is larger than any.
        let rank = |index: &usize| largest[*index].unwrap_or(f64::INFINITY);
        let worst = of.max_by(|a, b| rank(a).total_cmp(&rank(b)));
        KeyFigures {
            key: key.clone(),
            column: worst.map(|index| columns[index].clone()).unwrap_or_default(),
            largest: worst.and_then(|index| largest[index]),
        }
    });
    keys.collect()
}

/// Actions to be given, and which is next.
struct Playing {
    actions: Vec<HostTensor>,
    next: usize,
}

/// A pipeline that runs nothing: each inference has the next actions.
struct Playback {
    playing: Arc<Mutex<Playing>>,
    inputs: Vec<TensorSpec>,
}

impl Inference for Playback {
    fn kind(&self) -> &'static str {
        "playback"
    }

    fn prepare(&mut self, _symbols: &Symbols, _repetitions: u32) -> Result<(), vla_engines::Error> {
        Ok(())
    }

    fn write(&mut self, _name: &str, _tensor: &HostTensor) -> Result<(), vla_engines::Error> {
        Ok(())
    }

    fn input_buffer_mut(&mut self, _name: &str) -> Option<&mut [f32]> {
        None
    }

    fn execute(&mut self, _times: &mut [StageTime]) -> Result<(), vla_engines::Error> {
        self.playing.lock().unwrap_or_else(PoisonError::into_inner).next += 1;
        Ok(())
    }

    fn inspect(&mut self, _see: &mut dyn FnMut(StageOutput<'_>)) -> Result<(), vla_engines::Error> {
        self.execute(&mut [])
    }

    /// The actions of the inference that was executed last; after the last one the tensor is unchanged.
    fn read(&mut self, _name: &str, tensor: &mut HostTensor) -> Result<(), vla_engines::Error> {
        let playing = self.playing.lock().unwrap_or_else(PoisonError::into_inner);
        let actions = playing.next.checked_sub(1).and_then(|at| playing.actions.get(at)).and_then(HostTensor::as_f32);
        if let (Some(actions), Some(target)) = (actions, tensor.as_f32_mut())
            && actions.len() == target.len()
        {
            target.copy_from_slice(actions);
        }
        Ok(())
    }

    fn shapes(&self, _see: &mut dyn FnMut(BoundInput<'_>)) {}

    fn host_inputs(&self) -> Vec<TensorSpec> {
        self.inputs.clone()
    }

    fn tensor(&self, name: &str) -> Option<&TensorSpec> {
        self.inputs.iter().find(|input| input.name == name)
    }

    fn reports(&self) -> &[vla_engines::StageReport] {
        &[]
    }
}
