//! Engines that must not be loaded, and why.

use std::error::Error as StdError;
use std::fmt;

use super::{Error, OperationsFault, Provenance};
use crate::graph::Stage;

/// An engine that must not be loaded, with the data for building it again.
#[derive(Debug)]
pub struct Rejection {
    /// Stage of the engine: its files, precision and profiles.
    pub stage: Box<Stage>,
    /// Record of the engine, if it exists and can be read.
    pub record: Option<Box<Provenance>>,
    /// Why the engine is rejected.
    pub reason: Reason,
}

/// Why an engine is rejected.
#[derive(Debug)]
pub enum Reason {
    /// The engine file does not exist.
    NoEngine,
    /// The engine has no record.
    NoRecord,
    /// The record cannot be used.
    BadRecord(Error),
    /// Record, device and files differ.
    Mismatch(Vec<Difference>),
    /// The engine failed its accuracy gate; the record has the figures.
    Inaccurate,
    /// TensorRT logs that another GPU model built the engine.
    OtherModel {
        /// The log line.
        line: String,
    },
    /// The stage's list of operations cannot be run (engine kind cuda).
    Operations(Box<OperationsFault>),
    /// The stage's list of operations was not verified on this device (engine kind cuda).
    NotVerified {
        /// Why the verdict that is there does not count; `None`: there is none.
        found: Option<String>,
    },
    /// This program has no kernels for the GPU (engine kind cuda).
    NoKernels {
        /// The GPU's name.
        gpu: String,
        /// Its compute capability, e.g. `7.5`.
        found: String,
        /// Compute capabilities of the kernels in this program, e.g. `8.7`; none in a program that was built without nvcc.
        compiled: Vec<String>,
    },
}

/// A property in which record and device, files or policy differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Name of the property.
    pub what: String,
    /// Its value in the engine's record.
    pub built: String,
    /// Its value on this device, in these files or in the policy.
    pub here: String,
}

impl Difference {
    pub(super) fn new(what: impl Into<String>, built: impl Into<String>, here: impl Into<String>) -> Self {
        Self { what: what.into(), built: built.into(), here: here.into() }
    }
}

impl Rejection {
    /// A rejection with copies of these.
    pub fn new(stage: &Stage, record: Option<&Provenance>, reason: Reason) -> Self {
        Self { stage: Box::new(stage.clone()), record: record.cloned().map(Box::new), reason }
    }

    /// Figures of the failed accuracy gate with their limits; empty without one.
    pub fn figures(&self) -> String {
        let failed = self.record.as_ref().and_then(|record| record.verification.as_ref());
        failed.map_or_else(String::new, |failed| {
            format!("{} ({} observations, {})", failed.summary, failed.observations, failed.at)
        })
    }

    /// Describes the reason, without the name of the stage.
    pub fn problem(&self) -> String {
        let engine = self.stage.file.display();
        match &self.reason {
            Reason::NoEngine => format!("there is no engine {engine}"),
            Reason::NoRecord => format!(
                "no record says where {engine} was built ({} is missing)",
                Provenance::path(&self.stage.file).display()
            ),
            Reason::BadRecord(error) => error.to_string(),
            Reason::Mismatch(differences) => {
                let plural = if differences.len() == 1 { "property differs" } else { "properties differ" };
                let count = differences.len();
                let width = differences.iter().map(|difference| difference.what.len()).max().unwrap_or(0);
                let mut text = format!("{engine} was not built for this device and these files: {count} {plural}");
                for Difference { what, built, here } in differences {
                    text += &format!("\n  {what:width$}  engine: {built}, here: {here}");
                }
                text
            }
            Reason::Inaccurate => format!("{engine} is less accurate than its policy allows: {}", self.figures()),
            Reason::OtherModel { line } => format!(
                "TensorRT reports that {engine} was built on another GPU model: {line}. Such an engine can load and then fail \
                 at its first inference"
            ),
            Reason::Operations(fault) => fault.to_string(),
            Reason::NotVerified { found: None } => {
                format!("{engine} was not verified on this device: expected a verdict on its accuracy, found none")
            }
            Reason::NotVerified { found: Some(found) } => {
                format!("{engine} was not verified on this device: the verdict that is there does not count: {found}")
            }
            Reason::NoKernels { gpu, found, compiled } => format!(
                "this program has kernels for {}, found compute capability {found} ({gpu})",
                match compiled.is_empty() {
                    true => "no GPU (it was built without nvcc)".to_owned(),
                    false => format!("compute capability {}", compiled.join(", ")),
                }
            ),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage '{}': {}", self.stage.name, self.problem())
    }
}

impl StdError for Rejection {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.reason {
            Reason::BadRecord(error) => Some(error),
            Reason::Operations(fault) => Some(fault.as_ref()),
            _ => None,
        }
    }
}

impl From<Rejection> for crate::Error {
    fn from(rejection: Rejection) -> Self {
        Self::Provenance { rejections: vec![rejection] }
    }
}
