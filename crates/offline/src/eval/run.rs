//! One policy over a recording: an inference every few control steps, and the recorded actions beside its rows.

use std::collections::VecDeque;

use super::figures::{ErrorPair, Tally};
use super::layout::Layout;
use super::recorded::{Recorded, Wanted};
use super::schedule::{Due, Schedule};
use super::{ActionsFrom, Episode, Moment, Observer, Options, Outcome, Skipped};
use crate::Error;
use crate::commands::timeline::difference;
use crate::commands::{CommandTopics, Commands};
use crate::replay::Source;
use crate::replay::complaints::Complaints;
use crate::replay::source::{Recording, Segment, TimedMessage};
use vla_base::time::Stamp;
use vla_motion::Chunk;
use vla_policy::observation::{CameraSample, Inputs, Observation};
use vla_policy::{FrameSizes, Policy, Timings};
use vla_runtime::parameters::Settings;

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
    let recording = Recording::open(&options.source, policy.spec(), settings)?;
    if let Some(fps) = recording.fps().filter(|fps| (fps * layout.step.seconds() - 1.0).abs() > 0.01) {
        tracing::warn!(
            "the rows of a chunk are {} s apart and those of the data set {} s; they are compared row by row",
            layout.step.seconds(),
            1.0 / fps
        );
    }
    let topics = match (&options.actions, &options.source) {
        (ActionsFrom::Topics { names, ahead }, Source::Bag(source)) => {
            let (columns, ahead) = (policy.columns(), ahead.unwrap_or(layout.step));
            Some(CommandTopics::open(source, names, ahead, columns, layout.step, settings)?)
        }
        _ => None,
    };
    let (start, end) = recording.bounds();
    let mut run = Run::new(policy, settings, options, layout, observer)?;
    for (index, segment) in recording.segments().enumerate() {
        run.begin(index, &segment)?;
        let mut recorded = Recorded::new(&segment, &run.layout, options)?;
        let mut commands = topics.as_ref().map(CommandTopics::iter).transpose()?;
        run.segment(&recording, &segment, &mut recorded, commands.as_mut(), &mut |now| {
            progress((now - start).seconds() / (end - start).seconds().max(1e-9));
        })?;
    }
    progress(1.0);
    run.finish()
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
    pending: VecDeque<Pending>,
    complaints: Complaints,
    /// Whether every input has had a message.
    complete: bool,
    /// Stamps of the last inference's inputs.
    last: Vec<Stamp>,
    outcome: Outcome,
    total: Tally,
    current: Tally,
    episode: Episode,
}

