//! The rows of an episode as messages.

use std::collections::{BTreeSet, VecDeque};
use std::sync::PoisonError;

use bytes::Bytes;

use super::super::TimedMessage;
use super::{DatasetRecording, START};
use crate::Error;
use vla_bags::BagMessage;
use vla_base::time::{Span, Stamp};
use vla_datasets::{ColorSpace, Frame, Frames, Row, Rows};
use vla_messages::{HeaderView, write};
use vla_policy::observation::InputKind;

/// Largest difference, in rad or m, of two values of one joint that two keys share.
const SAME: f64 = 1e-4;

impl DatasetRecording {
    /// The messages of an episode, of the rows that are not before `from`.
    pub(in super::super) fn messages(&self, index: usize, from: Option<Stamp>) -> Result<EpisodeMessages<'_>, Error> {
        let (episode, rows) = self.rows(index)?;
        let mut cameras = Vec::new();
        for (at, topic) in self.topics.iter().enumerate() {
            let Some((name, feature)) = self.camera_of(topic) else { continue };
            let frames = self.dataset.frames(episode, feature, self.color)?;
            self.report_color(name, &frames);
            cameras.push(Camera { topic: at, name: name.to_owned(), frames });
        }
        let joints = self.state.iter().flat_map(|map| map.joints.iter().cloned());
        let mut names: Vec<String> = joints.chain(self.moved.iter().map(|(joint, _)| joint.clone())).collect();
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(EpisodeMessages {
            recording: self,
            start: self.starts.get(index).copied().unwrap_or(START),
            from,
            rows,
            cameras,
            names,
            task: None,
            queue: VecDeque::new(),
            failed: false,
        })
    }

    /// Logs once for each camera how its colours are converted; a tag that decoders treat differently is a warning.
    fn report_color(&self, camera: &str, frames: &Frames) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if !reported.insert(camera.to_owned()) {
            return;
        }
        match (frames.other_matrix(), self.color) {
            (Some(matrix), ColorSpace::Tagged) => tracing::warn!(
                "camera '{camera}': its video is tagged {matrix}, and its colours follow the tag, as with torchcodec and PyAV 18; if the \
                 policy was trained with PyAV 15 or OpenCV, which ignore the tag, use --color bt601"
            ),
            (Some(matrix), ColorSpace::Bt601) => {
                tracing::info!("camera '{camera}': the tag {matrix} is ignored; BT.601")
            }
            (None, _) => tracing::info!("camera '{camera}': BT.601 or images, the same with every decoder"),
        }
    }
}

/// See [`Segment::messages`](super::super::Segment::messages).
pub struct EpisodeMessages<'r> {
    recording: &'r DatasetRecording,
    start: Stamp,
    from: Option<Stamp>,
    rows: Rows,
    cameras: Vec<Camera>,
    /// Names of the joint state.
    names: Vec<String>,
    /// Task of the last row, where there was one.
    task: Option<Option<i64>>,
    /// Messages of the current row.
    queue: VecDeque<TimedMessage>,
    failed: bool,
}

struct Camera {
    topic: usize,
    name: String,
    frames: Frames,
}

impl EpisodeMessages<'_> {
    /// Makes the messages of a row.
    fn row(&mut self, row: &Row) -> Result<(), Error> {
        let recording = self.recording;
        let time = self.start + Span::from_seconds(row.timestamp);
        if let Some(topic) = recording.topic_of(InputKind::Instruction)
            && recording.instruction.is_empty()
            && self.task != Some(row.task)
            && let Some(text) = recording.dataset.task(row.task)
        {
            self.push(topic, time, write::text(text));
        }
        self.task = Some(row.task);
        if let Some(topic) = recording.topic_of(InputKind::Joints) {
            let positions = self.positions(row)?;
            let header = HeaderView { stamp: time, frame_id: "" };
            self.push(topic, time, write::joint_state(header, &self.names, &positions, &[], &[]));
        }
        for camera in &mut self.cameras {
            let Frame { width, height, rgb } = camera.frames.at(row)?;
            let header = HeaderView { stamp: time, frame_id: &camera.name };
            let (columns, rows, step) = (width as u32, height as u32, 3 * width as u32);
            let data = Bytes::from(write::image(header, columns, rows, "rgb8", step, rgb));
            self.queue.push_back(timed(camera.topic, time, data));
        }
        Ok(())
    }

    fn push(&mut self, topic: usize, time: Stamp, data: Vec<u8>) {
        self.queue.push_back(timed(topic, time, data.into()));
    }

    /// Positions of the joints of [`Self::names`].
    fn positions(&self, row: &Row) -> Result<Vec<f64>, Error> {
        let recording = self.recording;
        let mut positions: Vec<Option<f64>> = vec![None; self.names.len()];
        let mut place = |joint: &String, value: f64| {
            let slot = self.names.iter().position(|name| name == joint).and_then(|at| positions.get_mut(at));
            match slot {
                Some(Some(known)) if (*known - value).abs() > SAME => {
                    Err(Error::SharedJoint { joint: joint.clone(), row: row.frame, first: *known, second: value })
                }
                Some(slot) => {
                    slot.get_or_insert(value);
                    Ok(())
                }
                None => Ok(()),
            }
        };
        let mut rest = row.values.as_slice();
        for map in &recording.state {
            let (values, others) = rest.split_at_checked(map.joints.len()).unwrap_or((rest, &[]));
            rest = others;
            for (at, (joint, value)) in map.joints.iter().zip(values).enumerate() {
                place(joint, map.to_joint(at, f64::from(*value)).unwrap_or(f64::NAN))?;
            }
        }
        // The recorded command stands in for the position of a joint that the state lacks: the motion of a chunk begins there.
        for (joint, column) in &recording.moved {
            let value = rest.get(*column).copied().unwrap_or(f32::NAN);
            place(joint, recording.to_joint(*column, f64::from(value)))?;
        }
        Ok(positions.into_iter().map(|position| position.unwrap_or(f64::NAN)).collect())
    }
}

fn timed(topic: usize, time: Stamp, data: Bytes) -> TimedMessage {
    TimedMessage { time, message: BagMessage { topic, log_time: time, data } }
}

impl Iterator for EpisodeMessages<'_> {
    type Item = Result<TimedMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.is_empty() && !self.failed {
            let row = match self.rows.next()? {
                Ok(row) => row,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error.into()));
                }
            };
            if self.from.is_some_and(|from| self.start + Span::from_seconds(row.timestamp) < from) {
                continue;
            }
            if let Err(error) = self.row(&row) {
                self.failed = true;
                return Some(Err(error));
            }
        }
        self.queue.pop_front().map(Ok)
    }
}
