//! The recording of the node: what it observes, its chunks and its motion (parameters `record.*`).
//!
//! Topics are named as in the ROS graph, so `vla-trt replay` and `ros2 bag play` find them. The motion is recorded as
//! `~/joint_trajectory`, whatever outputs carry it out.

use std::sync::Arc;

use super::error::Error;
use super::graph::Names;
use super::outputs::TRAJECTORY;
use vla_base::time::Stamp;
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage, schema, write};
use vla_policy::observation::{InputKind, InputTopic};
use vla_recorder::{Options, OutputRecorder, Qos, RecordedTopic, Recorder, RecorderThread};
use vla_runtime::parameters::Settings;

/// Topic of the chunks.
const CHUNKS: &str = "~/action_chunk";
/// Different messages of a topic of static transforms that every file begins with: one a publisher, most often.
const STATIC_TRANSFORMS: usize = 32;

/// Parts of the recorder, for the threads that feed it. Topics of the inputs have their index among the inputs' topics.
pub(crate) struct NodeRecorder {
    /// For the inputs' messages.
    pub recorder: Recorder,
    /// For chunks.
    pub chunks: ChunkRecorder,
    /// For trajectories.
    pub motion: MotionRecorder,
    /// Writes them.
    pub thread: RecorderThread,
}

impl NodeRecorder {
    /// Starts the recorder where the settings ask for one.
    ///
    /// # Errors
    /// When the system gives no thread. What is wrong with the folder shows in the diagnostics.
    pub(crate) fn start(settings: &Settings, inputs: &[InputTopic], names: &Names) -> Result<Option<Self>, Error> {
        let Some(record) = &settings.record else { return Ok(None) };
        let mut topics: Vec<RecordedTopic> = inputs.iter().map(|topic| input(topic, names)).collect();
        let first = topics.len();
        topics.push(recorded(names.resolve(CHUNKS), ActionChunkMessage::TYPE, Qos::RELIABLE, 0));
        topics.push(recorded(names.resolve(TRAJECTORY), JointTrajectoryMessage::TYPE, Qos::RELIABLE, 0));
        let options = Options {
            folder: record.path.clone(),
            node: names.node().trim_start_matches('/').replace('/', "_"),
            max_bytes: record.max_bytes,
            max_file_bytes: record.max_file_bytes,
            max_file: record.max_file,
        };
        let (recorder, thread) = Recorder::start(options, topics, record.queue_bytes)?;
        tracing::info!("recording into {}", record.path.display());
        let instruction = inputs.iter().position(|topic| topic.kind == InputKind::Instruction);
        let chunks = ChunkRecorder { output: recorder.output(), topic: first, instruction, recorded: None };
        let motion = MotionRecorder { output: recorder.output(), topic: first + 1 };
        Ok(Some(Self { recorder, chunks, motion, thread }))
    }
}

fn input(topic: &InputTopic, names: &Names) -> RecordedTopic {
    let (qos, kept) = match topic.kind {
        InputKind::Instruction => (Qos::LATCHED, 1),
        InputKind::Transform if topic.is_static => (Qos::LATCHED, STATIC_TRANSFORMS),
        _ => (Qos::SENSOR_DATA, 0),
    };
    recorded(names.resolve(&topic.name), topic.kind.type_name(), qos, kept)
}

fn recorded(name: String, type_name: &str, qos: Qos, kept: usize) -> RecordedTopic {
    let schema = schema::text(type_name).unwrap_or_default();
    RecordedTopic { name, type_name: type_name.to_owned(), schema, qos, kept }
}

/// Records chunks, and the instruction that they follow: that of a task or a parameter is on no topic.
pub(crate) struct ChunkRecorder {
    output: OutputRecorder,
    topic: usize,
    /// The topic of the instruction.
    instruction: Option<usize>,
    /// The instruction that was recorded last.
    recorded: Option<Arc<str>>,
}

impl ChunkRecorder {
    /// Records a chunk of an inference that began at `now`.
    pub(crate) fn chunk(&mut self, now: Stamp, chunk: &ActionChunkMessage, instruction: &Arc<str>) {
        if let Some(topic) = self.instruction
            && self.recorded.as_ref() != Some(instruction)
        {
            let text = write::text(instruction);
            // One that was dropped is recorded with the next chunk.
            if self.output.record(topic, now, |bytes| bytes.extend_from_slice(&text)) {
                self.recorded = Some(Arc::clone(instruction));
            }
        }
        self.output.record(self.topic, now + chunk.inference_latency, |bytes| chunk.write(bytes));
    }
}

/// Records trajectories: plans and stops.
pub(crate) struct MotionRecorder {
    output: OutputRecorder,
    topic: usize,
}

impl MotionRecorder {
    /// Records a trajectory at its stamp.
    pub(crate) fn trajectory(&mut self, message: &JointTrajectoryMessage) {
        self.output.record(self.topic, message.stamp, |bytes| message.write(bytes));
    }
}
