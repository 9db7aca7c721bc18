//! What the parameters need to know of a policy.

use crate::policy::PolicySpec;
use crate::policy::processor::{DeltaRows, Processor, ProcessorError};
use crate::time::Span;

/// Names and sizes of a policy that decide which parameters there are and what they allow.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyShape {
    /// Names of the views, in the policy's order.
    pub cameras: Vec<String>,
    /// State keys with their widths, in the policy's order.
    pub state: Vec<(String, usize)>,
    /// Action keys with their widths, in the policy's order.
    pub action_keys: Vec<(String, usize)>,
    /// Those of them that are an end effector's.
    pub eef_actions: Vec<EefAction>,
    /// Those of them that predict deltas, and what policy.yaml says of their rows.
    pub deltas: Vec<(String, Option<DeltaRows>)>,
    /// Stage names, in run order.
    pub stages: Vec<String>,
    /// Numbers of denoising steps that the policy was exported for.
    pub denoise_steps: Vec<u32>,
    /// The one it takes unless told otherwise.
    pub default_steps: u32,
    /// Time from one action row to the next.
    pub step: Span,
    /// Whether it takes up what was promised before, which `handover.mode: rtc` needs.
    pub takes_guide: bool,
}

/// An action key of an end effector: without joints its columns have names of their own.
#[derive(Clone, PartialEq, Debug)]
pub struct EefAction {
    /// The key.
    pub key: String,
    /// Its columns: `<key>.x`, ...
    pub columns: Vec<String>,
    /// The values are composed with a pose of the state, so they can be nothing but a pose.
    pub relative: bool,
}

impl PolicyShape {
    /// Of a policy on disk: its description, and its processor's files for what the actions are.
    ///
    /// # Errors
    /// [`ProcessorError`] when the processor's files cannot be used.
    pub fn load(spec: &PolicySpec) -> Result<Self, ProcessorError> {
        let files = &spec.processor;
        let processor = Processor::load(&files.config, &files.statistics, &files.embodiment)?;
        let eef_actions = processor.action.iter().filter_map(|key| {
            Some(EefAction { key: key.name.clone(), columns: key.eef_columns()?, relative: key.is_relative_pose() })
        });
        let deltas = processor.action.iter().filter(|key| key.delta().is_some());
        Ok(Self {
            cameras: spec.cameras.clone(),
            state: spec.state.clone(),
            action_keys: spec.action.keys.clone(),
            eef_actions: eef_actions.collect(),
            deltas: deltas.map(|key| (key.name.clone(), spec.action.deltas.get(&key.name).copied())).collect(),
            stages: spec.stage_names(),
            denoise_steps: spec.denoise.steps.clone(),
            default_steps: spec.denoise.default,
            step: spec.action.step,
            takes_guide: spec.takes_guide(),
        })
    }

    /// The end effector that an action key is for.
    pub fn eef_action(&self, key: &str) -> Option<&EefAction> {
        self.eef_actions.iter().find(|eef| eef.key == key)
    }
}
