//! Joint state and poses to the `state` tensor, and the raw state that relative actions refer to.

use std::ops::Range;

use super::Error;
use super::encode::EncodeError;
use super::encode::pose::{PoseConvention, PoseLayout, PoseMap};
use super::encode::state::StateEncoder;
use super::processor::{ActionKey, Conversion, Processor, StateKey};
use super::unit_check::UnitCheck;
use crate::observation::{self, JointMap, JointSample, Observation, PoseSample, StateReader};
use vla_base::tensor::{DType, HostTensor};

/// Reads joints by name and poses, in the model's units and layout, and normalises them.
pub(super) struct State {
    /// Of the keys that are read from joints.
    reader: StateReader,
    /// Values of these keys, concatenated.
    joints: Vec<f32>,
    keys: Vec<Key>,
    encoder: StateEncoder,
    units: UnitCheck,
    /// States in model units and order, before normalisation: one row a time, the observation's own last.
    raw: Vec<f32>,
    /// Values of one row.
    width: usize,
    /// `[times, max_state_dim]`; one time without a history.
    tensor: HostTensor,
}

struct Key {
    /// Columns of the raw state.
    columns: Range<usize>,
    source: StateSource,
}

enum StateSource {
    /// Range of the reader's values.
    Joints(Range<usize>),
    Pose {
        input: String,
        layout: PoseLayout,
        convention: PoseConvention,
    },
}

impl State {
    /// `joints` and `poses`: the source of each state key; those of joints in model order.
    ///
    /// # Errors
    /// [`Error::StateKey`] for a key with no source, with two sources, with another width than its source, or of other parts of a pose
    /// than the relative actions that refer to it.
    pub(crate) fn new(processor: &Processor, joints: &[JointMap], poses: &[PoseMap]) -> Result<Self, Error> {
        let (mut start, mut read) = (0, 0);
        let mut keys = Vec::with_capacity(processor.state.len());
        let mut maps = Vec::with_capacity(joints.len());
        for StateKey { name: key, width, .. } in &processor.state {
            let refused = |found: String| Error::StateKey { key: key.clone(), width: *width, found };
            let map = joints.iter().find(|map| map.key == *key);
            let source = match (map, poses.iter().find(|map| map.key == *key)) {
                (Some(map), None) if map.joints.len() == *width => {
                    maps.push(map.clone());
                    read += width;
                    StateSource::Joints(read - width..read)
                }
                (Some(map), None) => return Err(refused(format!("{} joints", map.joints.len()))),
                (None, Some(pose)) => {
                    let layout = PoseLayout::of(&pose.parts, *width).ok_or_else(|| {
                        refused(match &pose.parts[..] {
                            [] => format!("a pose, which has {}", PoseLayout::WIDTHS),
                            parts => format!("{} values of a pose", PoseLayout::of_parts(parts).width()),
                        })
                    })?;
                    let referred = PoseLayout::of_width(*width).filter(|_| refers_to_pose(processor, key));
                    if let Some(expected) = referred.filter(|expected| *expected != layout) {
                        return Err(refused(format!("{layout}, and relative actions refer to {expected}")));
                    }
                    StateSource::Pose { input: pose.input.clone(), layout, convention: pose.convention }
                }
                (Some(_), Some(_)) => return Err(refused("both".to_owned())),
                (None, None) => return Err(refused("neither".to_owned())),
            };
            keys.push(Key { columns: start..start + width, source });
            start += width;
        }
        let encoder = StateEncoder::new(processor)?;
        let times = processor.state_deltas.len();
        let dims = [times, processor.max_state_dim];
        let tensor = HostTensor::zeros(DType::F32, &dims).ok_or(Error::Internal("f32 zeros"))?;
        let reader = StateReader::new(&maps)?;
        let units = UnitCheck::new(processor);
        let (joints, raw) = (vec![0.0; read], vec![0.0; times * start]);
        Ok(Self { reader, joints, keys, encoder, units, raw, width: start, tensor })
    }

    /// State of the observation's own time in model units, keys in model order.
    pub(crate) fn raw(&self) -> &[f32] {
        self.raw.get(self.raw.len().saturating_sub(self.width)..).unwrap_or_default()
    }

    /// The tensor.
    pub(crate) fn tensor(&self) -> &HostTensor {
        &self.tensor
    }

    /// Reads and normalises the joint states and the poses of an observation; returns the state of its own time in model units.
    ///
    /// # Errors
    /// [`Error::Joints`], [`Error::Pose`] naming the joint or pose; [`Error::StateHistory`].
    pub(crate) fn encode(&mut self, observation: &Observation) -> Result<&[f32], Error> {
        let (expected, found) = (self.raw.len(), (observation.history.len() + 1) * self.width);
        if expected != found {
            return Err(Error::StateHistory {
                expected: self.tensor.dims().first().copied().unwrap_or(0),
                found: found / self.width.max(1),
            });
        }
        for (time, earlier) in observation.history.iter().enumerate() {
            self.read(time, earlier.joints.as_ref(), &earlier.poses)?;
        }
        self.read(observation.history.len(), observation.joints.as_ref(), &observation.poses)?;
        let newest = self.raw.len().saturating_sub(self.width);
        if let Some(warning) = self.units.check(self.raw.get(newest..).unwrap_or_default()) {
            tracing::warn!("{warning}");
        }
        self.normalise()
    }

    /// Normalises states in model units, keys in model order, one row a time; returns the last.
    ///
    /// # Errors
    /// [`Error::Encode`] for another number of values.
    pub(crate) fn encode_raw(&mut self, raw: &[f32]) -> Result<&[f32], Error> {
        let (expected, found) = (self.raw.len(), raw.len());
        if expected != found {
            return Err(EncodeError::Length { what: "raw state", expected, found }.into());
        }
        self.raw.copy_from_slice(raw);
        self.normalise()
    }

