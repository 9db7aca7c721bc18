//! Observation: the latest sample of each input, checked for age and skew by header stamp.
//!
//! Topic tasks (or a bag) offer serialized messages to [`Inputs`]; the inference thread asks it for an
//! [`Observation`]. Nothing queues between them: an input holds one sample, and the freshest by header stamp wins; joint states hold one of each joint.
//! What breaks a rule comes back as a [`Violation`] that lists every breach; a missing stream is never replaced by
//! zeros. [`StateReader`] then takes the policy's state out of the joints, by name; poses of end effectors are
//! read by the policy room, which knows their layout.

mod assembler;
mod clock;
mod enable;
mod error;
mod inputs;
mod intake;
mod joints;
mod order;
mod rate;
mod sample;
mod slot;
mod spec;
mod state_reader;
mod statistics;
mod violation;

pub use enable::EnableSwitch;
pub use error::Error;
pub use inputs::Inputs;
pub use rate::InputRate;
pub use sample::{CameraSample, JointReading, JointSample, Observation, PoseSample};
pub use spec::{
    FrameCheck, InputKind, InputRule, InputSpec, JointNames, OnViolation, PoseMap, Rules, StampSource, Transport,
};
pub use state_reader::{JointMap, StateReader};
pub use statistics::InputStatistics;
pub use violation::{Breach, Fault, Off, Violation};
