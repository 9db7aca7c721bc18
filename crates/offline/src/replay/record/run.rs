//! What was run.

use std::sync::Arc;

use vla_base::time::Span;
use vla_engines::EngineKind;
use vla_motion::TransitionMode;
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

/// Instructions that are listed.
const MOST_INSTRUCTIONS: usize = 20;

/// What was run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Name of the policy.
    pub policy: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its weights are random: it moves nothing meaningfully.
    pub random_weights: bool,
    /// The runtime of the engines.
    pub engine: EngineKind,
    /// Inferences per second.
    pub rate_hz: f64,
    /// Time from one row to the next.
    pub step: Span,
    /// Assumed time from observation to publication.
    pub latency: Span,
    /// How a chunk takes over.
    pub mode: TransitionMode,
    /// Seed of the noise and denoising steps.
    pub seed: u64,
    /// See there.
    pub denoise_steps: u32,
    /// Each instruction that chunks were made for, with the time of the first such chunk in s of the record.
    pub instructions: Vec<(f64, Arc<str>)>,
}

impl Run {
    /// A run of this policy, without an instruction yet.
    pub(super) fn new(spec: &PolicySpec, settings: &Settings, latency: Span) -> Self {
        Self {
            policy: spec.name.clone(),
            fingerprint: spec.fingerprint.clone(),
            random_weights: spec.random_weights,
            engine: settings.engine.kind,
            rate_hz: settings.rate_hz,
            step: settings.step,
            latency,
            mode: settings.motion.mode,
            seed: settings.seed,
            denoise_steps: settings.denoise_steps,
            instructions: Vec::new(),
        }
    }

    /// A chunk was made for this instruction at `at`, in s of the record.
    pub(super) fn instruction(&mut self, at: f64, instruction: &Arc<str>) {
        let all = &mut self.instructions;
        if all.last().is_none_or(|(_, last)| last != instruction) && all.len() < MOST_INSTRUCTIONS {
            all.push((at, Arc::clone(instruction)));
        }
    }
}
