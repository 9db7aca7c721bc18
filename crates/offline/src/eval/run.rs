//! One policy over a recording: an inference every few control steps, and the recorded actions beside its rows.

use std::collections::VecDeque;

use super::commands::{CommandTopics, Commands};
use super::figures::{ErrorPair, Tally};
use super::layout::Layout;
use super::timeline::{Timeline, difference};
use super::{ActionsFrom, Episode, Moment, Observer, Options, Outcome, Skipped};
use crate::Error;
use crate::replay::complaints::Complaints;
use crate::replay::source::{Recording, TimedMessage};
use crate::replay::ticks::Ticks;
use vla_base::time::{Span, Stamp};
use vla_motion::Chunk;
use vla_policy::observation::{CameraSample, Inputs, JointSample, Observation};
use vla_policy::{FrameSizes, Policy, Timings};
use vla_runtime::parameters::Settings;

/// Time after the last row of a chunk at which a measured position is no longer waited for.
const LONGEST_WAIT: Span = Span::from_nanos(1_000_000_000);
/// Time of recorded actions that is kept at most while no chunk comes.
const LONGEST_TIMELINE: Span = Span::from_nanos(60_000_000_000);
/// Moments without a chunk whose reasons are kept.
const REASONS: usize = 100;

/// Runs the policy over the recording. `progress` receives the fraction that is done.
pub(super) fn run(
    policy: &mut Policy,
    settings: &Settings,
    options: &Options,
    observer: &mut dyn Observer,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome, Error> {
    let rows = policy.new_chunk().rows;
    let layout = Layout::new(policy, settings, options.used(rows)?);
    let recording = Recording::open(&options.source, settings)?;
    let topics = match &options.actions {
        ActionsFrom::JointStates => None,
        ActionsFrom::Topics { names, ahead } => {
            let ahead = ahead.unwrap_or(layout.step);
            Some(CommandTopics::open(&options.source.bag, names, ahead, &layout, settings)?)
        }
    };
    if topics.is_none() {
        joints_only(&layout, options)?;
    }
    let mut commands = topics.as_ref().map(CommandTopics::iter).transpose()?;
    let mut run = Run::new(policy, settings, options, layout, commands.is_some(), observer)?;
    run.episode(&recording, commands.as_mut(), progress)?;
    progress(1.0);
    run.finish()
}

/// Joint states give no other columns than joints.
fn joints_only(layout: &Layout, options: &Options) -> Result<(), Error> {
    let others: Vec<&str> =
        layout.columns.iter().filter(|column| !column.is_joint).map(|column| column.name.as_str()).collect();
    if others.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "columns {} are no joints, so joint states do not give them; name a topic with recorded chunks (--actions-from)",
        others.join(", ")
    );
    Err(Error::RecordedActions { recording: options.source.bag.clone(), reason })
}

struct Run<'a> {
    policy: &'a mut Policy,
    settings: &'a Settings,
    options: &'a Options,
    layout: Layout,
    observer: &'a mut dyn Observer,
    inputs: Inputs,
    observation: Observation,
    chunk: Chunk,
    timings: Timings,
    recorded: Recorded,
    pending: VecDeque<Pending>,
    complaints: Complaints,
    /// Whether every input has had a message.
    complete: bool,
    /// Inference times so far in this episode.
    ticks: usize,
    /// Stamps of the last inference's inputs.
    last: Vec<Stamp>,
    outcome: Outcome,
    total: Tally,
    current: Tally,
    episode: Episode,
}

/// The recorded actions so far.
struct Recorded {
    timeline: Timeline,
    /// Commands of topics; otherwise positions of joint states.
    commands: bool,
    joints: JointSample,
    /// Column and last stamp of each joint of `joints`.
    columns: Vec<(Option<usize>, Stamp)>,
    checked: bool,
}

/// A chunk whose rows wait for their recorded actions.
struct Pending {
    /// Index of the inference time in its episode.
    tick: usize,
    at: Stamp,
    start: Stamp,
    predicted: Vec<f32>,
    raw_state: Vec<f32>,
    cameras: Vec<CameraSample>,
}

