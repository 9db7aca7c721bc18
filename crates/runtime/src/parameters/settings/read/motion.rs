//! Settings of the motion between chunks.

use super::Reader;
use crate::parameters::settings::{CommandKind, CommandSettings, LimitsFrom};
use ros2_parameters::Error;
use ros2_parameters::double;
use vla_base::time::Span;
use vla_motion::{JointKind, JointLimits, MotionSettings, TransitionMode};
use vla_policy::observation::JointMap;

impl Reader<'_> {
    pub(super) fn motion(&mut self) -> MotionSettings {
        MotionSettings {
            mode: match self.text("handover.mode").as_str() {
                "replace" => TransitionMode::Replace,
                "ensemble" => TransitionMode::Ensemble,
                "rtc" => TransitionMode::Rtc,
                _ => TransitionMode::Blend,
            },
            blend: Span::from_millis(self.double("handover.blend_ms")),
            ensemble_decay: self.double("handover.ensemble_decay"),
            max_blind: Span::from_seconds(self.double("max_blind_s")),
            refuse_after: Some(self.count("clamps.refuse_after")).filter(|&chunks| chunks > 0),
        }
    }

    pub(super) fn stop_after(&mut self) -> Option<Span> {
        Some(Span::from_millis(self.double("watchdog.stop_after_ms"))).filter(|&limit| limit > Span::ZERO)
    }

    pub(super) fn command(&mut self) -> CommandSettings {
        CommandSettings {
            rate_hz: self.double("command_rate_hz"),
            kind: match self.text("command_type").as_str() {
                "multi_array" => CommandKind::MultiArray,
                _ => CommandKind::JointState,
            },
        }
    }

    pub(super) fn limits_from(&mut self) -> LimitsFrom {
        let (file, topic) = (self.text("limits_file"), self.text("limits_topic"));
        match self.text("limits_from").as_str() {
            "file" if file.is_empty() => {
                let needs = "limits_from is file: give the path of the robot's URDF".to_owned();
                self.problems.push(Error::Missing { name: "limits_file".to_owned(), needs });
                LimitsFrom::Nowhere
            }
            "file" => LimitsFrom::File(file.into()),
            "topic" => LimitsFrom::Topic(topic),
            _ => LimitsFrom::Nowhere,
        }
    }

    /// Limits by the parameters, each joint once. Infinite where there is none.
    pub(super) fn limits(&mut self, action: &[JointMap]) -> Vec<(String, JointLimits)> {
        let mut limits: Vec<(String, JointLimits)> = Vec::new();
        for joint in action.iter().flat_map(|map| &map.joints) {
            if limits.iter().any(|(limited, _)| limited == joint) {
                continue;
            }
            let mut given = |field: &str| self.double(&format!("limits.{joint}.{field}"));
            let [min, max, velocity] = ["min", "max", "velocity"].map(&mut given);
            let [acceleration, jerk, allowed] = ["acceleration", "jerk", "tracking_error"].map(&mut given);
            let tracking_error = Some(allowed).filter(|&allowed| allowed > 0.0);
            if min >= max {
                self.crossed(joint, min, max);
            }
            let continuous = self.flag(&format!("limits.{joint}.continuous"));
            let kind = if continuous { JointKind::Continuous } else { JointKind::default() };
            limits.push((joint.clone(), JointLimits { min, max, velocity, acceleration, jerk, tracking_error, kind }));
        }
        limits
    }

    fn crossed(&mut self, joint: &str, min: f64, max: f64) {
        let names = ["min", "max"].map(|bound| format!("limits.{joint}.{bound}"));
        let what = format!(
            "{} = {} is not below {} = {}; to move both, set them in one atomic change",
            names[0],
            double(min),
            names[1],
            double(max)
        );
        self.problems.push(Error::Conflict { names: names.into(), what });
    }

    pub(super) fn size(&mut self, name: &str) -> usize {
        usize::try_from(self.count(name)).unwrap_or(usize::MAX)
    }
}
