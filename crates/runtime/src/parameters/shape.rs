//! The part of a policy's description that decides its parameters.

use vla_base::time::Span;
use vla_policy::processor::{DeltaRows, ProcessorError};
use vla_policy::{InstructionCheck, PolicySpec};

/// Names and sizes of a policy that decide which parameters there are and what they allow.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyShape {
    /// Names of the views, in the policy's order.
    pub cameras: Vec<String>,
    /// Views that a robot may lack.
    pub blank_views: Vec<String>,
    /// Frames of each view, in control steps relative to the newest.
    pub video_history: Vec<i64>,
    /// State keys with their widths, in the policy's order.
    pub state: Vec<(String, usize)>,
    /// Which samples of the state the policy takes, in control steps relative to the observation: ascending, the last is 0.
    pub state_history: Vec<i64>,
    /// Action keys with their widths, in the policy's order.
    pub action_keys: Vec<(String, usize)>,
    /// Those of them that are poses of an end effector.
    pub eef_actions: Vec<EefAction>,
    /// Those of them that predict deltas, with the meaning of their rows by policy.yaml.
    pub deltas: Vec<(String, Option<DeltaRows>)>,
    /// Stage names, in run order.
    pub stages: Vec<String>,
    /// Numbers of denoising steps that the policy was exported for.
    pub denoise_steps: Vec<u32>,
    /// The default one.
    pub default_steps: u32,
    /// Time from one action row to the next.
    pub step: Span,
    /// Whether it accepts an action prefix, which `handover.mode: rtc` needs.
    pub accepts_prefix: bool,
    /// Check of an instruction's length; `None`: every instruction is accepted.
    pub instruction: Option<InstructionCheck>,
}

/// An action key of an end effector: without joints its columns have names of their own.
#[derive(Clone, PartialEq, Debug)]
pub struct EefAction {
    /// The key.
    pub key: String,
    /// Its columns: `<key>.x`, ...
    pub columns: Vec<String>,
    /// The values are composed with a pose of the state, so they cannot be joints.
    pub relative: bool,
}

impl PolicyShape {
    /// Of a policy on disk: its description, and its processor's files for what the actions are.
    ///
    /// # Errors
    /// [`ProcessorError`] when the processor's files cannot be used.
    pub fn load(spec: &PolicySpec) -> Result<Self, ProcessorError> {
        let processor = spec.processor.load()?;
        let eef_actions = processor.action.iter().filter_map(|key| {
            Some(EefAction { key: key.name.clone(), columns: key.eef_columns()?, relative: key.is_relative_pose() })
        });
        let deltas = processor.action.iter().filter(|key| key.delta().is_some());
        Ok(Self {
            cameras: spec.cameras.clone(),
            blank_views: spec.blank_views.clone(),
            video_history: spec.video_history.clone(),
            state: spec.state.clone(),
            state_history: spec.state_history.clone(),
            action_keys: spec.action.keys.clone(),
            eef_actions: eef_actions.collect(),
            deltas: deltas.map(|key| (key.name.clone(), spec.action.deltas.get(&key.name).copied())).collect(),
            stages: spec.stage_names(),
            denoise_steps: spec.denoise.steps.clone(),
            default_steps: spec.denoise.default,
            step: spec.action.step,
            accepts_prefix: spec.accepts_prefix(),
            instruction: Some(InstructionCheck::new(spec, processor.text_rules())),
        })
    }

    /// The end effector that an action key is for.
    pub fn eef_action(&self, key: &str) -> Option<&EefAction> {
        self.eef_actions.iter().find(|eef| eef.key == key)
    }

    /// Columns of an action key in a chunk where it moves no joints: those of its end effector, or `<key>.0`, `<key>.1`, ...
    pub fn columns_of(&self, key: &str) -> Vec<String> {
        if let Some(eef) = self.eef_action(key) {
            return eef.columns.clone();
        }
        let width = self.action_keys.iter().find(|(of, _)| of == key).map_or(0, |(_, width)| *width);
        (0..width).map(|index| format!("{key}.{index}")).collect()
    }

    /// Refuses an instruction that does not fit the policy. The empty one stands for that of the topic.
    ///
    /// # Errors
    /// What does not fit, or that the policy's tokenizer cannot be read.
    pub fn check_instruction(&self, instruction: &str) -> Result<(), vla_policy::Error> {
        match &self.instruction {
            Some(check) if !instruction.is_empty() => check.check(instruction),
            _ => Ok(()),
        }
    }

    /// What differs in `other`, with both values: parameters declared for one policy do not fit another.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = |keys: &[(String, usize)]| {
            keys.iter().map(|(key, width)| format!("{key}: {width}")).collect::<Vec<_>>().join(", ")
        };
        let eef = |keys: &[EefAction]| {
            let one = |eef: &EefAction| format!("{}{}", eef.key, if eef.relative { " (relative)" } else { "" });
            keys.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let deltas = |keys: &[(String, Option<DeltaRows>)]| {
            let one = |(key, rows): &(String, Option<DeltaRows>)| {
                format!("{key}: {}", rows.map_or("not given", DeltaRows::word))
            };
            keys.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let text = |shape: &Self| {
            [
                ("cameras", shape.cameras.join(", ")),
                ("views that may be blank", shape.blank_views.join(", ")),
                ("video_history", format!("{:?}", shape.video_history)),
                ("state", pairs(&shape.state)),
                ("state_history", format!("{:?}", shape.state_history)),
                ("action.keys", pairs(&shape.action_keys)),
                ("action keys of an end effector", eef(&shape.eef_actions)),
                ("stages", shape.stages.join(", ")),
                ("denoise.steps", format!("{:?}", shape.denoise_steps)),
                ("denoise.default", shape.default_steps.to_string()),
                ("action.step_s", format!("{} s", shape.step.seconds())),
                ("inputs for rtc", shape.accepts_prefix.to_string()),
                ("action keys of deltas", deltas(&shape.deltas)),
            ]
        };
        let pairs = text(self).into_iter().zip(text(other));
        let differing = pairs.filter(|((_, was), (_, is))| was != is);
        differing.map(|((what, was), (_, is))| format!("{what}: was [{was}], is [{is}]")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named_with_both_values() {
        let shape = PolicyShape {
            cameras: vec!["top".into(), "wrist".into()],
            blank_views: Vec::new(),
            video_history: vec![0],
            state: vec![("arm".into(), 6)],
            state_history: vec![0],
            action_keys: vec![("arm".into(), 6)],
            eef_actions: Vec::new(),
            stages: vec!["vision".into()],
            denoise_steps: vec![4],
            default_steps: 4,
            step: Span::from_millis(50.0),
            accepts_prefix: false,
            instruction: None,
            deltas: Vec::new(),
        };
        assert!(shape.differences(&shape).is_empty());
        let other = PolicyShape {
            cameras: vec!["top".into()],
            step: Span::from_millis(100.0),
            eef_actions: vec![EefAction { key: "hand".into(), columns: Vec::new(), relative: true }],
            ..shape.clone()
        };
        assert_eq!(
            shape.differences(&other),
            [
                "cameras: was [top, wrist], is [top]",
                "action keys of an end effector: was [], is [hand (relative)]",
                "action.step_s: was [0.05 s], is [0.1 s]",
            ]
        );
    }
}