    /// Reads the state of one time into its row.
    fn read(&mut self, time: usize, joints: Option<&JointSample>, poses: &[PoseSample]) -> Result<(), Error> {
        if !self.joints.is_empty() {
            self.reader.read(joints.ok_or(observation::Error::NoSample)?, &mut self.joints)?;
        }
        let row = self.raw.get_mut(time * self.width..).unwrap_or_default();
        for key in &self.keys {
            let out = row.get_mut(key.columns.clone()).unwrap_or_default();
            match &key.source {
                StateSource::Joints(read) => out.copy_from_slice(&self.joints[read.clone()]),
                StateSource::Pose { input, layout, convention } => read_pose(poses, input, layout, convention, out)?,
            }
        }
        Ok(())
    }

    fn normalise(&mut self) -> Result<&[f32], Error> {
        let times = self.raw.len() / self.width.max(1);
        let out = self.tensor.as_f32_mut().unwrap_or_default();
        let columns = out.len() / times.max(1);
        for (raw, out) in self.raw.chunks(self.width.max(1)).zip(out.chunks_mut(columns.max(1))) {
            self.encoder.encode(raw, out)?;
        }
        Ok(self.raw())
    }
}

/// Whether actions are poses relative to this state key.
fn refers_to_pose(processor: &Processor, key: &str) -> bool {
    let refers = |action: &ActionKey| match action.conversion {
        Conversion::ComposePose { state, .. } => processor.state.get(state).is_some_and(|state| state.name == key),
        _ => false,
    };
    processor.action.iter().any(refers)
}

fn read_pose(
    poses: &[PoseSample],
    input: &str,
    layout: &PoseLayout,
    convention: &PoseConvention,
    out: &mut [f32],
) -> Result<(), Error> {
    let refused = |reason: String| Error::Pose { input: input.to_owned(), reason };
    let sample = poses.iter().find(|sample| *sample.name == *input);
    let sample = sample.ok_or_else(|| refused("expected a sample in the observation, found none".to_owned()))?;
    layout.write(&sample.pose, convention, out);
    match out.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(refused(format!("expected a position in the range of single precision, found {value} m"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::N1D6;
    use crate::observation::{Pose, StateSample};
    use crate::processor::StateEncoding;
    use vla_base::time::Stamp;

    /// A joint and a position, taken at the observation's time and 15 steps before.
    fn state() -> State {
        let key = |name: &str, width, high| StateKey {
            name: name.into(),
            width,
            encoding: StateEncoding::Range { low: vec![0.0; width], high: vec![high; width] },
        };
        let processor = Processor {
            family: &N1D6,
            embodiment: "robot".into(),
            cameras: Vec::new(),
            video_deltas: vec![0],
            state: vec![key("arm", 1, 2.0), key("tool", 3, 4.0)],
            state_deltas: vec![-15, 0],
            exclude_state: false,
            clip_state: true,
            action: Vec::new(),
            action_deltas: Vec::new(),
            max_state_dim: 6,
            max_action_dim: 6,
            max_action_horizon: 16,
            image: N1D6.image(256, 0.95),
            normalise_text: true,
        };
        let arm = JointMap::identity("arm", vec!["elbow".into()]);
        let tool = PoseMap {
            key: "tool".into(),
            input: "tcp".into(),
            parts: Vec::new(),
            convention: PoseConvention::default(),
        };
        State::new(&processor, &[arm], &[tool]).expect("a state")
    }

    fn sample(elbow: f64, x: f64) -> StateSample {
        let stamp = Stamp::from_nanos(1);
        let pose = Pose { position: [x, 0.0, 4.0], ..Pose::default() };
        StateSample {
            joints: Some(JointSample::new("joints", stamp, vec!["elbow".to_owned()].into(), &[elbow])),
            poses: vec![PoseSample { name: "tcp".into(), stamp, pose }],
        }
    }

    fn observation(elbow: f64, x: f64, history: Vec<StateSample>) -> Observation {
        let StateSample { joints, poses } = sample(elbow, x);
        Observation { joints, poses, history, ..Observation::default() }
    }

    #[test]
    fn a_history_is_one_row_a_time_and_relative_actions_refer_to_the_last() {
        let mut state = state();
        let raw = state.encode(&observation(2.0, 1.0, vec![sample(0.5, 3.0)])).expect("two times").to_vec();
        assert_eq!(raw, [2.0, 1.0, 0.0, 4.0]);
        assert_eq!(state.tensor().dims(), [2, 6]);
        let earlier = [-0.5, 0.5, -1.0, 1.0, 0.0, 0.0];
        let own = [1.0, -0.5, -1.0, 1.0, 0.0, 0.0];
        assert_eq!(state.tensor().as_f32().expect("floats"), [earlier, own].concat());
        // The same from values, the earlier first.
        let raw = state.encode_raw(&[2.0, 1.0, 0.0, 4.0, 0.5, 3.0, 0.0, 4.0]).expect("two times").to_vec();
        assert_eq!(raw, [0.5, 3.0, 0.0, 4.0]);
        assert_eq!(state.tensor().as_f32().expect("floats"), [own, earlier].concat());
    }

    #[test]
    fn another_number_of_times_is_refused_with_both() {
        let error = state().encode(&observation(0.0, 0.0, Vec::new())).map(drop).expect_err("one time");
        assert!(matches!(error, Error::StateHistory { expected: 2, found: 1 }), "{error}");
        let error = state().encode_raw(&[0.0; 4]).map(drop).expect_err("one time");
        assert!(matches!(error, Error::Encode(EncodeError::Length { expected: 8, found: 4, .. })), "{error}");
    }
}