/// A chunk whose rows wait for their recorded actions.
struct Pending {
    wanted: Wanted,
    at: Stamp,
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
        observer: &'a mut dyn Observer,
    ) -> Result<Self, Error> {
        let mut chunk = policy.new_chunk();
        chunk.step = settings.step;
        let outcome = Outcome::new(&layout, policy);
        Ok(Self {
            inputs: inputs(policy, settings)?,
            policy,
            settings,
            options,
            observer,
            observation: Observation::default(),
            chunk,
            timings: Timings::default(),
            pending: VecDeque::new(),
            complaints: Complaints::default(),
            complete: false,
            last: Vec::new(),
            outcome,
            total: Tally::new(&layout),
            current: Tally::new(&layout),
            episode: Episode::new(0),
            layout,
        })
    }

    /// Forgets everything of the segment before.
    fn begin(&mut self, index: usize, segment: &Segment<'_>) -> Result<(), Error> {
        self.episode = Episode::new(segment.episode().unwrap_or(index));
        self.inputs = inputs(self.policy, self.settings)?;
        self.observation = Observation::default();
        self.complete = false;
        self.last.clear();
        Ok(())
    }

    /// Runs one segment. `progress` receives the log time of every message.
    fn segment(
        &mut self,
        recording: &Recording,
        segment: &Segment<'_>,
        recorded: &mut Recorded,
        mut commands: Option<&mut Commands<'_>>,
        progress: &mut dyn FnMut(Stamp),
    ) -> Result<(), Error> {
        let mut schedule = match recorded {
            Recorded::Rows(_) => Schedule::of_rows(&self.layout),
            _ => Schedule::of_clock(&self.layout),
        };
        let (mut last, end) = segment.bounds();
        for message in segment.messages()? {
            let TimedMessage { time, message } = message?;
            while let Some(due) = schedule.next_before(time, &self.layout) {
                self.infer(due);
            }
            if self.is_over(segment, &schedule) {
                break;
            }
            schedule.message(time, recording.is_stamped(message.topic));
            if let (Some(commands), Some(timeline)) = (&mut commands, recorded.commands()) {
                commands.read_until(message.log_time, time, timeline)?;
            }
            for input in recording.inputs(message.topic) {
                if let Err(error) = self.inputs.offer(input, message.data.clone(), time) {
                    self.complaints.take(input, &error);
                }
            }
            recorded.read_joints(&self.inputs, &self.layout);
            if schedule.waits_for_inputs() && self.inputs_have_come(time) {
                schedule.complete(time);
            }
            self.settle(recorded, time, None)?;
            progress(message.log_time);
            last = time;
        }
        if let (Some(commands), Some(timeline)) = (&mut commands, recorded.commands()) {
            commands.read_until(end, last, timeline)?;
        }
        let end = segment.end(last);
        if let Some(due) = schedule.last_by(end, &self.layout) {
            self.infer(due);
        }
        self.settle(recorded, end, Some(end))?;
        self.end_episode()
    }

    /// Whether the rest of an episode of a data set is not evaluated: its frames need not be decoded.
    fn is_over(&self, segment: &Segment<'_>, schedule: &Schedule) -> bool {
        let (Some(steps), Schedule::Rows { rows, .. }) = (self.options.steps, schedule) else { return false };
        segment.episode().is_some() && *rows >= steps
    }

    fn inputs_have_come(&self, now: Stamp) -> bool {
        self.inputs.check(now, &self.settings.rules).err().is_none_or(|violation| !violation.is_of_start())
    }

    /// Runs the policy; a moment without a chunk is counted with its reason.
    fn infer(&mut self, due: Due) {
        let Due { now, frame } = due;
        if self.options.steps.is_some_and(|steps| frame >= steps) {
            return;
        }
        if let Err(violation) = self.inputs.assemble_into(now, &self.settings.rules, &mut self.observation) {
            if violation.is_of_start() && !self.complete {
                self.episode.waiting += 1;
                self.outcome.waited_for = violation.to_string();
            } else {
                self.complete = true;
                self.skip(now, violation.to_string());
            }
            return;
        }
        self.complete = true;
        let same = self.last.iter().copied().eq(self.observation.identity().map(|(_, stamp)| stamp));
        if same && !self.last.is_empty() {
            self.episode.unchanged += 1;
            return;
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
                wanted: Wanted { frame, start: self.chunk.due(0) },
                at: self.observation.stamp,
                predicted: self.chunk.values.clone(),
                raw_state: self.policy.raw_state().to_vec(),
                cameras: if self.options.pictures { self.observation.cameras.clone() } else { Vec::new() },
            });
        }
    }

    fn skip(&mut self, at: Stamp, reason: String) {
        self.episode.skipped += 1;
        if self.outcome.skipped.len() < REASONS {
            self.outcome.skipped.push(Skipped { episode: self.episode.index, at_ns: at.nanos(), reason });
        }
    }

    /// Compares the chunks whose recorded actions are known at `now`; all of them at the `end` of a segment.
    fn settle(&mut self, recorded: &mut Recorded, now: Stamp, end: Option<Stamp>) -> Result<(), Error> {
        while let Some(next) = self.pending.front() {
            if end.is_none() && !recorded.knows(next.wanted, now, &self.layout) {
                break;
            }
            recorded.check(&self.layout, self.options)?;
            let Some(next) = self.pending.pop_front() else { break };
            self.compare(next, recorded, end.unwrap_or(now))?;
        }
        let needed = self.pending.front().map_or(self.chunk.due(0), |pending| pending.wanted.start);
        recorded.forget_before(needed.min(now), now);
        Ok(())
    }

    fn compare(&mut self, chunk: Pending, actions: &Recorded, end: Stamp) -> Result<(), Error> {
        let (rows, width) = (self.layout.rows, self.layout.width());
        let mut recorded = vec![f32::NAN; rows * width];
        let most = self.options.steps.map_or(rows, |steps| steps.saturating_sub(chunk.wanted.frame).min(rows));
        let mut known = 0;
        for (row, out) in recorded.chunks_exact_mut(width.max(1)).take(most).enumerate() {
            if !actions.row(chunk.wanted, row, &self.layout, end, out) {
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
        let Pending { wanted: Wanted { start, .. }, at, predicted, raw_state, cameras } = chunk;
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
        let mut episode = std::mem::replace(&mut self.episode, Episode::new(0));
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
        let source = self.options.source.path().to_owned();
        if self.outcome.inferences > 0 {
            return Error::NothingRecorded { recording: source };
        }
        let mut reasons: Vec<String> =
            self.outcome.skipped.iter().take(3).map(|skipped| skipped.reason.clone()).collect();
        if reasons.is_empty() && !self.outcome.waited_for.is_empty() {
            reasons.push(format!("inputs that did not come: {}", self.outcome.waited_for));
        }
        Error::NoObservation { bag: source, reasons }
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
