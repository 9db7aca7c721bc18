//! A bag or a data set through the session on its own clock: the same bytes-to-chunk code as the node, without ROS.
//!
//! Inference runs at `t0 + k / rate_hz` of log time (`t0`: the first camera frame, joint state or pose that the policy reads), on samples whose
//! log time is not later; with [`BagClock::Header`], of the header stamps' time. Latency in the messages is the one that was asked for; wall-clock times go to the report
//! alone, so the same bag, policy and parameters give the same bytes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use vla_base::time::{Span, Stamp};
use vla_messages::JointStateView;
use vla_policy::FrameSizes;
use vla_policy::observation::{InputKind, Inputs};
use vla_runtime::parameters::Settings;
use vla_runtime::session::{BrakeResponse, CycleOutcome, Session};

pub mod bench;
pub(crate) mod complaints;
pub mod golden;
pub mod record;
mod recorded;
pub mod report;
pub mod rerun;
mod sink;
pub mod source;
pub(crate) mod ticks;

use complaints::Complaints;
use golden::{Compared, Golden};
use record::{Event, Record};
use recorded::RecordedInferences;
use rerun::Scene;
use sink::Output;
pub(crate) use sink::{Discard, Sink};
pub use source::{BagClock, BagSource, DatasetSource, Source};
use source::{Recording, Segment, TimedMessage};
use ticks::Ticks;

/// Topic of the chunks of a node with its default name.
pub const ACTION_CHUNK_TOPIC: &str = "/vla_trt/action_chunk";
/// Topic of its trajectories.
pub const JOINT_TRAJECTORY_TOPIC: &str = "/vla_trt/joint_trajectory";

/// Topics of the output bag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topics {
    /// Action chunks.
    pub chunks: String,
    /// Trajectories.
    pub trajectories: String,
}

impl Topics {
    /// The topics of a node; `resolve` gives the name in the ROS graph of one of its topics.
    pub fn of(resolve: &dyn Fn(&str) -> String) -> Self {
        Self { chunks: resolve("~/action_chunk"), trajectories: resolve("~/joint_trajectory") }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self { chunks: ACTION_CHUNK_TOPIC.to_owned(), trajectories: JOINT_TRAJECTORY_TOPIC.to_owned() }
    }
}

/// What to replay and where to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bag or data set to read.
    pub source: Source,
    /// MCAP file to write.
    pub output: PathBuf,
    /// Topics of the output.
    pub topics: Topics,
    /// A file for the Rerun viewer to write as well, also of a run without a chunk. Needs the feature `rerun`.
    pub rerun: Option<PathBuf>,
    /// Latency assumed between inference and publication. At a `rate_hz` of 0 or less the next inference starts after it.
    pub latency: Span,
    /// Infers when the node did whose chunks are in the bag, each time with its latency, in place of a rate and [`Self::latency`].
    pub as_recorded: bool,
    /// A bag of chunks to compare with, and the largest difference allowed (rad or m).
    pub golden: Option<(PathBuf, f32)>,
}

/// How a replay went.
#[derive(Debug)]
pub struct Summary {
    /// Everything the report shows.
    pub record: Record,
    /// What was compared with the golden bag.
    pub compared: Option<Compared>,
    /// First difference from the golden bag.
    pub difference: Option<golden::Difference>,
    /// Pictures of the file for Rerun.
    pub pictures: Option<rerun::Pictures>,
}

impl Summary {
    /// Whether the run made nothing that a robot could follow; its output was not written then.
    pub fn is_empty(&self) -> bool {
        self.record.chunks.is_empty()
    }
}

/// Replays `options.source` through `session` into an MCAP file. `progress` receives the fraction that is done. The
/// output file is created if it contains a chunk; otherwise an earlier file is unchanged.
///
/// # Errors
/// [`Error`]; the output file then does not appear.
pub fn run(
    session: &mut Session,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(f64),
) -> Result<Summary, Error> {
    let recording = Recording::open(&options.source, session.policy().spec(), settings)?;
    let golden = options.golden.as_ref().map(|(file, tolerance)| Golden::open(file, *tolerance)).transpose()?;
    let output = Output::create(&options.output, &options.topics)?;
    let name = options.source.path().file_name().unwrap_or_default().to_string_lossy();
    let rerun = options.rerun.as_deref();
    let rerun = rerun.map(|file| Scene::create(file, &name, &settings.inputs, &settings.instruction)).transpose()?;
    let mut sinks = (output, rerun);
    let pace = match options.as_recorded {
        true => Pace::Recorded(RecordedInferences::load(&options.source, &options.topics.chunks)?),
        false => Pace::Anew,
    };
    let record = drive(&recording, session, settings, options.latency, pace, &mut sinks, progress)?;
    let (output, rerun) = sinks;
    let pictures = rerun.map(Scene::finish).transpose()?;
    if !record.chunks.is_empty() {
        output.finish()?;
    }
    let compared =
        golden.filter(|_| !record.chunks.is_empty()).map(|golden| golden.compare(&options.output, &options.topics));
    let (compared, difference) = compared.transpose()?.unzip();
    Ok(Summary { record, compared, difference: difference.flatten(), pictures })
}

