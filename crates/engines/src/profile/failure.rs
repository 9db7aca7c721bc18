//! The report of an engine that failed while it ran.

use std::error::Error;
use std::fmt;

use vla_base::tensor::{DType, display_dims};

use super::Profile;
use crate::error::Cause;
use crate::graph::Role;

/// A tensor as it was bound when a run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorShape {
    /// Input or output.
    pub role: Role,
    /// The engine's name of it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// What the engine accepts.
    pub profile: Option<Profile>,
}

/// An engine failed while it ran.
#[derive(Debug)]
pub struct EnqueueFailure {
    /// The engine's stage.
    pub stage: String,
    /// Iteration of a repeated stage.
    pub iteration: Option<usize>,
    /// Error of the runtime.
    pub source: Cause,
    /// Every bound tensor.
    pub tensors: Vec<TensorShape>,
    /// Last lines of the runtime's log, oldest first.
    pub log: Vec<String>,
    /// Whether the engine has a matching record; `None`: it is not tied to a device.
    pub verified: Option<bool>,
}

impl fmt::Display for EnqueueFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iteration = self.iteration.map_or_else(String::new, |iteration| format!(" (iteration {iteration})"));
        write!(f, "stage '{}'{iteration} failed while running: {}", self.stage, self.source)?;
        for TensorShape { role, name, dtype, dims, profile } in &self.tensors {
            let takes = profile.as_ref().map_or_else(String::new, |profile| format!(", the engine takes {profile}"));
            write!(f, "\n  {role:6} {name}: {dtype} {}{takes}", display_dims(dims))?;
        }
        if !self.log.is_empty() {
            write!(f, "\n  last lines of the runtime's log:")?;
            for line in &self.log {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

impl Error for EnqueueFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}
