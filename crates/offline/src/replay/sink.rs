//! Where the messages of a replay go.

use std::path::Path;

use super::Topics;
use crate::Error;
use vla_bags::{BagWriter, TopicId};
use vla_base::time::Stamp;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage, schema};
use vla_policy::observation::InputTopic;

/// Receives the messages of a replay in order, each with the time at which a node would publish it.
pub(crate) trait Sink {
    /// A message of an input that came at `at`, before the replay reads it; it may be damaged.
    ///
    /// # Errors
    /// When it cannot be written; the replay then ends.
    fn input(&mut self, _at: Stamp, _topic: &InputTopic, _message: &[u8]) -> Result<(), Error> {
        Ok(())
    }

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

impl<A: Sink, B: Sink> Sink for (A, Option<B>) {
    fn input(&mut self, at: Stamp, topic: &InputTopic, message: &[u8]) -> Result<(), Error> {
        self.0.input(at, topic, message)?;
        self.1.as_mut().map_or(Ok(()), |sink| sink.input(at, topic, message))
    }

    fn chunk(&mut self, at: Stamp, chunk: &ActionChunkMessage) -> Result<(), Error> {
        self.0.chunk(at, chunk)?;
        self.1.as_mut().map_or(Ok(()), |sink| sink.chunk(at, chunk))
    }

    fn trajectory(&mut self, at: Stamp, trajectory: &JointTrajectoryMessage) -> Result<(), Error> {
        self.0.trajectory(at, trajectory)?;
        self.1.as_mut().map_or(Ok(()), |sink| sink.trajectory(at, trajectory))
    }
}

/// The output bag with its two topics and one reused buffer.
pub(super) struct Output {
    writer: BagWriter,
    chunks: TopicId,
    trajectories: TopicId,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn create(path: &Path, topics: &Topics) -> Result<Self, Error> {
        let mut writer = BagWriter::create(path)?;
        let mut topic = |name: &str, type_name| -> Result<TopicId, Error> {
            let text = schema::text(type_name).ok_or_else(|| Error::Internal(format!("no schema of {type_name}")))?;
            Ok(writer.add_topic(name, type_name, text)?)
        };
        let chunks = topic(&topics.chunks, ActionChunkMessage::TYPE)?;
        let trajectories = topic(&topics.trajectories, JointTrajectoryMessage::TYPE)?;
        Ok(Self { writer, chunks, trajectories, buffer: Vec::new() })
    }

    /// Completes the bag and puts it in place.
    pub(super) fn finish(self) -> Result<(), Error> {
        self.writer.finish()?;
        Ok(())
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
