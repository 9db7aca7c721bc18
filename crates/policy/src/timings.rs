//! Times of one inference.

use std::time::Duration;

use vla_engines::{Stage, StageTime};

/// Times of one inference.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Images, instruction and state to host tensors.
    pub encode: Duration,
    /// Inference pipeline as the host sees it: host tensors in, every stage, actions out.
    pub run: Duration,
    /// Each stage on its device, all denoising steps together, in run order.
    pub stages: Vec<StageTime>,
    /// Output tensor to joint positions and poses.
    pub decode: Duration,
    /// Total.
    pub total: Duration,
}

impl Timings {
    /// Sets every time to zero, keeping the stages.
    pub fn reset(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.time = Duration::ZERO);
        (self.encode, self.run, self.decode, self.total) = Default::default();
    }

    /// Time of the inference pipeline outside its stages: transfers, launches, waiting.
    pub fn overhead(&self) -> Duration {
        self.run.saturating_sub(self.stages.iter().map(|stage| stage.time).sum())
    }

    /// Makes one entry a stage, unless there are as many already.
    pub(super) fn resize(&mut self, stages: &[Stage]) {
        if self.stages.len() != stages.len() {
            let entry = |stage: &Stage| StageTime { stage: stage.name.clone(), time: Duration::ZERO };
            self.stages = stages.iter().map(entry).collect();
        }
    }
}
