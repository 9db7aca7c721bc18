//! Observations: the latest sample of each input, checked for age and skew by header stamp.
//!
//! Topic tasks (or a bag) offer serialized messages to [`Inputs`]; the inference thread assembles an [`Observation`] from it.
//! There is no queue: an input holds one sample, the freshest by header stamp; joint states hold one for each joint. Violated
//! rules are returned as a [`Violation`] that lists every breach; a missing stream is never replaced by zeros. [`StateReader`]
//! reads the policy's state from the joints, by name.

mod assembler;
mod clock;
mod earlier;
mod enable;
mod error;
mod history;
mod inputs;
mod intake;
mod joints;
mod order;
mod pose;
mod rate;
mod sample;
mod slot;
mod spec;
mod state_reader;
mod statistics;
mod stream;
pub mod transforms;
mod violation;

pub use enable::EnableSwitch;
pub use error::{Error, TransformError};
pub use inputs::Inputs;
pub use pose::Pose;
pub use rate::InputRate;
pub use sample::{CameraSample, JointReading, JointSample, Observation, PoseSample, StateSample};
pub use spec::{
    Exif, FrameCheck, FrameHistory, FrameOptions, InputKind, InputRule, InputSpec, InputTopic, JointNames, MimicJoint,
    OnViolation, Pairing, Rules, StampSource, Transport,
};
pub use state_reader::{JointMap, StateReader};
pub use statistics::InputStatistics;
pub use violation::{Breach, Fault, Off, Violation};
