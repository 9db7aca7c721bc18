//! Result of one cycle.

use super::{Braked, Refusal};
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};
use vla_motion::ClampCounts;
use vla_policy::Timings;
use vla_policy::observation::{Observation, OnViolation, Violation};

/// Result of [`Session::cycle`](super::Session::cycle).
#[derive(Debug)]
pub enum CycleOutcome<'s> {
    /// A new chunk, ready to be published.
    Published(PublishedChunk<'s>),
    /// Observation, instruction, seed and step count are those of the last chunk: no inference ran.
    Unchanged,
    /// The robot has not moved yet, and an input has not arrived since the start or the operator has not enabled motion. Not a fault.
    Waiting(Violation),
    /// The observation breaks a rule.
    Violation {
        /// Every breach.
        violation: Violation,
        /// How the motion responds.
        brake: BrakeResponse<'s>,
    },
    /// Stopped by a violation, the watchdog or the operator until [`Session::resume`](super::Session::resume).
    Stopped,
    /// The policy failed or its chunk must not be published.
    Refused {
        /// Why.
        refusal: Refusal,
        /// How the motion responds. It brakes only where the refusal is a violation.
        brake: BrakeResponse<'s>,
    },
}

/// How the motion responds to a violation.
#[derive(Debug)]
pub struct BrakeResponse<'s> {
    /// The action of the settings, or `skip` when there was nothing to brake.
    pub action: OnViolation,
    /// Result of the request to brake.
    pub braked: Braked,
    /// The trajectory to rest, to be published.
    pub stop: Option<&'s JointTrajectoryMessage>,
    /// Number of the stop's plan: of two plans the one with the greater number is newer.
    pub plan_sequence: u64,
}

/// A chunk to be published.
#[derive(Debug)]
pub struct PublishedChunk<'s> {
    /// The whole chunk with its identity.
    pub chunk: &'s ActionChunkMessage,
    /// The trajectory of its joints. `None` when the policy moves none, and when none may move
    /// ([`MotionStatus::forbidden`](super::MotionStatus::forbidden)).
    pub trajectory: Option<&'s JointTrajectoryMessage>,
    /// Number of its plan: of two plans the one with the greater number is newer.
    pub plan_sequence: u64,
    /// Duration of each part.
    pub timings: &'s Timings,
    /// Values of this chunk that were clamped to a limit.
    pub clamped: &'s ClampCounts,
    /// The observation that it answers.
    pub observation: &'s Observation,
}
