//! The columns of a chunk: which are joints, under what names, and in whose units.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::Error;
use super::processor::Processor;
use crate::observation::JointMap;

/// Columns of a decoded row, keys in model order.
pub(super) struct Columns {
    /// Joint names, and `<key>.x`, ... of end effectors.
    pub names: Arc<[String]>,
    /// Columns that are no joints.
    pub poses: Arc<[Range<usize>]>,
    /// First column and joints of each key that moves joints.
    joints: Vec<(usize, JointMap)>,
}

impl Columns {
    /// `maps`: the joints of the keys that move joints. A key of an end effector may be given joints, too: then its values
    /// are theirs. `plain`: keys of other values than joints, with a number a column.
    ///
    /// # Errors
    /// [`Error::ActionKey`] when a key has neither, or another number of joints than values.
    pub(crate) fn new(processor: &Processor, maps: &[JointMap], plain: &BTreeSet<String>) -> Result<Self, Error> {
        let (mut names, mut poses, mut joints) = (Vec::new(), Vec::new(), Vec::new());
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
                }
                (None, None) if plain.contains(&key.name) => {
                    names.extend((0..width).map(|index| format!("{}.{index}", key.name)));
                    poses.push(start..names.len());
                }
                (None, None) => return Err(refused("none".to_owned())),
            }
        }
        Ok(Self { names: names.into(), poses: poses.into(), joints })
    }

    /// Model units to those of the joints, in rows of these columns. Poses are in m and rad already.
    pub(crate) fn to_joints(&self, values: &mut [f32]) {
        self.convert(values, JointMap::to_joint);
    }

    /// The other way.
    pub(crate) fn to_model(&self, values: &mut [f32]) {
        self.convert(values, JointMap::to_model);
    }

    fn convert(&self, values: &mut [f32], to: fn(&JointMap, usize, f64) -> Option<f64>) {
        for row in values.chunks_exact_mut(self.names.len().max(1)) {
            for (start, map) in &self.joints {
                for (index, value) in row.iter_mut().skip(*start).take(map.joints.len()).enumerate() {
                    if let Some(converted) = to(map, index, f64::from(*value)) {
                        *value = converted as f32;
                    }
                }
            }
        }
    }
}
