//! What a replay reads and gives, as entities of Rerun.

use std::collections::BTreeMap;
use std::path::Path;

use re_chunk::{Chunk, TimePoint};
use re_sdk_types::archetypes::TextDocument;

use super::Pictures;
use super::file::{RrdStream, time_point};
use super::lines::{Lines, Style};
use super::pictures::{Camera, picture};
use crate::Error;
use crate::replay::Sink;
use vla_base::time::Stamp;
use vla_messages::{ActionChunkMessage, FrameDecoder, JointStateView, JointTrajectoryMessage, text};
use vla_policy::observation::{InputKind, InputSpec, InputTopic};

/// Entity of the instruction.
const INSTRUCTION: &str = "instruction";

/// A file that is being written. It holds a megabyte of each camera's pictures and 4096 values of each joint; the rest is on the disk.
pub(crate) struct Scene {
    file: RrdStream,
    inputs: Vec<InputSpec>,
    cameras: BTreeMap<String, Camera>,
    measured: Lines,
    chunks: Lines,
    motion: Lines,
    /// The newest trajectory. What is carried out of it is known when the next one comes.
    newest: Option<JointTrajectoryMessage>,
    instruction: String,
    decoder: FrameDecoder,
    pictures: Pictures,
}

impl Scene {
    /// Starts a file, which the viewer shows as `name`. `inputs`: of the settings; `instruction`: of the parameters, or empty.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn create(file: &Path, name: &str, inputs: &[InputSpec], instruction: &str) -> Result<Self, Error> {
        let mut scene = Self {
            file: RrdStream::create(file, name)?,
            inputs: inputs.to_vec(),
            cameras: BTreeMap::new(),
            measured: Lines::new("measured", Style::Line),
            chunks: Lines::new("chunks", Style::Points),
            motion: Lines::new("motion", Style::Line),
            newest: None,
            instruction: String::new(),
            decoder: FrameDecoder::default(),
            pictures: Pictures::default(),
        };
        scene.instruction(TimePoint::STATIC, instruction)?;
        Ok(scene)
    }

    /// Completes the file and puts it in place.
    ///
    /// # Errors
    /// A file that cannot be written; it does not appear then.
    pub(crate) fn finish(mut self) -> Result<Pictures, Error> {
        if let Some(last) = self.newest.take() {
            self.carried_out(&last, None)?;
        }
        let file = &mut self.file;
        self.cameras.values_mut().try_for_each(|camera| camera.flush(file))?;
        [self.measured, self.chunks, self.motion].iter_mut().try_for_each(|lines| lines.flush(file))?;
        self.file.finish()?;
        Ok(self.pictures)
    }

    fn instruction(&mut self, at: TimePoint, instruction: &str) -> Result<(), Error> {
        if instruction == self.instruction {
            return Ok(());
        }
        instruction.clone_into(&mut self.instruction);
        self.file.write(Chunk::builder(INSTRUCTION).with_archetype_auto_row(at, &TextDocument::new(instruction)))
    }

    /// Adds the points of a trajectory that come before `until`, at which the next one takes over.
    fn carried_out(&mut self, trajectory: &JointTrajectoryMessage, until: Option<Stamp>) -> Result<(), Error> {
        for point in &trajectory.points {
            let at = trajectory.stamp + point.time_from_start;
            if until.is_some_and(|until| at >= until) {
                break;
            }
            for (joint, position) in trajectory.joint_names.iter().zip(&point.positions) {
                self.motion.push(&mut self.file, joint, at, *position)?;
            }
        }
        Ok(())
    }
}

impl Sink for Scene {
    fn input(&mut self, at: Stamp, topic: &InputTopic, message: &[u8]) -> Result<(), Error> {
        if topic.kind == InputKind::Instruction {
            // A damaged one is counted by the input.
            return text(message).map_or(Ok(()), |instruction| self.instruction(time_point(at), instruction));
        }
        let Self { file, inputs, cameras, measured, decoder, pictures, .. } = self;
        for input in topic.inputs.iter().filter_map(|input| inputs.get(*input)) {
            match input.kind {
                InputKind::Camera { transport } => match picture((transport, input.frames), message, decoder) {
                    Ok(picture) => {
                        let camera = cameras.entry(input.name.clone()).or_insert_with(|| Camera::new(&input.name));
                        camera.push(file, at, picture)?;
                        pictures.written += 1;
                    }
                    Err(error) => {
                        tracing::debug!("camera '{}': a picture is left out: {error}", input.name);
                        pictures.refused += 1;
                    }
                },
                InputKind::Joints => {
                    let Ok(state) = JointStateView::parse(message) else { continue };
                    for (joint, position) in positions(input, topic, &state) {
                        measured.push(file, &joint, at, position)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Every row at its due time.
    fn chunk(&mut self, _at: Stamp, chunk: &ActionChunkMessage) -> Result<(), Error> {
        for (row, values) in (0..).zip(chunk.values.chunks(chunk.names.len().max(1))) {
            let due = chunk.start + chunk.step.times(row);
            for (joint, value) in chunk.names.iter().zip(values) {
                self.chunks.push(&mut self.file, joint, due, f64::from(*value))?;
            }
        }
        Ok(())
    }

    fn trajectory(&mut self, _at: Stamp, trajectory: &JointTrajectoryMessage) -> Result<(), Error> {
        match self.newest.replace(trajectory.clone()) {
            Some(before) => self.carried_out(&before, Some(trajectory.stamp)),
            None => Ok(()),
        }
    }
}

/// The joints of the policy in a joint state, by their names in the policy's parameters.
fn positions<'s>(
    input: &'s InputSpec,
    topic: &'s InputTopic,
    state: &'s JointStateView<'s>,
) -> impl Iterator<Item = (String, f64)> + 's {
    let joints = &input.joints;
    let index = input.topics.iter().position(|name| **name == *topic.name).unwrap_or_default();
    let prefix = joints.prefixes.get(index).map_or("", String::as_str);
    let named = state.names().zip(state.positions()).map(move |(name, position)| (format!("{prefix}{name}"), position));
    named.filter(move |(joint, _)| {
        let elsewhere = joints.topic_of.iter().any(|(name, of)| name == joint && **of != *topic.name);
        !elsewhere && (joints.read.contains(joint) || joints.moved.contains(joint))
    })
}
