//! Counters and figures of the inference thread, for diagnostics.

use std::sync::Arc;
use std::time::Duration;

use vla_base::time::{Span, Stamp};
use vla_engines::{ErrorClass, StageReport, StageTime};
use vla_motion::ClampCounts;
use vla_policy::LoadedFiles;

/// Counters since the start and figures of the last cycle. Small, and copied once a cycle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The loaded policy; `None` while there is none.
    pub engines: Option<Arc<Engines>>,
    /// Loads after a lost device, since the start or the last `~/reload`.
    pub restarts: u32,
    /// Files of the loaded policy that have changed on disk.
    pub changed_on_disk: Option<Arc<str>>,
    /// Why the device was lost the last time.
    pub lost: Option<Arc<str>>,
    /// Chunks published.
    pub published: u64,
    /// Cycles without a new sample, so without inference.
    pub unchanged: u64,
    /// Cycles before every input had arrived once, or before the operator enabled the first motion.
    pub waiting: u64,
    /// Cycles that a violation kept from inference.
    pub violations: u64,
    /// Inferences whose result was refused, or that failed.
    pub refused: u64,
    /// Chunks that were superseded by a stop, a hold or the shutdown.
    pub superseded: u64,
    /// Messages that the middleware refused.
    pub unpublished: u64,
    /// Values clamped to the joints' position limits.
    pub clamped: ClampCounts,
    /// Reason of the last violation or refusal, when the last cycle had one.
    pub fault: Option<CycleFault>,
    /// The last chunk.
    pub last: Option<LastChunk>,
}

/// Why the last cycle published nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CycleFault {
    /// Where it happened.
    pub kind: CycleFaultKind,
    /// Text with figures.
    pub reason: Arc<str>,
    /// Inputs and their faults, of a violation. They stay the same while the figures change.
    pub about: Vec<(Arc<str>, &'static str)>,
    /// Class of an error of the engines.
    pub class: ErrorClass,
}

/// Kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CycleFaultKind {
    /// An input has not arrived since the start, or the operator has not enabled motion.
    Waiting,
    /// An input broke a rule.
    Violation,
    /// Inputs or result of the inference cannot be used: a violation that only an inference finds.
    Unfit,
    /// Inference failed, or its chunk came too late.
    Refused,
    /// The middleware refused the message.
    Unpublished,
}

impl CycleFault {
    /// CycleFault of a kind that has nothing to tell apart.
    pub(crate) fn new(kind: CycleFaultKind, reason: &str) -> Self {
        Self { kind, reason: reason.into(), about: Vec::new(), class: ErrorClass::Other }
    }

    /// Whether both are the same fault, a cycle later.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.about == other.about
    }
}

/// The loaded policy.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    /// The policy's name.
    pub policy: String,
    /// Fingerprint of the loaded bytes.
    pub fingerprint: String,
    /// Files that they were read from.
    pub files: LoadedFiles,
    /// `onnx` or `tensorrt`.
    pub kind: String,
    /// In load order.
    pub stages: Vec<StageReport>,
    /// From the first byte to ready.
    pub duration: Duration,
}

/// Figures of one published chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastChunk {
    /// Stamp of the observation it answers.
    pub observation: Stamp,
    /// Rows of the chunk.
    pub rows: usize,
    /// Rows already late when it was published.
    pub late_rows: u32,
    /// Values clamped in it.
    pub clamped: u64,
    /// From the observation to the published message, steady clock.
    pub latency: Span,
    /// Encoding, each stage, decoding: in order.
    pub parts: Vec<StageTime>,
}
