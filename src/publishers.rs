//! Output of a cycle: `~/action_chunk`, and the routes of the motion, serialised by [`vla_messages`] as in a replay.

use std::sync::Arc;

use r2r::{Node, PublisherUntyped, QosProfile};

use super::error::Error;
use super::outputs::Outputs;
use super::recording::ChunkRecorder;
use vla_base::time::Stamp;
use vla_messages::ActionChunkMessage;

/// The policy's output. Owned by the inference thread; buffers are reused.
pub(crate) struct Publishers {
    chunk: PublisherUntyped,
    outputs: Outputs,
    recorder: Option<ChunkRecorder>,
    bytes: Vec<u8>,
}

impl Publishers {
    /// Creates the topic of chunks, reliable with depth 10.
    ///
    /// # Errors
    /// When the middleware refuses a name, or the type was not built in.
    pub(crate) fn create(node: &mut Node, outputs: Outputs, recorder: Option<ChunkRecorder>) -> Result<Self, Error> {
        let mut publisher = |name: &str, type_name: &str| {
            let publisher = node.create_publisher_untyped(name, type_name, QosProfile::default());
            publisher.map_err(|e| Error::endpoint("topic", name, e))
        };
        Ok(Self { chunk: publisher("~/action_chunk", ActionChunkMessage::TYPE)?, outputs, recorder, bytes: Vec::new() })
    }

    /// Publishes a chunk of an inference that began at `now` and follows `instruction`.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    pub(crate) fn chunk(
        &mut self,
        now: Stamp,
        message: &ActionChunkMessage,
        instruction: &Arc<str>,
    ) -> Result<(), r2r::Error> {
        message.write(&mut self.bytes);
        let published = self.chunk.publish_raw(&self.bytes);
        if let Some(recorder) = &mut self.recorder {
            recorder.chunk(now, message, instruction);
        }
        published
    }

    /// The routes of the motion.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.outputs
    }
}
