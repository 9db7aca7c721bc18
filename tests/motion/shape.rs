//! The shape of a policy for tests that need little of one.

use vla_base::time::Span;
use vla_runtime::parameters::PolicyShape;

/// A camera `top` and an arm of two joints, state and action; 20 ms from row to row.
pub(crate) fn arm() -> PolicyShape {
    PolicyShape {
        cameras: vec!["top".into()],
        blank_views: Vec::new(),
        video_history: vec![0],
        state: vec![("arm".into(), 2)],
        state_history: vec![0],
        action_keys: vec![("arm".into(), 2)],
        eef_actions: Vec::new(),
        deltas: Vec::new(),
        stages: vec!["step".into()],
        denoise_steps: vec![4],
        default_steps: 4,
        step: Span::from_millis(20.0),
        accepts_prefix: false,
        instruction: None,
    }
}
