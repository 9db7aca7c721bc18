//! Settings of poses: where they come from, by which convention, and which of their values state keys hold.

use super::Reader;
use crate::parameters::table::{Param, PoseSource, inputs, keys};
use vla_base::time::Span;
use vla_policy::encode::pose::{PoseConvention, PoseLayout, PoseMap, PosePart};
use vla_policy::observation::{InputKind, InputRule, InputSpec, StampSource};

impl Reader<'_> {
    /// Each pose with its rule, kept for `keep`; several keys may take one.
    pub(super) fn poses(&mut self, poses: &[PoseMap], keep: Span) -> Vec<(InputSpec, InputRule)> {
        let mut all: Vec<(InputSpec, InputRule)> = Vec::new();
        for PoseMap { input, .. } in poses {
            if !all.iter().any(|(spec, _)| spec.name == *input) {
                let (spec, rule) = self.pose_input(input);
                all.push((InputSpec { keep, ..spec }, rule));
            }
        }
        all
    }

    fn pose_input(&mut self, input: &str) -> (InputSpec, InputRule) {
        let prefix = format!("inputs.poses.{input}");
        let (topics, kind) = match self.get_of(&inputs::POSE_SOURCE, input) {
            PoseSource::Pose => (vec![self.get_of(&inputs::POSE_TOPIC, input)], InputKind::Pose),
            PoseSource::Odometry => (vec![self.get_of(&inputs::POSE_TOPIC, input)], InputKind::Odometry),
            PoseSource::Tf => {
                (vec![self.get(&inputs::TF_TOPIC), self.get(&inputs::TF_STATIC_TOPIC)], InputKind::Transform)
            }
        };
        let frame_id = self.get_of(&inputs::POSE_FRAME_ID, input);
        let child_frame_id = self.get_of(&inputs::POSE_CHILD_FRAME_ID, input);
        let stamp_from = self.get_of(&inputs::STAMP, &prefix);
        let rule = self.rule(&prefix);
        let spec = InputSpec { frame_id, child_frame_id, stamp_from, ..InputSpec::new(input, kind, topics) };
        self.check_frames(&spec);
        (spec, rule)
    }

    fn check_frames(&mut self, spec: &InputSpec) {
        let InputSpec { name, kind, frame_id, child_frame_id, .. } = spec;
        let of = |parameter: &Param<String>| parameter.name_of(name);
        let (frame, child) = (of(&inputs::POSE_FRAME_ID), of(&inputs::POSE_CHILD_FRAME_ID));
        let source = inputs::POSE_SOURCE.name_of(name);
        match kind {
            InputKind::Transform if frame_id.is_empty() || child_frame_id.is_empty() || frame_id == child_frame_id => {
                let what = format!(
                    "{source} is tf, so {frame} and {child} must name two frames, found '{frame_id}' and '{child_frame_id}'"
                );
                self.conflict(&[&frame, &child], what);
            }
            InputKind::Transform if spec.topics.first() == spec.topics.last() => {
                let names = [inputs::TF_TOPIC.name, inputs::TF_STATIC_TOPIC.name];
                let what = format!(
                    "{} and {} are the same topic, which has either moving or static transforms",
                    names[0], names[1]
                );
                self.conflict(&names, what);
            }
            InputKind::Transform if spec.stamp_from == StampSource::Arrival => {
                let stamp = inputs::STAMP.name_of(&spec.parameter());
                let what = format!(
                    "{stamp} is arrival and {source} is tf; transforms are looked up by their stamps: take {stamp} away"
                );
                self.conflict(&[&stamp, &source], what);
            }
            InputKind::Pose if !child_frame_id.is_empty() => {
                let what = format!(
                    "{child} is '{child_frame_id}', but {source} is pose, whose messages do not name it; set {source} to odometry or tf, \
                     or take {child} away"
                );
                self.conflict(&[&child, &source], what);
            }
            _ => {}
        }
    }

    /// The parts of a pose that a state key holds.
    pub(super) fn pose_parts(&mut self, key: &str, width: usize, input: &str) -> Vec<PosePart> {
        let (pose, name) = (keys::STATE_POSE.name_of(key), keys::STATE_POSE_PARTS.name_of(key));
        let mut parts = Vec::new();
        for word in self.get_of(&keys::STATE_POSE_PARTS, key) {
            match word.parse() {
                Ok(part) => parts.push(part),
                Err(problem) => return self.no_parts(&[&name], format!("{name}: {problem}")),
            }
        }
        if PoseLayout::of(&parts, width).is_some() {
            return parts;
        }
        let found = match &parts[..] {
            [] => format!("a pose gives {}; name its values in {name}", PoseLayout::WIDTHS),
            parts => format!("{name} names {}", PoseLayout::of_parts(parts).width()),
        };
        self.no_parts(
            &[&pose, &name],
            format!("{pose} is '{input}', but the state '{key}' has {width} values and {found}"),
        )
    }

    fn no_parts(&mut self, names: &[&str], what: String) -> Vec<PosePart> {
        self.conflict(names, what);
        Vec::new()
    }

    /// Sets the convention of every pose, each input's read once.
    pub(super) fn pose_conventions(&mut self, poses: &mut [PoseMap]) {
        for index in 0..poses.len() {
            let Some((PoseMap { input, convention, .. }, before)) =
                poses.get_mut(..=index).and_then(<[_]>::split_last_mut)
            else {
                continue;
            };
            *convention = match before.iter().find(|pose| pose.input == *input) {
                Some(same) => same.convention,
                None => self.pose_convention(input),
            };
        }
    }

    fn pose_convention(&mut self, input: &str) -> PoseConvention {
        let mut rotation = |parameter: &Param<Vec<f64>>, lengths: &[usize]| {
            let values = self.get_of(parameter, input);
            let fits = values.is_empty() || lengths.contains(&values.len());
            let found = PoseConvention::rotation(&values).ok().filter(|_| fits);
            if found.is_none() {
                let name = parameter.name_of(input);
                let expected = if lengths.contains(&3) { "[roll, pitch, yaw] in rad or " } else { "" };
                let what = format!("{name}: expected {expected}a unit quaternion [x, y, z, w], found {values:?}");
                self.conflict(&[&name], what);
            }
            found.unwrap_or_default()
        };
        let base = rotation(&inputs::POSE_ROTATE_BASE, &[3, 4]);
        let tool = rotation(&inputs::POSE_ROTATE_TOOL, &[3, 4]);
        let near = rotation(&inputs::POSE_QUATERNION_NEAR, &[4]).into_inner();
        PoseConvention { base, tool, near, euler: self.get_of(&inputs::POSE_EULER, input) }
    }
}
