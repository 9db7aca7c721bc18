//! Settings of the policy's state and action keys.

use std::collections::BTreeMap;

use super::{Reader, StateSource};
use crate::parameters::shape::{EefAction, PolicyShape};
use crate::parameters::table::{Param, keys};
use ros2_parameters::Error;
use vla_policy::encode::pose::{PoseConvention, PoseLayout, PoseMap};
use vla_policy::observation::JointMap;
use vla_policy::processor::DeltaRows;

impl Reader<'_> {
    pub(super) fn state(&mut self, key: &str, width: usize) -> StateSource {
        let (name, pose) = (keys::STATE_JOINTS.name_of(key), keys::STATE_POSE.name_of(key));
        let (joints, input) = (self.get_of(&keys::STATE_JOINTS, key), self.get_of(&keys::STATE_POSE, key));
        if let Some(input) = input {
            if !joints.is_empty() {
                let what =
                    format!("{name} and {pose} are both given; the state '{key}' comes from joints or from a pose");
                self.conflict(&[&name, &pose], what);
            }
            self.no_factors(
                "state",
                key,
                width,
                "comes from a pose, in m and rad",
                [&keys::STATE_SCALE, &keys::STATE_OFFSET],
            );
            let parts = self.pose_parts(key, width, &input);
            return StateSource::Pose(PoseMap {
                key: key.to_owned(),
                input,
                parts,
                convention: PoseConvention::default(),
            });
        }
        if joints.is_empty() && width > 0 {
            let mut needs = format!(
                "list the {width} joints of the state '{key}' by their names in sensor_msgs/JointState, in the policy's order"
            );
            needs += &match PoseLayout::of_width(width) {
                Some(_) => format!("; or, if it is an end effector's, name its pose in {pose}"),
                None => format!(
                    "; or, if a pose has it, name the pose in {pose} and the values in {}",
                    keys::STATE_POSE_PARTS.name_of(key)
                ),
            };
            self.problems.push(Error::Missing { name, needs });
        }
        StateSource::Joints(JointMap {
            key: key.to_owned(),
            joints,
            scale: self.per_joint(&keys::STATE_SCALE, key, vec![1.0; width]),
            offset: self.per_joint(&keys::STATE_OFFSET, key, vec![0.0; width]),
        })
    }

    /// What the rows of each key of deltas are.
    pub(super) fn deltas(&mut self, shape: &PolicyShape) -> BTreeMap<String, DeltaRows> {
        let mut all = BTreeMap::new();
        for (key, _) in &shape.deltas {
            match self.get_of(&keys::ACTION_DELTA, key) {
                Some(rows) => drop(all.insert(key.clone(), rows)),
                None => {
                    let name = keys::ACTION_DELTA.name_of(key);
                    let needs = format!(
                        "the action '{key}' predicts deltas (rep: DELTA), and policy.yaml does not say what a row is: set \
                         cumulative (row i = state + rows 0 to i) or from_state (row i = state + row i), as the data set was made"
                    );
                    self.problems.push(Error::Missing { name, needs });
                }
            }
        }
        all
    }

    /// An end effector's action: a pose, unless it was given joints.
    pub(super) fn eef_action(&mut self, eef: &EefAction, width: usize) -> Option<JointMap> {
        let (key, name) = (&eef.key, keys::ACTION_JOINTS.name_of(&eef.key));
        if self.get_of(&keys::ACTION_JOINTS, key).is_empty() {
            let why = "is an end effector's and moves no joints";
            self.no_factors("action", key, width, why, [&keys::ACTION_SCALE, &keys::ACTION_OFFSET]);
            return None;
        }
        if eef.relative {
            let what = format!(
                "{name} is given, but the action '{key}' is relative to a pose of the state (RELATIVE, EEF): its values are \
                 {}, which no joint takes; take {name} away",
                eef.columns.join(", ")
            );
            self.conflict(&[&name], what);
            return None;
        }
        Some(self.action(key, width, &[]))
    }

    /// Factors and offsets are for joints: given for a pose, in m and rad, they are meant for something else. `why` says so.
    fn no_factors(&mut self, group: &str, key: &str, width: usize, why: &str, factors: [&Param<Vec<f64>>; 2]) {
        for (parameter, neutral) in factors.into_iter().zip([1.0, 0.0]) {
            let name = parameter.name_of(key);
            let given = self.get_of(parameter, key);
            if !given.is_empty() && given != vec![neutral; width] {
                let what = format!("{name} is given, but the {group} '{key}' {why}; take {name} away");
                self.conflict(&[&name], what);
            }
        }
    }

    pub(super) fn conflict(&mut self, names: &[&str], what: String) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.problems.push(Error::Conflict { names, what });
    }

    pub(super) fn action(&mut self, key: &str, width: usize, state: &[JointMap]) -> JointMap {
        let of_state = state.iter().find(|map| map.key == key);
        let name = keys::ACTION_JOINTS.name_of(key);
        let mut joints = self.get_of(&keys::ACTION_JOINTS, key);
        if joints.is_empty() && width > 0 {
            match of_state {
                // What the state key lacks was reported there.
                Some(map) if map.joints.len() == width || map.joints.is_empty() => joints = map.joints.clone(),
                _ => {
                    let needs = format!("list the {width} joints that the action '{key}' moves, in the policy's order");
                    self.problems.push(Error::Missing { name, needs });
                }
            }
        }
        let like_state = |values: &[f64]| (values.len() == width).then(|| values.to_vec());
        let scale = of_state.and_then(|map| like_state(&map.scale)).unwrap_or_else(|| vec![1.0; width]);
        let offset = of_state.and_then(|map| like_state(&map.offset)).unwrap_or_else(|| vec![0.0; width]);
        JointMap {
            key: key.to_owned(),
            joints,
            scale: self.per_joint(&keys::ACTION_SCALE, key, scale),
            offset: self.per_joint(&keys::ACTION_OFFSET, key, offset),
        }
    }

    /// One number a joint; an empty list stands for `otherwise`.
    fn per_joint(&mut self, parameter: &Param<Vec<f64>>, key: &str, otherwise: Vec<f64>) -> Vec<f64> {
        Some(self.get_of(parameter, key)).filter(|given| !given.is_empty()).unwrap_or(otherwise)
    }
}
