//! A bag through the session on the bag's own clock: the same bytes-to-chunk code as the node, without ROS.
//!
//! Inference runs at `t0 + k / rate_hz` of log time (`t0`: the first camera frame, joint state or pose that the policy reads), on samples whose
//! log time is not later; with [`BagClock::Header`], of the header stamps' time. Latency in the messages is the one that was asked for; wall-clock times go to the report
//! alone, so the same bag, policy and parameters give the same bytes.

use std::path::{Path, PathBuf};

use crate::Error;
use vla_bags::{BagWriter, TopicId};
use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, JointStateView, JointTrajectoryMessage, schema};
use vla_policy::FrameSizes;
use vla_policy::observation::{InputKind, Inputs, Observation};
use vla_runtime::parameters::Settings;
use vla_runtime::session::{BrakeResponse, CycleOutcome, PublishedChunk, Session};

pub mod bench;
mod complaints;
pub mod golden;
pub mod record;
mod recorded;
pub mod report;
pub mod source;
mod ticks;

use complaints::Complaints;
use golden::{Compared, Golden};
use record::{ChunkRecord, Event, Record};
use recorded::RecordedInferences;
pub use source::{BagClock, BagSource};
use source::{Recording, TimedMessage};
use ticks::{Pace, Ticks};

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
    /// Bag to read.
    pub bag: BagSource,
    /// MCAP file to write.
    pub output: PathBuf,
    /// Topics of the output.
    pub topics: Topics,
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
}

impl Summary {
    /// Whether the run made nothing that a robot could follow; its output was not written then.
    pub fn is_empty(&self) -> bool {
        self.record.chunks.is_empty()
    }
}

/// Receives the messages of a replay in order, each with the time at which a node would publish it.
pub(crate) trait Sink {
    /// An action chunk.
    ///
    /// # Errors
    /// When it cannot be written; the replay then ends.
    fn chunk(&mut self, at: Stamp, chunk: &ActionChunkMessage) -> Result<(), Error>;

    /// A trajectory of the joints that may be moved.
    ///
    /// # Errors
    /// When it cannot be written; the replay then ends.
    fn trajectory(&mut self, at: Stamp, trajectory: &JointTrajectoryMessage) -> Result<(), Error>;
}

/// Drops all messages: the [`Record`] is enough.
pub(crate) struct Discard;

impl Sink for Discard {
    fn chunk(&mut self, _at: Stamp, _chunk: &ActionChunkMessage) -> Result<(), Error> {
        Ok(())
    }

    fn trajectory(&mut self, _at: Stamp, _trajectory: &JointTrajectoryMessage) -> Result<(), Error> {
        Ok(())
    }
}

/// Replays `options.bag` through `session` into an MCAP file. `progress` receives the fraction of the bag that is done. The
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
    let recording = Recording::open(&options.bag, settings)?;
    let golden = options.golden.as_ref().map(|(file, tolerance)| Golden::open(file, *tolerance)).transpose()?;
    let mut output = Output::create(&options.output, &options.topics)?;
    let pace = match options.as_recorded {
        true => Schedule::Recorded(RecordedInferences::load(&options.bag, &options.topics.chunks)?),
        false => Schedule::of(settings, options.latency),
    };
    let record = drive_at(pace, &recording, session, settings, &mut output, progress)?;
    if !record.chunks.is_empty() {
        output.writer.finish()?;
    }
    let compared =
        golden.filter(|_| !record.chunks.is_empty()).map(|golden| golden.compare(&options.output, &options.topics));
    let (compared, difference) = compared.transpose()?.unzip();
    Ok(Summary { record, compared, difference: difference.flatten() })
}

/// Replays a bag through `session` and passes its messages to `sink`. `latency`: between inference and publication; at a
/// `rate_hz` of 0 or less the next inference starts after it. `progress` receives the fraction of the bag that is done.
///
/// # Errors
/// A bag that cannot be read; the first error of `sink`.
pub(crate) fn drive(
    recording: &Recording,
    session: &mut Session,
    settings: &Settings,
    latency: Span,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(f64),
) -> Result<Record, Error> {
    drive_at(Schedule::of(settings, latency), recording, session, settings, sink, progress)
}