/// When the inferences of a segment begin.
pub(crate) enum Pace {
    /// With its inputs, as in a node that is started.
    Anew,
    /// At even distances over all segments; those without an inference are not read.
    Even,
    /// When those of a recorded node did, each with its latency.
    Recorded(RecordedInferences),
}

/// Replays a recording through `session` and passes its messages to `sink`. `latency`: between inference and publication; at a
/// `rate_hz` of 0 or less the next inference starts after it.
/// `progress` receives the fraction of the recording that is done. Every segment but the first starts the session again.
///
/// # Errors
/// A bag or data set that cannot be read; the first error of `sink`.
pub(crate) fn drive(
    recording: &Recording,
    session: &mut Session,
    settings: &Settings,
    latency: Span,
    mut pace: Pace,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(f64),
) -> Result<Record, Error> {
    session.apply(settings);
    let (start, end) = recording.bounds();
    let record = Record::new(session, settings, latency);
    let complaints = Complaints::default();
    let inputs = new_inputs(session, settings)?;
    let mut replay = Replay { session, settings, inputs, sink, record, complaints, last: start };
    let (mut gaps, mut delay) = (0, Span::ZERO);
    for (index, segment) in recording.segments().enumerate() {
        let (first, last) = segment.bounds();
        let length = last - first;
        if matches!(pace, Pace::Even) && delay > length {
            delay = Span::from_nanos(delay.nanos() - length.nanos());
            continue;
        }
        if index > 0 {
            replay.restart()?;
        }
        let progress = &mut |now: Stamp| progress((now - start).seconds() / (end - start).seconds().max(1e-9));
        if let Pace::Recorded(inferences) = &mut pace {
            replay.segment_as_recorded(recording, &segment, inferences, progress)?;
            continue;
        }
        let mut ticks = Ticks::of(settings, latency);
        if matches!(pace, Pace::Even) && index > 0 {
            ticks = ticks.starting_at(first + delay);
        }
        replay.segment(recording, &segment, (&mut ticks, latency), progress)?;
        gaps += ticks.gaps();
        delay = ticks.next().map_or(Span::ZERO, |next| (next - last).max(Span::ZERO));
    }
    if gaps > 1 {
        tracing::warn!(
            "the bag has {gaps} gaps without any input, each of more than {} s",
            ticks::LONGEST_SILENCE.seconds()
        );
    }
    progress(1.0);
    Ok(replay.finish())
}

/// How long before an observation the samples are that it may use: the oldest frame or state of its history, and the longest time
/// between two samples.
fn needed_before(settings: &Settings) -> Span {
    let frames = settings.inputs.iter().map(|input| input.history.length());
    let states = settings.rules.state_history.iter().copied();
    Span::from_nanos(frames.chain(states).max().unwrap_or_default().nanos().saturating_add(LEAD.nanos()))
}

/// Longest time between two samples of an input whose history is read.
const LEAD: Span = Span::from_nanos(2_000_000_000);

/// Inputs that have had no message.
fn new_inputs(session: &Session, settings: &Settings) -> Result<Inputs, Error> {
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_frame_check(FrameSizes::load(session.policy().spec()).map_err(vla_policy::Error::from)?.into_check());
    if !settings.instruction.is_empty() {
        inputs.set_instruction(&settings.instruction);
    }
    Ok(inputs)
}

struct Replay<'a> {
    session: &'a mut Session,
    settings: &'a Settings,
    inputs: Inputs,
    sink: &'a mut dyn Sink,
    record: Record,
    complaints: Complaints,
    /// Log time of the last message.
    last: Stamp,
}

