//! A bag through the session on the bag's own clock: the same bytes-to-chunk code as the node, without ROS.
//!
//! Inference runs at `t0 + k / rate_hz` of log time (`t0`: the first camera frame, joint state or pose that the policy reads), on samples whose
//! log time is not later. Latency in the messages is the one that was asked for; wall-clock times go to the report
//! alone, so the same bag, policy and parameters give the same bytes.

use std::path::{Path, PathBuf};

use crate::bag::{BagReader, BagWriter, TopicId};
use crate::message::{self, ActionChunkMessage, JointStateView, JointTrajectoryMessage, schema};
use crate::observation::{InputKind, Inputs, Observation};
use crate::parameters::Settings;
use crate::session::{Outcome, Published, Session};
use crate::time::{Span, Stamp};

pub mod bench;
mod complaints;
pub mod golden;
pub mod record;
pub mod report;

use complaints::Complaints;
use golden::{Compared, Golden};
use record::{ChunkRecord, Event, Record};

/// Topics of the output bag: those of a node with its default name.
pub const ACTION_CHUNK_TOPIC: &str = "/vla_trt/action_chunk";
/// The trajectory topic.
pub const JOINT_TRAJECTORY_TOPIC: &str = "/vla_trt/joint_trajectory";

/// Replay failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing a bag.
    #[error(transparent)]
    Bag(#[from] crate::bag::Error),
    /// The bag lacks what the policy reads. Names every missing topic and what the bag has.
    #[error("{}:\n  {}", bag.display(), problems.join("\n  "))]
    Topics {
        /// The bag.
        bag: PathBuf,
        /// One line each.
        problems: Vec<String>,
    },
    /// A replay runs at a rate.
    #[error("rate_hz is 0 or below (no rate of its own); a replay needs one: set rate_hz in the parameters")]
    NoRate,
    /// Settings that do not fit the policy.
    #[error(transparent)]
    Settings(#[from] crate::chunk::Error),
    /// A message of the golden bag.
    #[error("golden bag {}: {source}", file.display())]
    Golden {
        /// The bag.
        file: PathBuf,
        /// What is wrong with it.
        source: message::Error,
    },
    /// No moment of the bag has every input of the policy.
    #[error(
        "{}: no moment has a usable message of every input; record every input topic, and set inputs.*.max_age_ms and \
         inputs.max_skew_ms to what the robot's streams have", bag.display()
    )]
    NoObservation {
        /// The bag.
        bag: PathBuf,
    },
    /// An inference that was to be measured gave no chunk.
    #[error("the policy gave no chunk: {0}")]
    Refused(String),
    /// Two input topics of the settings are one.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl Error {
    /// Whether the run came to its end and nothing came of it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::NoObservation { .. } | Self::Refused(_))
    }
}

/// What to replay and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bag to read.
    pub bag: PathBuf,
    /// MCAP file to write.
    pub output: PathBuf,
    /// Latency assumed between inference and publication.
    pub latency: Span,
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