/// When inferences begin, and how long they take.
enum Schedule {
    /// At a rate, or one after the other, with one latency.
    Ticks(Ticks, Span),
    /// As in the bag.
    Recorded(RecordedInferences),
}

impl Schedule {
    fn of(settings: &Settings, latency: Span) -> Self {
        Self::Ticks(Ticks::new(Pace::of(settings, latency)), latency)
    }
}

fn drive_at(
    mut schedule: Schedule,
    recording: &Recording,
    session: &mut Session,
    settings: &Settings,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(f64),
) -> Result<Record, Error> {
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_frame_check(FrameSizes::load(session.policy().spec()).map_err(vla_policy::Error::from)?.into_check());
    if !settings.instruction.is_empty() {
        inputs.set_instruction(&settings.instruction);
    }
    session.apply(settings);
    let (start, end) = recording.bounds();
    let record = Record::new(session, settings);
    let complaints = Complaints::default();
    let mut replay = Replay { session, settings, inputs, sink, record, complaints, last: start };
    let mut last = start;
    for message in recording.messages()? {
        let timed = message?;
        let (time, log_time) = (timed.time, timed.message.log_time);
        match &mut schedule {
            Schedule::Ticks(ticks, latency) => replay.message_at_rate(ticks, *latency, recording, timed)?,
            Schedule::Recorded(recorded) => replay.message_as_recorded(recorded, recording, timed)?,
        }
        progress((log_time - start).seconds() / (end - start).seconds().max(1e-9));
        last = time;
    }
    match &mut schedule {
        Schedule::Ticks(ticks, latency) => replay.end_at_rate(ticks, *latency, recording.end(last))?,
        Schedule::Recorded(recorded) => {
            while let Some(inference) = recorded.take() {
                replay.cycle(inference.at, inference.latency)?;
            }
        }
    }
    progress(1.0);
    Ok(replay.finish())
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
    /// Runs what is due before a message, then offers it.
    fn message_at_rate(
        &mut self,
        ticks: &mut Ticks,
        latency: Span,
        recording: &Recording,
        TimedMessage { time, message }: TimedMessage,
    ) -> Result<(), Error> {
        while let Some(now) = ticks.next_before(time) {
            if self.cycle(now, latency)? {
                ticks.inferred(now);
            }
        }
        ticks.message(time, recording.is_stamped(message.topic));
        for input in recording.inputs(message.topic) {
            self.offer(input, message.data.clone(), time);
        }
        if ticks.waits_for_inputs() && self.inputs_have_come(time) {
            ticks.complete(time);
        }
        Ok(())
    }

    fn end_at_rate(&mut self, ticks: &mut Ticks, latency: Span, end: Stamp) -> Result<(), Error> {
        if let Some(now) = ticks.last_by(end) {
            self.cycle(now, latency)?;
        }
        if ticks.gaps() > 1 {
            tracing::warn!(
                "the bag has {} gaps without any input, each of more than {} s",
                ticks.gaps(),
                ticks::LONGEST_SILENCE.seconds()
            );
        }
        Ok(())
    }

    /// As [`Self::message_at_rate`], with the inferences of the recorded node.
    fn message_as_recorded(
        &mut self,
        recorded: &mut RecordedInferences,
        recording: &Recording,
        TimedMessage { time, message }: TimedMessage,
    ) -> Result<(), Error> {
        let (topic, stamp) = (message.topic, recording.stamp(&message));
        loop {
            let names = recorded::names(recording, self.settings, self.inputs.topics(), topic);
            let Some(inference) = recorded.next_before(time, stamp, names) else { break };
            self.cycle(inference.at, inference.latency)?;
        }
        for input in recording.inputs(topic) {
            self.offer(input, message.data.clone(), time);
        }
        Ok(())
    }

    /// Whether every input has had a message by `now`, good or bad.
    fn inputs_have_come(&self, now: Stamp) -> bool {
        self.inputs.check(now, &self.settings.rules).err().is_none_or(|violation| !violation.is_of_start())
    }

    fn offer(&mut self, topic: usize, data: bytes::Bytes, log_time: Stamp) {
        self.last = log_time;
        if self.inputs.topics().get(topic).is_some_and(|topic| topic.kind == InputKind::Joints)
            && let Ok(state) = JointStateView::parse(&data)
        {
            self.record.joint_state(log_time, &state);
        }
        // A refused message is counted by the input and shown in the report, as in the node.
        if let Err(error) = self.inputs.offer(topic, data, log_time) {
            self.complaints.take(topic, &error);
        }
    }

    /// Whether the policy was run.
    fn cycle(&mut self, now: Stamp, latency: Span) -> Result<bool, Error> {
        self.session.assume_latency(latency);
        let outcome = self.session.cycle(now, &self.inputs, self.settings, false, &mut || now + latency);
        let inferred = matches!(outcome, CycleOutcome::Published(_) | CycleOutcome::Refused { .. });
        match outcome {
            CycleOutcome::Published(published) => {
                let at = now + latency;
                self.sink.chunk(at, published.chunk)?;
                if let Some(trajectory) = published.trajectory {
                    self.sink.trajectory(at, trajectory)?;
                }
                self.record.chunk(chunk_record(now, &published));
            }
            CycleOutcome::Unchanged => self.record.unchanged += 1,
            CycleOutcome::Stopped => self.record.stopped += 1,
            CycleOutcome::Waiting(violation) => self.record.waiting(&violation),
            CycleOutcome::Violation { violation, brake } => {
                stop(self.sink, &brake)?;
                self.record.event(Event::violation(now, &violation));
            }
            CycleOutcome::Refused { refusal, brake } => {
                stop(self.sink, &brake)?;
                self.record.event(Event::refusal(now, &refusal.to_string()));
            }
        }
        Ok(inferred)
    }

    fn finish(mut self) -> Record {
        self.complaints.lines().for_each(|line| tracing::warn!("{line}"));
        self.record.inputs = self.inputs.statistics(self.last);
        self.record.no_trajectories = self.session.control().status(self.settings).forbidden;
        self.record
    }
}

