//! Recorded commands of a bag: the topics of `--actions-from`, read beside the inputs.

pub(crate) mod timeline;

use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;
use std::path::Path;

use self::timeline::Timeline;
use crate::Error;
use crate::replay::BagSource;
use vla_bags::{BagMessage, BagReader, Messages, Topic};
use vla_base::time::{Span, Stamp};
use vla_messages::cdr::Reader;
use vla_messages::{ActionChunkMessage, JointStateView, JointTrajectoryMessage};
use vla_runtime::parameters::Settings;

const FLOAT64_MULTI_ARRAY: &str = "std_msgs/msg/Float64MultiArray";
/// Messages that are looked through for the joints of the commands.
const MESSAGES: usize = 4096;
/// A header stamp farther from the replay's clock than this is of another clock.
const LONGEST_DELAY: Span = Span::from_nanos(60_000_000_000);

/// The message of a topic with commands.
#[derive(Clone, Debug, PartialEq)]
enum CommandType {
    JointState,
    /// Joints in the order of its values.
    Array(Vec<String>),
    Trajectory,
    Chunk,
}

/// The topics with commands of a bag, and how their messages are read.
pub(crate) struct CommandTopics {
    bag: BagReader,
    /// Topic of the bag and its type.
    topics: Vec<(usize, CommandType)>,
    columns: HashMap<String, usize>,
    /// Time from a command without a time of execution to that time.
    ahead: Span,
}

impl CommandTopics {
    /// Finds the topics `names` in the bag, and the columns in their first messages. `ahead`: time from a command without a time
    /// of execution to that time; `step`: from row to row.
    ///
    /// # Errors
    /// [`Error::Topics`] for a topic that is missing or of a type that gives no joint positions;
    /// [`Error::RecordedActions`] for columns that no topic gives; a bag that cannot be read.
    pub(crate) fn open(
        source: &BagSource,
        names: &[String],
        ahead: Span,
        columns: &[String],
        step: Span,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let (bag, path) = (source.open()?, &source.bag);
        let (mut topics, mut problems) = (Vec::new(), Vec::new());
        for name in names {
            match find(bag.topics(), name, columns, settings) {
                Ok(found) => topics.push(found),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            let has = bag.topics().iter().map(|topic| format!("{} ({})", topic.name, topic.type_name));
            problems.push(format!("the bag has {}", has.collect::<Vec<_>>().join(", ")));
            return Err(Error::Topics { bag: path.clone(), problems });
        }
        let by_name = columns.iter().enumerate().map(|(index, column)| (column.clone(), index)).collect();
        let commands = Self { bag, topics, columns: by_name, ahead };
        commands.check(path, names, columns, step)?;
        Ok(commands)
    }

    /// Every column must be in the first messages of some topic.
    fn check(&self, path: &Path, names: &[String], columns: &[String], step: Span) -> Result<(), Error> {
        let mut first = Timeline::new(columns.iter().map(|_| false), step, true);
        let mut joints = BTreeSet::new();
        for message in self.messages()?.take(MESSAGES) {
            let message = message?;
            self.read(&message, message.log_time, &mut first, &mut |joint| {
                joints.insert(joint.to_owned());
            })?;
            if first.covered().is_some() {
                return Ok(());
            }
        }
        let missing: Vec<&str> = first.empty().filter_map(|at| columns.get(at)).map(String::as_str).collect();
        let found: Vec<String> = joints.into_iter().collect();
        let found = if found.is_empty() { "none".to_owned() } else { format!("those of {}", found.join(", ")) };
        Err(Error::RecordedActions {
            recording: path.to_owned(),
            reason: format!("expected commands of {} on {}, found {found}", missing.join(", "), names.join(", ")),
        })
    }

    fn messages(&self) -> Result<Messages<'_>, Error> {
        let topics: Vec<usize> = self.topics.iter().map(|(topic, _)| *topic).collect();
        Ok(self.bag.messages(&topics)?)
    }