/// Replays `options.bag` through `session`. `progress` is told the fraction of the bag that is done. The output file is put
/// in place when it holds a chunk; after a run without one, what was at its name is still there.
///
/// # Errors
/// [`Error`]; the output file then does not appear.
pub fn run(
    session: &mut Session,
    settings: &Settings,
    options: &Options,
    progress: &mut dyn FnMut(f64),
) -> Result<Summary, Error> {
    if settings.rate_hz <= 0.0 {
        return Err(Error::NoRate);
    }
    let bag = BagReader::open(&options.bag)?;
    let topics = join_topics(&bag, settings, &options.bag)?;
    let inputs = Inputs::new(settings.inputs.clone()).with_finite_joints(settings.joint_names());
    if !settings.instruction.is_empty() {
        inputs.set_instruction(&settings.instruction);
    }
    session.apply(settings)?;
    let golden = options.golden.as_ref().map(|(file, tolerance)| Golden::open(file, *tolerance)).transpose()?;
    let mut replay = Replay {
        record: Record::new(session.policy(), settings),
        session,
        settings,
        inputs,
        latency: options.latency,
        output: Output::create(&options.output)?,
        complaints: Complaints::default(),
    };
    let (start, end) = (bag.start(), bag.end());
    let wanted: Vec<usize> = topics.iter().map(|(topic, _)| *topic).collect();
    let mut clock = Clock::new(settings.rate_hz);
    for message in bag.messages(&wanted)? {
        let message = message?;
        for now in clock.due_before(message.log_time) {
            replay.cycle(now)?;
        }
        let stamped = |(topic, input): &(usize, usize)| {
            *topic == message.topic && settings.inputs.get(*input).is_some_and(|spec| spec.kind.is_stamped())
        };
        if topics.iter().any(stamped) {
            clock.start(message.log_time);
        }
        for (_, input) in topics.iter().filter(|(topic, _)| *topic == message.topic) {
            replay.offer(*input, message.data.clone(), message.log_time);
        }
        progress((message.log_time - start).seconds() / (end - start).seconds().max(1e-9));
    }
    if let Some(now) = clock.next_at(end) {
        replay.cycle(now)?;
    }
    progress(1.0);
    let record = replay.finish()?;
    let compared = golden.filter(|_| !record.chunks.is_empty()).map(|golden| golden.compare(&options.output));
    let (compared, difference) = compared.transpose()?.unzip();
    Ok(Summary { record, compared, difference: difference.flatten() })
}

/// Inference times: the k-th is computed from k, so that no rounding adds up.
struct Clock {
    period_s: f64,
    first: Option<Stamp>,
    ticks: i64,
}

impl Clock {
    fn new(rate_hz: f64) -> Self {
        Self { period_s: 1.0 / rate_hz, first: None, ticks: 0 }
    }

    /// The first sample with a stamp starts the clock; an instruction alone does not.
    fn start(&mut self, log_time: Stamp) {
        self.first.get_or_insert(log_time);
    }

    fn tick(&self, first: Stamp) -> Stamp {
        first + Span::from_seconds(self.ticks as f64 * self.period_s)
    }

    /// The times that lie before `log_time`: a sample logged at the very time of an inference is used by it.
    fn due_before(&mut self, log_time: Stamp) -> impl Iterator<Item = Stamp> {
        std::iter::from_fn(move || {
            let now = self.tick(self.first?);
            (now < log_time).then(|| {
                self.ticks += 1;
                now
            })
        })
    }

    /// The next time, when it is not after `end`.
    fn next_at(&mut self, end: Stamp) -> Option<Stamp> {
        self.first.map(|first| self.tick(first)).filter(|now| *now <= end)
    }
}

struct Replay<'a> {
    session: &'a mut Session,
    settings: &'a Settings,
    inputs: Inputs,
    latency: Span,
    output: Output,
    record: Record,
    complaints: Complaints,
}

