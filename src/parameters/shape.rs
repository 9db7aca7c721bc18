//! What the parameters need to know of a policy.

use crate::policy::PolicySpec;
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
    /// Stage names, in run order.
    pub stages: Vec<String>,
    /// Numbers of denoising steps that the policy was exported for.
    pub denoise_steps: Vec<u32>,
    /// The one it takes unless told otherwise.
    pub default_steps: u32,
    /// Time from one action row to the next.
    pub step: Span,
}

impl From<&PolicySpec> for PolicyShape {
    fn from(spec: &PolicySpec) -> Self {
        Self {
            cameras: spec.cameras.clone(),
            state: spec.state.clone(),
            action_keys: spec.action.keys.clone(),
            stages: spec.stage_names(),
            denoise_steps: spec.denoise.steps.clone(),
            default_steps: spec.denoise.default,
            step: spec.action.step,
        }
    }
}