    /// The commands in the order of the log.
    ///
    /// # Errors
    /// A topic that is not CDR.
    pub(crate) fn iter(&self) -> Result<Commands<'_>, Error> {
        Ok(Commands { topics: self, messages: self.messages()?.peekable() })
    }

    /// Puts the values of a message that came at `now` into the timeline. `see` receives each joint or column that it has.
    fn read(
        &self,
        message: &BagMessage,
        now: Stamp,
        timeline: &mut Timeline,
        see: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        let Some((_, kind)) = self.topics.iter().find(|(topic, _)| *topic == message.topic) else { return Ok(()) };
        let damaged = |reason: String| {
            let topic = self.bag.topics().get(message.topic).map(|topic| topic.name.clone()).unwrap_or_default();
            let reason = format!("topic {topic}, message at {}: {reason}", message.log_time);
            Error::RecordedActions { recording: self.bag.path().to_owned(), reason }
        };
        let unreadable = |error: vla_messages::Error| damaged(error.to_string());
        let mut push = |name: &str, at: Stamp, value: f64| {
            see(name);
            if let Some(column) = self.columns.get(name).filter(|_| value.is_finite()) {
                timeline.push(*column, at, value);
            }
        };
        match kind {
            CommandType::JointState => {
                let state = JointStateView::parse(&message.data).map_err(unreadable)?;
                let at = stamp_or(state.header.stamp, now) + self.ahead;
                for (name, position) in state.names().zip(state.positions()) {
                    push(name, at, position);
                }
            }
            CommandType::Array(joints) => {
                let values = multi_array(&message.data).map_err(unreadable)?;
                if values.len() != joints.len() {
                    let (expected, found) = (joints.len(), values.len());
                    return Err(damaged(format!(
                        "expected {expected} values ({}), found {found}; give the joints in their order as an output of the \
                         parameters with this topic (outputs.<name>.joints)",
                        joints.join(", ")
                    )));
                }
                joints.iter().zip(values).for_each(|(joint, value)| push(joint, now + self.ahead, value));
            }
            CommandType::Trajectory => {
                let trajectory = JointTrajectoryMessage::parse(&message.data).map_err(unreadable)?;
                let start = stamp_or(trajectory.stamp, now);
                for point in &trajectory.points {
                    let at = start + point.time_from_start;
                    trajectory
                        .joint_names
                        .iter()
                        .zip(&point.positions)
                        .for_each(|(joint, value)| push(joint, at, *value));
                }
            }
            CommandType::Chunk => {
                let chunk = ActionChunkMessage::parse(&message.data).map_err(unreadable)?;
                for (row, values) in chunk.values.chunks_exact(chunk.names.len().max(1)).enumerate() {
                    let at = chunk.start + chunk.step.times(row as i64);
                    chunk.names.iter().zip(values).for_each(|(name, value)| push(name, at, f64::from(*value)));
                }
            }
        }
        Ok(())
    }
}

/// The commands of a bag, read up to the time of the inputs.
pub(crate) struct Commands<'c> {
    topics: &'c CommandTopics,
    messages: Peekable<Messages<'c>>,
}

impl Commands<'_> {
    /// Reads the commands logged up to `log_time`, which came by `now` of the replay's clock.
    ///
    /// # Errors
    /// A message that cannot be read.
    pub(crate) fn read_until(&mut self, log_time: Stamp, now: Stamp, timeline: &mut Timeline) -> Result<(), Error> {
        let due =
            |next: &Result<BagMessage, vla_bags::Error>| next.as_ref().map_or(true, |next| next.log_time <= log_time);
        while let Some(message) = self.messages.next_if(due) {
            self.topics.read(&message?, now, timeline, &mut |_| {})?;
        }
        Ok(())
    }
}

/// The header's stamp where it is of the replay's clock.
fn stamp_or(stamp: Stamp, now: Stamp) -> Stamp {
    if stamp != Stamp::default() && (stamp - now).abs() <= LONGEST_DELAY { stamp } else { now }
}

fn find(topics: &[Topic], name: &str, columns: &[String], settings: &Settings) -> Result<(usize, CommandType), String> {
    let named: Vec<_> = topics.iter().enumerate().filter(|(_, topic)| topic.name == *name).collect();
    let types =
        [JointTrajectoryMessage::TYPE, "sensor_msgs/msg/JointState", FLOAT64_MULTI_ARRAY, ActionChunkMessage::TYPE];
    let expected = || types.join(", ");
    let Some((index, topic)) = named.iter().find(|(_, topic)| types.contains(&topic.type_name.as_str())) else {
        return Err(match named.first() {
            Some((_, topic)) => format!("topic {name}: expected one of {}, found {}", expected(), topic.type_name),
            None => format!("no topic {name} with recorded actions (one of {})", expected()),
        });
    };
    let kind = match topic.type_name.as_str() {
        FLOAT64_MULTI_ARRAY => CommandType::Array(array_joints(name, columns, settings)),
        JointTrajectoryMessage::TYPE => CommandType::Trajectory,
        ActionChunkMessage::TYPE => CommandType::Chunk,
        _ => CommandType::JointState,
    };
    Ok((*index, kind))
}

/// Joints in the order of a message's values: those of the output on this topic, else all columns.
fn array_joints(topic: &str, columns: &[String], settings: &Settings) -> Vec<String> {
    let output = settings.outputs.iter().find(|output| output.route.topic() == Some(topic));
    output.map_or_else(|| columns.to_vec(), |output| output.joints.clone())
}

/// The values of a `std_msgs/Float64MultiArray`.
fn multi_array(bytes: &[u8]) -> Result<Vec<f64>, vla_messages::Error> {
    let mut reader = Reader::new(FLOAT64_MULTI_ARRAY, bytes)?;
    // A label's length, size and stride.
    for _ in 0..reader.length("layout.dim", 12)? {
        reader.string("layout.dim.label")?;
        reader.u32("layout.dim.size")?;
        reader.u32("layout.dim.stride")?;
    }
    reader.u32("layout.data_offset")?;
    Ok(reader.doubles("data")?.iter().collect())
}