/// Gives the trajectory that brings the robot to rest to the sink, at the time at which the node would publish it.
fn stop(sink: &mut dyn Sink, brake: &BrakeResponse<'_>) -> Result<(), Error> {
    brake.stop.map_or(Ok(()), |stop| sink.trajectory(stop.stamp, stop))
}

fn chunk_record(now: Stamp, published: &PublishedChunk<'_>) -> ChunkRecord {
    let observation: &Observation = published.observation;
    ChunkRecord {
        at: now,
        start: published.chunk.start,
        step: published.chunk.step,
        late_rows: published.chunk.late_rows,
        values: published.chunk.values.clone(),
        ages: observation.identity().map(|(_, stamp)| stamp.age_at(now)).collect(),
        clamped: published.clamped.clone(),
        encode: published.timings.encode,
        stages: published.timings.stages.iter().map(|stage| stage.time).collect(),
        decode: published.timings.decode,
        total: published.timings.total,
    }
}

/// The output bag with its two topics and one reused buffer.
struct Output {
    writer: BagWriter,
    chunks: TopicId,
    trajectories: TopicId,
    buffer: Vec<u8>,
}

impl Output {
    fn create(path: &Path, topics: &Topics) -> Result<Self, Error> {
        let mut writer = BagWriter::create(path)?;
        let mut topic = |name: &str, type_name| -> Result<TopicId, Error> {
            let text = schema::text(type_name).ok_or_else(|| Error::Internal(format!("no schema of {type_name}")))?;
            Ok(writer.add_topic(name, type_name, text)?)
        };
        let chunks = topic(&topics.chunks, ActionChunkMessage::TYPE)?;
        let trajectories = topic(&topics.trajectories, JointTrajectoryMessage::TYPE)?;
        Ok(Self { writer, chunks, trajectories, buffer: Vec::new() })
    }
}

impl Sink for Output {
    fn chunk(&mut self, at: Stamp, message: &ActionChunkMessage) -> Result<(), Error> {
        message.write(&mut self.buffer);
        Ok(self.writer.write(self.chunks, at, &self.buffer)?)
    }

    fn trajectory(&mut self, at: Stamp, message: &JointTrajectoryMessage) -> Result<(), Error> {
        message.write(&mut self.buffer);
        Ok(self.writer.write(self.trajectories, at, &self.buffer)?)
    }
}
