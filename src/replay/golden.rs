//! Chunks of this replay against those of an earlier one.

use std::fmt;
use std::path::Path;

use super::{ACTION_CHUNK_TOPIC, Error};
use crate::bag::BagReader;
use crate::message::ActionChunkMessage;
use crate::time::Stamp;

/// The first place where two replays differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// A value beyond the tolerance, or NaN on one side.
    Value {
        /// Stamp of the chunk.
        stamp: Stamp,
        /// Row of the chunk, from 0.
        row: usize,
        /// Joint.
        name: String,
        /// The golden value.
        expected: f32,
        /// This replay's.
        found: f32,
    },
    /// A chunk of another observation, shape or joints.
    Chunk {
        /// Stamp of this replay's chunk.
        stamp: Stamp,
        /// What differs.
        what: &'static str,
        /// In the golden bag.
        expected: String,
        /// Here.
        found: String,
    },
    /// One side ended before the other.
    Count {
        /// Chunks of the golden bag.
        expected: usize,
        /// Chunks of this replay.
        found: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { stamp, row, name, expected, found } => {
                write!(f, "chunk {stamp}, row {row}, {name}: expected {expected}, found {found}")
            }
            Self::Chunk { stamp, what, expected, found } => {
                write!(f, "chunk {stamp}: {what}: expected {expected}, found {found}")
            }
            Self::Count { expected, found } => write!(f, "expected {expected} chunks, found {found}"),
        }
    }
}

/// The golden chunks, compared one by one as new ones are made.
pub struct Golden {
    chunks: Vec<ActionChunkMessage>,
    tolerance: f32,
    compared: usize,
    difference: Option<Difference>,
}

impl Golden {
    /// Reads the chunks of a bag that an earlier replay (or a recording of the node) made.
    ///
    /// # Errors
    /// When it cannot be read, or has no topic of action chunks.
    pub fn open(file: &Path, tolerance: f32) -> Result<Self, Error> {
        let bag = BagReader::open(file)?;
        let topic = bag.topics().iter().position(|topic| topic.type_name == ActionChunkMessage::TYPE);
        let Some(topic) = topic else {
            let problem = format!("no topic of {} (expected {ACTION_CHUNK_TOPIC})", ActionChunkMessage::TYPE);
            return Err(Error::Topics { bag: file.to_owned(), problems: vec![problem] });
        };
        let mut chunks = Vec::new();
        for message in bag.messages(&[topic])? {
            chunks.push(ActionChunkMessage::parse(&message?.data)?);
        }
        Ok(Self { chunks, tolerance, compared: 0, difference: None })
    }

    /// Compares the next chunk; only the first difference is kept.
    pub fn compare(&mut self, found: &ActionChunkMessage) {
        if let Some(expected) = self.chunks.get(self.compared)
            && self.difference.is_none()
        {
            self.difference = difference(expected, found, self.tolerance);
        }
        self.compared += 1;
    }

    /// The first difference; without one, whether both sides have as many chunks.
    pub fn finish(self) -> Option<Difference> {
        let (expected, found) = (self.chunks.len(), self.compared);
        self.difference.or((expected != found).then_some(Difference::Count { expected, found }))
    }
}

fn difference(expected: &ActionChunkMessage, found: &ActionChunkMessage, tolerance: f32) -> Option<Difference> {
    let stamp = found.stamp;
    let chunk = |what, expected: String, found: String| Some(Difference::Chunk { stamp, what, expected, found });
    if expected.input_stamps != found.input_stamps || expected.input_names != found.input_names {
        return chunk("observation", identity(expected), identity(found));
    }
    if expected.names != found.names {
        return chunk("joints", expected.names.join(", "), found.names.join(", "));
    }
    if expected.horizon != found.horizon || expected.values.len() != found.values.len() {
        return chunk("rows", expected.horizon.to_string(), found.horizon.to_string());
    }
    let width = found.names.len().max(1);
    let mut pairs = expected.values.iter().zip(&found.values).enumerate();
    let differs = |a: f32, b: f32| a.is_nan() || b.is_nan() || (a - b).abs() > tolerance;
    let (index, (expected, value)) = pairs.find(|(_, (a, b))| differs(**a, **b))?;
    let name = found.names.get(index % width).cloned().unwrap_or_default();
    Some(Difference::Value { stamp, row: index / width, name, expected: *expected, found: *value })
}

fn identity(chunk: &ActionChunkMessage) -> String {
    let inputs = chunk.input_names.iter().zip(&chunk.input_stamps);
    inputs.map(|(name, stamp)| format!("{name} {stamp}")).collect::<Vec<_>>().join(", ")
}
