//! Settings of the motion between chunks.

use super::Reader;
use crate::chunk::{Mode, MotionSettings};
use crate::observation::JointMap;
use crate::parameters::error::Error;
use crate::parameters::settings::{CommandKind, CommandSettings, JointLimit, LimitsFrom};
use crate::time::Span;

impl Reader<'_> {
    pub(super) fn motion(&mut self) -> MotionSettings {
        MotionSettings {
            mode: match self.text("handover.mode").as_str() {
                "replace" => Mode::Replace,
                "ensemble" => Mode::Ensemble,
                "rtc" => Mode::Rtc,
                _ => Mode::Blend,
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

    pub(super) fn limits(&mut self, action: &[JointMap]) -> Vec<JointLimit> {
        let mut limits: Vec<JointLimit> = Vec::new();
        for joint in action.iter().flat_map(|map| &map.joints) {
            if limits.iter().any(|limit| limit.joint == *joint) {
                continue;
            }
            let mut given =
                |field: &str| Some(self.double(&format!("limits.{joint}.{field}"))).filter(|bound| bound.is_finite());
            let [velocity, acceleration, jerk] = ["velocity", "acceleration", "jerk"].map(&mut given);
            limits.push(JointLimit {
                joint: joint.clone(),
                min: Some(self.double(&format!("limits.{joint}.min"))).filter(|&bound| bound != f64::NEG_INFINITY),
                max: Some(self.double(&format!("limits.{joint}.max"))).filter(|&bound| bound != f64::INFINITY),
                velocity,
                acceleration,
                jerk,
                tracking_error: Some(self.double(&format!("limits.{joint}.tracking_error")))
                    .filter(|&allowed| allowed > 0.0),
                continuous: self.flag(&format!("limits.{joint}.continuous")),
            });
        }
        limits
    }

    pub(super) fn size(&mut self, name: &str) -> usize {
        usize::try_from(self.count(name)).unwrap_or(usize::MAX)
    }
}