impl Replay<'_> {
    /// Forgets everything of the segment before.
    fn restart(&mut self) -> Result<(), Error> {
        self.record.count_inputs(&self.inputs.statistics(self.last));
        self.record.restart();
        self.inputs = new_inputs(self.session, self.settings)?;
        self.session.restart();
        Ok(())
    }

    /// Runs one segment. `progress` receives the log time of every message.
    fn segment(
        &mut self,
        recording: &Recording,
        segment: &Segment<'_>,
        (ticks, latency): (&mut Ticks, Span),
        progress: &mut dyn FnMut(Stamp),
    ) -> Result<(), Error> {
        match segment.actions() {
            Ok(Some(actions)) => self.record.actions(actions),
            Ok(None) => {}
            // They are for the report alone; a missing file is an error of the messages, too.
            Err(error) => tracing::info!("the recorded actions are not compared: {error}"),
        }
        let (mut last, end) = segment.bounds();
        // What comes long before the first inference goes into none, and nothing after the last does.
        let needed = ticks.next().map(|first| first - needed_before(self.settings));
        for message in segment.messages_from(needed)? {
            let TimedMessage { time, message } = message?;
            while let Some(now) = ticks.next_before(time) {
                if self.cycle(now, latency)? {
                    ticks.inferred(now);
                }
            }
            ticks.message(time, recording.is_stamped(message.topic));
            for input in recording.inputs(message.topic) {
                self.offer(input, message.data.clone(), time)?;
            }
            if ticks.waits_for_inputs() && self.inputs_have_come(time) {
                ticks.complete(time);
            }
            progress(message.log_time);
            last = time;
            if segment.episode().is_some() && ticks.next().is_some_and(|next| next > end) {
                break;
            }
        }
        if let Some(now) = ticks.last_by(segment.end(last)) {
            self.cycle(now, latency)?;
        }
        Ok(())
    }

    /// As [`Self::segment`], with the inferences of the recorded node.
    fn segment_as_recorded(
        &mut self,
        recording: &Recording,
        segment: &Segment<'_>,
        inferences: &mut RecordedInferences,
        progress: &mut dyn FnMut(Stamp),
    ) -> Result<(), Error> {
        for message in segment.messages()? {
            let TimedMessage { time, message } = message?;
            let (topic, stamp) = (message.topic, recording.stamp(&message));
            loop {
                let names = recorded::names(recording, self.settings, self.inputs.topics(), topic);
                let Some(inference) = inferences.next_before(time, stamp, names) else { break };
                self.cycle(inference.at, inference.latency)?;
            }
            for input in recording.inputs(topic) {
                self.offer(input, message.data.clone(), time)?;
            }
            progress(message.log_time);
        }
        while let Some(inference) = inferences.take() {
            self.cycle(inference.at, inference.latency)?;
        }
        Ok(())
    }

    /// Whether every input has had a message by `now`, good or bad.
    fn inputs_have_come(&self, now: Stamp) -> bool {
        self.inputs.check(now, &self.settings.rules).err().is_none_or(|violation| !violation.is_of_start())
    }

    fn offer(&mut self, topic: usize, data: bytes::Bytes, log_time: Stamp) -> Result<(), Error> {
        self.last = log_time;
        self.record.message(log_time, topic, &data);
        if let Some(topic) = self.inputs.topics().get(topic) {
            if topic.kind == InputKind::Joints
                && let Ok(state) = JointStateView::parse(&data)
            {
                self.record.joint_state(log_time, &state);
            }
            self.sink.input(log_time, topic, &data)?;
        }
        // A refused message is counted by the input and shown in the report, as in the node.
        if let Err(error) = self.inputs.offer(topic, data, log_time) {
            self.complaints.take(topic, &error);
        }
        Ok(())
    }

    /// Whether the policy was run.
    fn cycle(&mut self, now: Stamp, latency: Span) -> Result<bool, Error> {
        self.session.assume_latency(latency);
        let control = Arc::clone(self.session.control());
        let outcome = self.session.cycle(now, &self.inputs, self.settings, false, &mut || now + latency);
        let inferred = matches!(outcome, CycleOutcome::Published(_) | CycleOutcome::Refused { .. });
        match outcome {
            CycleOutcome::Published(published) => {
                let at = now + latency;
                self.sink.chunk(at, published.chunk)?;
                if let Some(trajectory) = published.trajectory {
                    self.sink.trajectory(at, trajectory)?;
                }
                self.record.chunk(now, &published, &control, self.settings);
            }
            CycleOutcome::Unchanged => self.record.unchanged(now),
            CycleOutcome::Stopped => self.record.stopped(now),
            CycleOutcome::Waiting(violation) => self.record.waiting(now, &violation),
            CycleOutcome::Violation { violation, brake } => {
                stop(self.sink, &brake)?;
                self.record.event(Event::violation(now, &violation), &brake, &control);
            }
            CycleOutcome::Refused { refusal, brake } => {
                stop(self.sink, &brake)?;
                self.record.event(Event::refusal(now, &refusal.to_string()), &brake, &control);
            }
        }
        Ok(inferred)
    }

    fn finish(mut self) -> Record {
        self.complaints.lines().for_each(|line| tracing::warn!("{line}"));
        self.record.count_inputs(&self.inputs.statistics(self.last));
        let forbidden = self.session.control().status(self.settings).forbidden;
        self.record.finish(forbidden)
    }
}

/// Gives the trajectory that brings the robot to rest to the sink, at the time at which the node would publish it.
fn stop(sink: &mut dyn Sink, brake: &BrakeResponse<'_>) -> Result<(), Error> {
    brake.stop.map_or(Ok(()), |stop| sink.trajectory(stop.stamp, stop))
}