impl Replay<'_> {
    fn offer(&mut self, input: usize, data: bytes::Bytes, log_time: Stamp) {
        if self.settings.inputs.get(input).is_some_and(|spec| spec.kind == InputKind::Joints)
            && let Ok(state) = JointStateView::parse(&data)
        {
            self.record.joint_state(log_time, &state);
        }
        // A refused message is counted by the input and shown in the report, as in the node.
        if let Err(error) = self.inputs.offer(input, data, log_time) {
            self.complaints.take(input, &error);
        }
    }

    fn cycle(&mut self, now: Stamp) -> Result<(), Error> {
        let latency = self.latency;
        let outcome = self.session.cycle(now, &self.inputs, self.settings, false, &mut || now + latency);
        match outcome {
            Outcome::Published(published) => {
                let at = now + latency;
                self.output.chunk(at, published.chunk)?;
                if let Some(trajectory) = published.trajectory {
                    self.output.trajectory(at, trajectory)?;
                }
                self.record.chunk(chunk_record(now, &published));
            }
            Outcome::Unchanged => self.record.unchanged += 1,
            Outcome::Stopped => self.record.stopped += 1,
            Outcome::Violation { violation, stop, .. } => {
                if let Some(stop) = stop {
                    self.output.trajectory(now, stop)?;
                }
                self.record.event(Event::violation(now, &violation));
            }
            Outcome::Refused(refusal) => self.record.event(Event::refusal(now, &refusal.to_string())),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Record, Error> {
        self.complaints.lines().for_each(|line| tracing::warn!("{line}"));
        self.record.inputs = self.inputs.statistics();
        if !self.record.chunks.is_empty() {
            self.output.writer.finish()?;
        }
        Ok(self.record)
    }
}

fn chunk_record(now: Stamp, published: &Published<'_>) -> ChunkRecord {
    let observation: &Observation = published.observation;
    ChunkRecord {
        at: now,
        start: published.chunk.start,
        step: published.chunk.step,
        late_rows: published.chunk.late_rows,
        values: published.chunk.values.clone(),
        ages: observation.identity().map(|(_, stamp)| stamp.age_at(now)).collect(),
        clamped: published.clamped,
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
    fn create(path: &Path) -> Result<Self, Error> {
        let mut writer = BagWriter::create(path)?;
        let mut topic = |name, type_name| -> Result<TopicId, Error> {
            let text = schema::text(type_name).ok_or(Error::Internal("a type without a schema"))?;
            Ok(writer.add_topic(name, type_name, text)?)
        };
        let chunks = topic(ACTION_CHUNK_TOPIC, ActionChunkMessage::TYPE)?;
        let trajectories = topic(JOINT_TRAJECTORY_TOPIC, JointTrajectoryMessage::TYPE)?;
        Ok(Self { writer, chunks, trajectories, buffer: Vec::new() })
    }

    fn chunk(&mut self, at: Stamp, message: &ActionChunkMessage) -> Result<(), Error> {
        message.write(&mut self.buffer);
        Ok(self.writer.write(self.chunks, at, &self.buffer)?)
    }

    fn trajectory(&mut self, at: Stamp, message: &JointTrajectoryMessage) -> Result<(), Error> {
        message.write(&mut self.buffer);
        Ok(self.writer.write(self.trajectories, at, &self.buffer)?)
    }
}

/// (topic of the bag, input of the settings) for every input; a bag may do without the instruction topic when the
/// parameters give one.
fn join_topics(bag: &BagReader, settings: &Settings, path: &Path) -> Result<Vec<(usize, usize)>, Error> {
    let mut joined = Vec::new();
    let mut problems = Vec::new();
    for (input, spec) in settings.inputs.iter().enumerate() {
        let expected = spec.kind.type_name();
        // A relative topic of the settings is what a node in the root namespace would subscribe.
        let name = if spec.topic.starts_with('/') { spec.topic.clone() } else { format!("/{}", spec.topic) };
        match bag.topics().iter().position(|topic| topic.name == name) {
            Some(topic) if bag.topics()[topic].type_name == expected => joined.push((topic, input)),
            Some(topic) => problems.push(format!(
                "topic {name}: expected {expected} for input '{}', found {}",
                spec.name,
                bag.topics()[topic].type_name
            )),
            None if spec.kind == InputKind::Instruction && !settings.instruction.is_empty() => {}
            None => problems.push(format!("no topic {name} ({expected}) for input '{}'", spec.name)),
        }
    }
    if problems.is_empty() {
        return Ok(joined);
    }
    let has: Vec<String> = bag.topics().iter().map(|topic| format!("{} ({})", topic.name, topic.type_name)).collect();
    problems.push(format!("the bag has {}; set inputs.*.topic in the parameters", has.join(", ")));
    Err(Error::Topics { bag: path.to_owned(), problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inference_times_are_multiples_of_the_period_and_a_sample_logged_at_one_belongs_to_it() {
        let at = |ms: i64| Stamp::from_nanos(1_000_000_000 + ms * 1_000_000);
        let mut clock = Clock::new(10.0);
        assert_eq!(clock.due_before(at(0)).count(), 0, "nothing is due before the first sample");
        clock.start(at(0));
        assert_eq!(clock.due_before(at(1)).collect::<Vec<_>>(), [at(0)]);
        assert_eq!(clock.due_before(at(100)).count(), 0);
        assert_eq!(clock.due_before(at(350)).collect::<Vec<_>>(), [at(100), at(200), at(300)]);
        assert_eq!(clock.next_at(at(399)), None);
        assert_eq!(clock.next_at(at(400)), Some(at(400)));
    }
}
