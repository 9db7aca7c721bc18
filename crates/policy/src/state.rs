//! Joint state and poses to the `state` tensor, and the raw state that relative actions refer to.

use std::ops::Range;

use super::encode::pose::{PoseConvention, PoseLayout, PoseMap};
use super::encode::state::StateEncoder;
use super::processor::{ActionKey, Conversion, Processor};
use super::unit_check::UnitCheck;
use super::{Error, PolicySpec};
use crate::observation::{self, JointMap, Observation, PoseSample, StateReader};
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
    /// State in model units and order, before normalisation.
    raw: Vec<f32>,
    /// `[1, max_state_dim]`
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
    pub(crate) fn new(
        spec: &PolicySpec,
        processor: &Processor,
        joints: &[JointMap],
        poses: &[PoseMap],
    ) -> Result<Self, Error> {
        let (mut start, mut read) = (0, 0);
        let mut keys = Vec::with_capacity(spec.state.len());
        let mut maps = Vec::with_capacity(joints.len());
        for (key, width) in &spec.state {
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
                    if refers_to_pose(processor, key) && Some(&layout) != PoseLayout::of_width(*width).as_ref() {
                        return Err(refused(format!("{layout}, and relative actions refer to position and rot6d")));
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
        let dims = [1, processor.max_state_dim];
        let tensor = HostTensor::zeros(DType::F32, &dims).ok_or(Error::Internal("f32 zeros"))?;
        let reader = StateReader::new(&maps)?;
        let units = UnitCheck::new(processor);
        Ok(Self { reader, joints: vec![0.0; read], keys, encoder, units, raw: vec![0.0; start], tensor })
    }

    /// State in model units, keys in model order.
    pub(crate) fn raw(&self) -> &[f32] {
        &self.raw
    }

    /// The tensor.
    pub(crate) fn tensor(&self) -> &HostTensor {
        &self.tensor
    }

    /// Reads and normalises the joint state and the poses of an observation; returns the state in model units.
    ///
    /// # Errors
    /// [`Error::Joints`], [`Error::Pose`] naming the joint or pose.
    pub(crate) fn encode(&mut self, observation: &Observation) -> Result<&[f32], Error> {
        if !self.joints.is_empty() {
            let sample = observation.joints.as_ref();
            let sample = sample.ok_or(observation::Error::NoSample)?;
            self.reader.read(sample, &mut self.joints)?;
        }
        for key in &self.keys {
            let out = self.raw.get_mut(key.columns.clone()).unwrap_or_default();
            match &key.source {
                StateSource::Joints(read) => out.copy_from_slice(&self.joints[read.clone()]),
                StateSource::Pose { input, layout, convention } => {
                    read_pose(&observation.poses, input, layout, convention, out)?;
                }
            }
        }
        if let Some(warning) = self.units.check(&self.raw) {
            tracing::warn!("{warning}");
        }
        self.encoder.encode(&self.raw, self.tensor.as_f32_mut().unwrap_or_default())?;
        Ok(&self.raw)
    }

    /// Normalises a state in model units, keys in model order; returns it.
    pub(crate) fn encode_raw(&mut self, raw: &[f32]) -> Result<&[f32], Error> {
        self.encoder.encode(raw, self.tensor.as_f32_mut().unwrap_or_default())?;
        self.raw.clear();
        self.raw.extend_from_slice(raw);
        Ok(&self.raw)
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