impl<'a> Run<'a> {
    fn new(
        policy: &'a mut Policy,
        settings: &'a Settings,
        options: &'a Options,
        layout: Layout,
        commands: bool,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, Error> {
        let mut chunk = policy.new_chunk();
        chunk.step = settings.step;
        let spec = policy.spec();
        let outcome = Outcome::new(&layout, (&spec.name, &spec.fingerprint, policy.engine_kind()));
        let continuous = layout.columns.iter().map(|column| column.continuous);
        let recorded = Recorded {
            timeline: Timeline::new(continuous, layout.step, commands),
            commands,
            joints: JointSample::default(),
            columns: Vec::new(),
            checked: commands,
        };
        let (total, current) = (Tally::new(&layout), Tally::new(&layout));
        let inputs = inputs(policy, settings)?;
        Ok(Self {
            policy,
            settings,
            options,
            observer,
            inputs,
            observation: Observation::default(),
            chunk,
            timings: Timings::default(),
            recorded,
            pending: VecDeque::new(),
            complaints: Complaints::default(),
            complete: false,
            ticks: 0,
            last: Vec::new(),
            outcome,
            total,
            current,
            episode: Episode::new(0),
            layout,
        })
    }

    /// One episode: a bag, or one of a data set.
    fn episode(
        &mut self,
        recording: &Recording,
        mut commands: Option<&mut Commands<'_>>,
        progress: &mut dyn FnMut(f64),
    ) -> Result<(), Error> {
        let (start, end) = recording.bounds();
        let mut ticks = Ticks::new(1.0 / (self.layout.step.seconds() * self.layout.used as f64));
        let mut last = start;
        for message in recording.messages()? {
            let TimedMessage { time, message } = message?;
            while let Some(now) = ticks.next_before(time) {
                self.infer(now)?;
            }
            ticks.message(time, recording.is_stamped(message.topic));
            if let Some(commands) = &mut commands {
                commands.read_until(message.log_time, time, &mut self.recorded.timeline)?;
            }
            for input in recording.inputs(message.topic) {
                if let Err(error) = self.inputs.offer(input, message.data.clone(), time) {
                    self.complaints.take(input, &error);
                }
            }
            self.recorded.read_joints(&self.inputs, &self.layout);
            if ticks.waits_for_inputs() && self.inputs_have_come(time) {
                ticks.complete(time);
            }
            self.settle(time, None)?;
            progress((message.log_time - start).seconds() / (end - start).seconds().max(1e-9));
            last = time;
        }
        if let Some(commands) = &mut commands {
            commands.read_until(end, last, &mut self.recorded.timeline)?;
        }
        let end = recording.end(last);
        if let Some(now) = ticks.last_by(end) {
            self.infer(now)?;
        }
        self.settle(end, Some(end))?;
        self.end_episode()
    }

    fn inputs_have_come(&self, now: Stamp) -> bool {
        self.inputs.check(now, &self.settings.rules).err().is_none_or(|violation| !violation.is_of_start())
    }

    /// Runs the policy at `now`; a moment without a chunk is counted with its reason.
    fn infer(&mut self, now: Stamp) -> Result<(), Error> {
        let tick = self.ticks;
        self.ticks += 1;
        if self.options.steps.is_some_and(|steps| tick * self.layout.used >= steps) {
            return Ok(());
        }
        if let Err(violation) = self.inputs.assemble_into(now, &self.settings.rules, &mut self.observation) {
            if violation.is_of_start() && !self.complete {
                self.episode.waiting += 1;
                self.outcome.waited_for = violation.to_string();
            } else {
                self.complete = true;
                self.skip(now, violation.to_string());
            }
            return Ok(());
        }
        self.complete = true;
        let same = self.last.iter().copied().eq(self.observation.identity().map(|(_, stamp)| stamp));
        if same && !self.last.is_empty() {
            self.episode.unchanged += 1;
            return Ok(());
        }
        self.last.clear();
        self.last.extend(self.observation.identity().map(|(_, stamp)| stamp));
        let Settings { seed, denoise_steps, .. } = *self.settings;
        let inferred = self.policy.infer(&self.observation, seed, denoise_steps, &mut self.chunk, &mut self.timings);
        if let Err(error) = inferred {
            self.skip(now, error.to_string());
        } else if let Err(error) = self.chunk.check_finite() {
            self.skip(now, error.to_string());
        } else {
            self.episode.inferences += 1;
            self.pending.push_back(Pending {
                tick,
                at: self.observation.stamp,
                start: self.chunk.due(0),
                predicted: self.chunk.values.clone(),
                raw_state: self.policy.raw_state().to_vec(),
                cameras: if self.options.pictures { self.observation.cameras.clone() } else { Vec::new() },
            });
        }
        Ok(())
    }

    fn skip(&mut self, at: Stamp, reason: String) {
        self.episode.skipped += 1;
        if self.outcome.skipped.len() < REASONS {
            self.outcome.skipped.push(Skipped { episode: self.episode.index, at_ns: at.nanos(), reason });
        }
    }

    /// Compares the chunks whose recorded actions are known at `now`; all of them at the `end` of an episode.
    fn settle(&mut self, now: Stamp, end: Option<Stamp>) -> Result<(), Error> {
        while let Some(next) = self.pending.front() {
            let last = next.start + self.layout.step.times(self.layout.rows as i64 - 1);
            if end.is_none() && !self.recorded.knows(last, now, self.layout.step) {
                break;
            }
            self.recorded.check(&self.layout, self.options)?;
            let Some(next) = self.pending.pop_front() else { break };
            self.compare(next, end.unwrap_or(now))?;
        }
        let needed = self.pending.front().map_or(self.chunk.due(0), |pending| pending.start);
        self.recorded.timeline.forget_before(needed.min(now).max(now + Span::from_nanos(-LONGEST_TIMELINE.nanos())));
        Ok(())
    }

    fn compare(&mut self, chunk: Pending, end: Stamp) -> Result<(), Error> {
        let Layout { rows, used, step, .. } = self.layout;
        let width = self.layout.width();
        let mut recorded = vec![f32::NAN; rows * width];
        let most = self.options.steps.map_or(rows, |steps| steps.saturating_sub(chunk.tick * used).min(rows));
        let mut known = 0;
        for (row, out) in recorded.chunks_exact_mut(width.max(1)).take(most).enumerate() {
            if !self.recorded.timeline.row(chunk.start + step.times(row as i64), end, out) {
                out.fill(f32::NAN);
                break;
            }
            known = row + 1;
        }
        self.near_turns(&chunk.predicted, &mut recorded);
        let moment = self.normalised(chunk, recorded, known)?;
        self.add(&moment);
        self.observer.moment(&self.layout, &moment)
    }

    /// Recorded positions of joints that turn without end in the turn of the predicted ones.
    fn near_turns(&self, predicted: &[f32], recorded: &mut [f32]) {
        for (row, predicted) in recorded
            .chunks_exact_mut(self.layout.width().max(1))
            .zip(predicted.chunks_exact(self.layout.width().max(1)))
        {
            for ((recorded, predicted), column) in row.iter_mut().zip(predicted).zip(&self.layout.columns) {
                if column.continuous && recorded.is_finite() {
                    let predicted = f64::from(*predicted);
                    *recorded = (predicted - difference(predicted, f64::from(*recorded), true)) as f32;
                }
            }
        }
    }

    fn normalised(&mut self, chunk: Pending, recorded: Vec<f32>, known: usize) -> Result<Moment, Error> {
        let Pending { at, start, predicted, raw_state, cameras, .. } = chunk;
        let width = self.layout.width();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        self.policy.normalise_actions(&raw_state, &predicted, &mut ours)?;
        self.policy.normalise_actions(&raw_state, recorded.get(..known * width).unwrap_or_default(), &mut theirs)?;
        theirs.resize(ours.len(), f32::NAN);
        let index = self.outcome.inferences as usize;
        self.outcome.inferences += 1;
        Ok(Moment {
            index,
            episode: self.episode.index,
            at,
            start,
            known,
            predicted,
            recorded,
            normalised_predicted: ours,
            normalised_recorded: theirs,
            state: raw_state,
            cameras,
        })
    }

    fn add(&mut self, moment: &Moment) {
        self.episode.rows += moment.known.min(self.layout.used) as u64;
        let (width, normalised) = (self.layout.width().max(1), self.layout.normalised_width().max(1));
        for (row, (predicted, recorded)) in moment.rows(width).take(moment.known).enumerate() {
            for (column, (predicted, recorded)) in predicted.iter().zip(recorded).enumerate() {
                self.current.robot.add(row, column, f64::from(*predicted) - f64::from(*recorded));
            }
        }
        for (row, (predicted, recorded)) in moment.normalised_rows(normalised).take(moment.known).enumerate() {
            for (column, (predicted, recorded)) in predicted.iter().zip(recorded).enumerate() {
                self.current.normalised.add(row, column, f64::from(*predicted) - f64::from(*recorded));
            }
        }
    }

    fn end_episode(&mut self) -> Result<(), Error> {
        let next = Episode::new(self.episode.index + 1);
        let mut episode = std::mem::replace(&mut self.episode, next);
        episode.errors = self.current.overall(&self.layout);
        self.total.merge(&self.current);
        self.current = Tally::new(&self.layout);
        self.observer.episode(&self.layout, &episode)?;
        self.outcome.episodes.push(episode);
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome, Error> {
        self.complaints.lines().for_each(|line| tracing::warn!("{line}"));
        self.outcome.figures = self.total.figures(&self.layout);
        if self.outcome.figures.overall == ErrorPair::default() {
            return Err(self.nothing());
        }
        Ok(self.outcome)
    }

    /// Why nothing was compared.
    fn nothing(&self) -> Error {
        let source = self.options.source.bag.clone();
        if self.outcome.inferences > 0 {
            let reason = "expected recorded actions at the due times of the predicted rows, found none".to_owned();
            return Error::RecordedActions { recording: source, reason };
        }
        let mut reasons: Vec<String> =
            self.outcome.skipped.iter().take(3).map(|skipped| skipped.reason.clone()).collect();
        if reasons.is_empty() && !self.outcome.waited_for.is_empty() {
            reasons.push(format!("inputs that did not come: {}", self.outcome.waited_for));
        }
        Error::NoObservation { bag: source, reasons }
    }
}

impl Recorded {
    /// Takes the positions that the inputs have received.
    fn read_joints(&mut self, inputs: &Inputs, layout: &Layout) {
        if self.commands || !inputs.read_joints(&mut self.joints) {
            return;
        }
        if self.columns.len() != self.joints.joints.len() {
            let column = |joint: &String| layout.columns.iter().position(|column| column.name == *joint);
            self.columns = self.joints.joints.iter().map(|joint| (column(joint), Stamp::default())).collect();
        }
        for ((column, last), reading) in self.columns.iter_mut().zip(&self.joints.readings) {
            if let (Some(column), Some(reading)) = (*column, reading)
                && reading.stamp != *last
            {
                self.timeline.push(column, reading.stamp, reading.position);
                *last = reading.stamp;
            }
        }
    }

    /// Whether nothing that comes after `now` changes the rows up to `last`.
    fn knows(&self, last: Stamp, now: Stamp, step: Span) -> bool {
        if self.commands {
            return now > last + step;
        }
        now > last + LONGEST_WAIT || self.timeline.covered().is_some_and(|covered| covered > last)
    }

    /// Every column must have been recorded once by the time of the first comparison.
    fn check(&mut self, layout: &Layout, options: &Options) -> Result<(), Error> {
        if self.checked {
            return Ok(());
        }
        self.checked = true;
        let missing = self.timeline.empty().filter_map(|column| layout.columns.get(column));
        let missing: Vec<&str> = missing.map(|column| column.name.as_str()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "expected joint states of {}, found none; name a topic with the recorded commands (--actions-from)",
            missing.join(", ")
        );
        Err(Error::RecordedActions { recording: options.source.bag.clone(), reason })
    }
}

/// The inputs of the settings, as a node has them.
fn inputs(policy: &Policy, settings: &Settings) -> Result<Inputs, Error> {
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_frame_check(FrameSizes::load(policy.spec()).map_err(vla_policy::Error::from)?.into_check());
    if !settings.instruction.is_empty() {
        inputs.set_instruction(&settings.instruction);
    }
    Ok(inputs)
}
