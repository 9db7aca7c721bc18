//! Comparison of a replay's output with that of an earlier one.
//!
//! Chunks are compared by values and due times, and trajectories point by point, so that latency, hand-over and limits show
//! by their effect. Both files are read side by side, so that memory holds one message of each.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{ACTION_CHUNK_TOPIC, JOINT_TRAJECTORY_TOPIC, Topics};
use crate::Error;
use vla_bags::BagReader;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};

mod difference;

pub use difference::Difference;
use difference::{Limits, chunks_differ, trajectories_differ};

/// What of two files was compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    /// Chunks, by values and due times.
    pub chunks: usize,
    /// Trajectories, by points; or why they are left out.
    pub trajectories: Result<usize, LeftOut>,
}

/// Why trajectories are not compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOut {
    /// The golden file has none.
    None,
    /// The golden file was recorded from a running node: its trajectories start whenever inference was done.
    Live,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chunks (observation, values, start, step)", self.chunks)?;
        match self.trajectories {
            Ok(count) => write!(f, ", {count} trajectories (every point: time, position, velocity)")?,
            Err(LeftOut::None) => f.write_str("; no trajectories, for the golden file has none")?,
            Err(LeftOut::Live) => f.write_str("; no trajectories, for the golden file is a live recording")?,
        }
        f.write_str("; inference_latency and late_rows are left out")
    }
}

/// An earlier replay, or a recording of the node.
pub struct Golden {
    file: PathBuf,
    bag: BagReader,
    chunks: usize,
    trajectories: Result<usize, LeftOut>,
    tolerance: f32,
}

impl Golden {
    /// Opens a bag that an earlier replay (or a recorder beside the node) made, and reads it once.
    ///
    /// # Errors
    /// When it cannot be read, or has no topic of action chunks.
    pub fn open(file: &Path, tolerance: f32) -> Result<Self, Error> {
        let bag = BagReader::open(file)?;
        let topic = bag.topics().iter().position(|topic| topic.type_name == ActionChunkMessage::TYPE);
        let Some(chunks) = topic else {
            let problem = format!("no topic of {} (expected {ACTION_CHUNK_TOPIC})", ActionChunkMessage::TYPE);
            return Err(Error::Topics { bag: file.to_owned(), problems: vec![problem] });
        };
        let trajectories = trajectory_topic(&bag, chunks);
        let trajectories = match trajectories {
            None => Err(LeftOut::None),
            Some(topic) => match is_live(&bag, chunks, topic)? {
                None => Err(LeftOut::None),
                Some(true) => Err(LeftOut::Live),
                Some(false) => Ok(topic),
            },
        };
        Ok(Self { file: file.to_owned(), bag, chunks, trajectories, tolerance })
    }

    /// Compares with the finished output of this replay, which has these topics: what was compared, and the first difference.
    ///
    /// # Errors
    /// When one of both cannot be read.
    pub fn compare(&self, output: &Path, topics: &Topics) -> Result<(Compared, Option<Difference>), Error> {
        let bag = BagReader::open(output)?;
        let topic =
            |name: &str| bag.find(name).ok_or_else(|| Error::Internal(format!("no topic {name} in the output")));
        let mut step_s = f64::NAN;
        let differ = |expected: &[u8], found: &[u8]| {
            let (expected, found) = (ActionChunkMessage::parse(expected)?, ActionChunkMessage::parse(found)?);
            if step_s.is_nan() {
                step_s = expected.step.seconds();
            }
            Ok(chunks_differ(&expected, &found, self.tolerance))
        };
        let (chunks, mut difference) =
            self.side_by_side("chunks", (&bag, topic(&topics.chunks)?), self.chunks, differ)?;
        let mut trajectories = self.trajectories;
        if let Ok(golden) = self.trajectories {
            let limits = Limits::new(self.tolerance, step_s);
            let differ = |expected: &[u8], found: &[u8]| {
                let (expected, found) =
                    (JointTrajectoryMessage::parse(expected)?, JointTrajectoryMessage::parse(found)?);
                Ok(trajectories_differ(&expected, &found, limits))
            };
            let ours = (&bag, topic(&topics.trajectories)?);
            let (count, other) = self.side_by_side("trajectories", ours, golden, differ)?;
            trajectories = Ok(count);
            difference = difference.or(other);
        }
        Ok((Compared { chunks, trajectories }, difference))
    }

    /// Compares the messages of a topic one by one up to the first difference; without one, their number.
    fn side_by_side(
        &self,
        what: &'static str,
        (ours, our_topic): (&BagReader, usize),
        golden_topic: usize,
        mut differ: impl FnMut(&[u8], &[u8]) -> Result<Option<Difference>, vla_messages::Error>,
    ) -> Result<(usize, Option<Difference>), Error> {
        let (mut golden, mut new) = (self.bag.messages(&[golden_topic])?, ours.messages(&[our_topic])?);
        let mut compared = 0;
        loop {
            let (expected, found) = (golden.next().transpose()?, new.next().transpose()?);
            let (Some(expected), Some(found)) = (&expected, &found) else {
                let (expected, found) = (usize::from(expected.is_some()), usize::from(found.is_some()));
                if expected == found {
                    return Ok((compared, None));
                }
                let (expected, found) = (compared + expected + golden.count(), compared + found + new.count());
                return Ok((compared, Some(Difference::Count { what, expected, found })));
            };
            let difference = differ(&expected.data, &found.data)
                .map_err(|source| Error::Golden { file: self.file.clone(), source })?;
            compared += 1;
            if difference.is_some() {
                return Ok((compared, difference));
            }
        }
    }
}

/// The trajectories of the node whose chunks these are; there may be others', such as a controller's.
fn trajectory_topic(bag: &BagReader, chunks: usize) -> Option<usize> {
    let name = &bag.topics().get(chunks)?.name;
    let name = name.strip_suffix("action_chunk").map(|node| format!("{node}joint_trajectory"));
    let topic = bag.find(name.as_deref().unwrap_or(JOINT_TRAJECTORY_TOPIC))?;
    bag.topics().get(topic).is_some_and(|topic| topic.type_name == JointTrajectoryMessage::TYPE).then_some(topic)
}

/// Whether a bag was recorded from a running node; `None` without trajectories. A replay publishes every chunk after the
/// same latency, to the nanosecond, and logs every trajectory at its own stamp. A running node's latencies vary, and a
/// recorder logs when a message has arrived.
fn is_live(bag: &BagReader, chunks: usize, trajectories: usize) -> Result<Option<bool>, Error> {
    let (mut latency, mut any, mut live) = (None, false, false);
    let golden = |source| Error::Golden { file: bag.path().to_owned(), source };
    for message in bag.messages(&[chunks, trajectories])? {
        let message = message?;
        if message.topic == chunks {
            let found = ActionChunkMessage::parse(&message.data).map_err(golden)?.inference_latency;
            live |= *latency.get_or_insert(found) != found;
        } else {
            any = true;
            live |= JointTrajectoryMessage::parse(&message.data).map_err(golden)?.stamp != message.log_time;
        }
    }
    Ok(any.then_some(live))
}
