//! Observation: the latest sample of each input, checked for age and skew by header stamp.
//!
//! Topic tasks (or a bag) offer serialized messages; the inference thread asks for an [`Observation`]. Nothing queues
//! between them: an input holds one sample, and the freshest by header stamp wins. What breaks a rule comes back as a
//! value that lists every breach; a missing stream is never replaced by zeros.

mod sample;
mod spec;
mod state_reader;

pub use sample::{CameraSample, JointSample, Observation};
pub use spec::{InputKind, InputRule, InputSpec, OnViolation, Rules, Transport};
pub use state_reader::JointMap;
