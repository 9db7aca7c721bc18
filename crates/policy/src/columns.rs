//! The columns of a chunk: which are joints, under what names, and in whose units.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use nalgebra::Rotation3;

use super::Error;
use super::decode::pose::Pose;
use super::encode::pose::{PoseConvention, PoseMap};
use super::processor::{ActionKey, Conversion, EefValues, PoseFormat, Processor};
use crate::observation::JointMap;

/// Columns of a decoded row, keys in model order.
pub(super) struct Columns {
    /// Joint names, and `<key>.x`, ... of end effectors.
    pub names: Arc<[String]>,
    /// Columns that are no joints.
    pub poses: Arc<[Range<usize>]>,
    /// First column and joints of each key that moves joints.
    joints: Vec<(usize, JointMap)>,
    /// Poses that leave in the robot's convention.
    turned: Vec<TurnedPose>,
}

/// Columns of a pose that the policy has in another convention than the robot.
struct TurnedPose {
    columns: Range<usize>,
    format: PoseFormat,
    /// Of base and tool: from the robot's pose to the policy's.
    to_model: [Rotation3<f64>; 2],
}

impl TurnedPose {
    /// `None`: the policy's convention is the robot's, or what the values are is not known.
    fn new(key: &ActionKey, columns: Range<usize>, processor: &Processor, poses: &[PoseMap]) -> Option<Self> {
        let Some(EefValues::Pose(format)) = key.eef else { return None };
        let state = match key.conversion {
            Conversion::ComposePose { state, .. } => processor.state.get(state)?.name.as_str(),
            _ => key.name.as_str(),
        };
        let convention: PoseConvention = poses.iter().find(|pose| pose.key == state)?.convention;
        (!convention.keeps_poses()).then(|| Self { columns, format, to_model: convention.matrices() })
    }

    /// Rotates a pose that is one; others stay as they are.
    fn turn(&self, row: &mut [f32], [base, tool]: &[Rotation3<f64>; 2]) {
        let Some(values) = row.get_mut(self.columns.clone()) else { return };
        if let Some(pose) = Pose::read(self.format, values) {
            pose.turned(base, tool).write(self.format, values);
        }
    }
}

impl Columns {
    /// `maps`: the joints of the keys that move joints. A key of an end effector may be given joints, too: then its values
    /// are theirs. `plain`: keys of other values than joints, with a number a column. `state`: the poses of the state; an end effector's
    /// pose leaves in the convention of the one that it belongs to.
    ///
    /// # Errors
    /// [`Error::ActionKey`] when a key has neither, or another number of joints than values.
    pub(crate) fn new(
        processor: &Processor,
        maps: &[JointMap],
        plain: &BTreeSet<String>,
        state: &[PoseMap],
    ) -> Result<Self, Error> {
        let (mut names, mut poses, mut joints) = (Vec::new(), Vec::new(), Vec::new());
        let mut turned = Vec::new();
        for key in &processor.action {
            let (start, width) = (names.len(), key.decoded_width());
            let map = maps.iter().find(|map| map.key == key.name);
            let refused = |found: String| Error::ActionKey { key: key.name.clone(), width, found };
            match (map, key.eef_columns()) {
                (Some(map), _) if map.joints.len() != width => return Err(refused(format!("{}", map.joints.len()))),
                (Some(map), _) => {
                    names.extend(map.joints.iter().cloned());
                    joints.push((start, map.clone()));
                }
                (None, Some(columns)) => {
                    names.extend(columns);
                    poses.push(start..names.len());
                    turned.extend(TurnedPose::new(key, start..names.len(), processor, state));
                }
                (None, None) if plain.contains(&key.name) => {
                    names.extend((0..width).map(|index| format!("{}.{index}", key.name)));
                    poses.push(start..names.len());
                }
                (None, None) => return Err(refused("none".to_owned())),
            }
        }
        Ok(Self { names: names.into(), poses: poses.into(), joints, turned })
    }

    /// Model units to those of the joints, and poses to the robot's convention, in rows of these columns. Poses are in m and rad
    /// already.
    pub(crate) fn to_joints(&self, values: &mut [f32]) {
        self.convert(values, JointMap::to_joint, |turned| turned.to_model.map(|rotation| rotation.inverse()));
    }

    /// The other way.
    pub(crate) fn to_model(&self, values: &mut [f32]) {
        self.convert(values, JointMap::to_model, |turned| turned.to_model);
    }

    fn convert(
        &self,
        values: &mut [f32],
        to: fn(&JointMap, usize, f64) -> Option<f64>,
        rotations: fn(&TurnedPose) -> [Rotation3<f64>; 2],
    ) {
        for row in values.chunks_exact_mut(self.names.len().max(1)) {
            for (start, map) in &self.joints {
                for (index, value) in row.iter_mut().skip(*start).take(map.joints.len()).enumerate() {
                    if let Some(converted) = to(map, index, f64::from(*value)) {
                        *value = converted as f32;
                    }
                }
            }
            for turned in &self.turned {
                turned.turn(row, &rotations(turned));
            }
        }
    }
}
