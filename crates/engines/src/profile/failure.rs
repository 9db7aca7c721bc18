//! What is known when an engine fails while it runs.

use std::fmt;

use vla_base::tensor::{DType, display_dims};

use super::Profile;

/// A tensor as it was bound when a run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorShape {
    /// `input` or `output`.
    pub role: &'static str,
    /// The engine's own name of it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// What the engine takes there.
    pub profile: Option<Profile>,
}

/// An engine failed while it ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnqueueFailure {
    /// The engine's stage.
    pub stage: String,
    /// Which repetition of it; `None` outside the repeated group.
    pub repetition: Option<usize>,
    /// The runtime's own words.
    pub reason: String,
    /// Every tensor that was bound.
    pub tensors: Vec<TensorShape>,
    /// Last lines of the runtime's log, oldest first.
    pub log: Vec<String>,
    /// Whether the engine's origin is proven; `None`: it is not tied to a device.
    pub proven: Option<bool>,
}

impl fmt::Display for EnqueueFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repetition = self.repetition.map_or_else(String::new, |repetition| format!(" (repetition {repetition})"));
        write!(f, "stage '{}'{repetition} failed while running: {}", self.stage, self.reason)?;
        for TensorShape { role, name, dtype, dims, profile } in &self.tensors {
            let takes = profile.as_ref().map_or_else(String::new, |profile| format!(", the engine takes {profile}"));
            write!(f, "\n  {role:6} {name}: {dtype} {}{takes}", display_dims(dims))?;
        }
        if !self.log.is_empty() {
            write!(f, "\n  the runtime's last words:")?;
            for line in &self.log {
                write!(f, "\n    {line}")?;
            }
        }
        let provenance = match self.proven {
            None => return Ok(()),
            Some(true) => "its record matches this device",
            Some(false) => "nothing proves that it was built on this device: build it here",
        };
        write!(
            f,
            "\n  likely causes, in this order:\
             \n    1. a shape at the edge of the optimisation profile: compare the shapes above, build with another --profile\
             \n    2. an engine of another device ({provenance})\
             \n    3. INT8 scales of another network: calibrate and build again"
        )
    }
}
