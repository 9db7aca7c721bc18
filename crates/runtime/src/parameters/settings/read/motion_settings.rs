//! Settings of the motion between chunks.

use super::Reader;
use crate::parameters::settings::{CommandSettings, LimitsFrom};
use crate::parameters::table::{LimitsSource, keys, motion};
use ros2_parameters::{Error, double};
use vla_motion::{JointKind, JointLimits, MotionSettings};
use vla_policy::observation::JointMap;

impl Reader<'_> {
    pub(super) fn motion(&mut self) -> MotionSettings {
        MotionSettings {
            mode: self.get(&motion::MODE),
            blend: self.get(&motion::BLEND),
            ensemble_decay: self.get(&motion::ENSEMBLE_DECAY),
            max_blind: self.get(&motion::MAX_BLIND),
            refuse_after: self.get(&motion::REFUSE_AFTER),
        }
    }

    pub(super) fn command(&mut self) -> CommandSettings {
        CommandSettings { rate_hz: self.get(&motion::COMMAND_RATE_HZ), kind: self.get(&motion::COMMAND_TYPE) }
    }

    pub(super) fn limits_from(&mut self) -> LimitsFrom {
        let (file, topic) = (self.get(&motion::LIMITS_FILE), self.get(&motion::LIMITS_TOPIC));
        match self.get(&motion::LIMITS_FROM) {
            LimitsSource::None => LimitsFrom::Nowhere,
            LimitsSource::File if file.is_empty() => {
                let needs = "limits_from is file: give the path of the robot's URDF".to_owned();
                self.problems.push(Error::Missing { name: motion::LIMITS_FILE.name.to_owned(), needs });
                LimitsFrom::Nowhere
            }
            LimitsSource::File => LimitsFrom::File(file.into()),
            LimitsSource::Topic => LimitsFrom::Topic(topic),
        }
    }

    /// Limits by the parameters, each joint once. Infinite where there is none.
    pub(super) fn limits(&mut self, action: &[JointMap]) -> Vec<(String, JointLimits)> {
        let mut limits: Vec<(String, JointLimits)> = Vec::new();
        for joint in action.iter().flat_map(|map| &map.joints) {
            if limits.iter().any(|(limited, _)| limited == joint) {
                continue;
            }
            let (min, max) = (self.get_of(&keys::MIN, joint), self.get_of(&keys::MAX, joint));
            if min >= max {
                self.crossed(joint, min, max);
            }
            let continuous = self.get_of(&keys::CONTINUOUS, joint);
            let of_joint = JointLimits {
                min,
                max,
                velocity: self.get_of(&keys::VELOCITY, joint),
                acceleration: self.get_of(&keys::ACCELERATION, joint),
                jerk: self.get_of(&keys::JERK, joint),
                tracking_error: self.get_of(&keys::TRACKING_ERROR, joint),
                kind: if continuous { JointKind::Continuous } else { JointKind::default() },
            };
            limits.push((joint.clone(), of_joint));
        }
        limits
    }

    fn crossed(&mut self, joint: &str, min: f64, max: f64) {
        let names = [keys::MIN, keys::MAX].map(|limit| limit.name_of(joint));
        let what = format!(
            "{} = {} is not below {} = {}; to move both, set them in one atomic change",
            names[0],
            double(min),
            names[1],
            double(max)
        );
        self.problems.push(Error::Conflict { names: names.into(), what });
    }
}
