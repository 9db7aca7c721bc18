//! Errors of loading and running engines. They carry data: which stage, what differs, how much is missing. Commands and
//! parameters that help are composed above this crate.

use std::fmt;
use std::path::PathBuf;

use super::{graph, memory, profile, provenance};

/// Cause of an error, as the library or the system reports it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Loading or running engines failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A runtime library is missing or cannot be used.
    #[error("cannot use {library}: {source}")]
    Library {
        /// The library.
        library: RuntimeLibrary,
        /// Message of the loader.
        source: Cause,
    },
    /// A network or engine file is missing, or the runtime refuses it.
    #[error("stage '{stage}': cannot load {}: {source}", file.display())]
    Load {
        /// Stage of the file.
        stage: String,
        /// The file.
        file: PathBuf,
        /// Message of the system or of the runtime.
        source: Cause,
    },
    /// The load order is not a permutation of the stages.
    #[error("the load order must name every stage exactly once: {problem}; the stages are {}", stages.join(", "))]
    LoadOrder {
        /// First problem found.
        problem: LoadOrderProblem,
        /// Every stage of the policy.
        stages: Vec<String>,
    },
    /// The engines need more memory than they may use. Engines that were loaded are freed.
    #[error("{0}")]
    DoesNotFit(#[source] Box<memory::Shortage>),
    /// The runtime could not allocate memory. A [`crate::Backend`] returns it; [`crate::Pipeline`] turns it into
    /// [`Error::DoesNotFit`].
    #[error("out of memory while {action}: {source}")]
    OutOfMemory {
        /// The failed operation.
        action: String,
        /// Message of the runtime.
        source: Cause,
    },
    /// Engines that were not built on this device from these files: every stage's. Nothing was loaded.
    #[error("{}", rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Provenance {
        /// One for each rejected engine.
        rejections: Vec<provenance::Rejection>,
    },
    /// An input is outside the range that an engine accepts. Nothing was enqueued.
    #[error("{0}")]
    Profile(#[source] Box<profile::Violation>),
    /// The stages do not fit together, or a network differs from its description. Every problem is listed.
    #[error(
        "the policy's stages do not fit together:\n  {}",
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
    )]
    Graph {
        /// Every problem.
        problems: Vec<graph::Problem>,
    },
    /// A table of constants is missing, or has no rows for this number of iterations.
    #[error("constants of input '{input}' in {}: {source}", file.display())]
    Constants {
        /// Input that takes the constants.
        input: String,
        /// File of the table.
        file: PathBuf,
        /// What is wrong.
        source: Cause,
    },
    /// A symbolic dimension has no value.
    #[error("tensor '{tensor}': dimension '{symbol}' has no value; dimensions with a value: {known}")]
    Symbol {
        /// Tensor with the dimension.
        tensor: String,
        /// Name of the dimension.
        symbol: String,
        /// Names that have a value.
        known: String,
    },
    /// A host tensor differs in type or shape from the pipeline's tensor.
    #[error("tensor '{tensor}': expected {expected}, found {found}")]
    HostTensor {
        /// Name of the tensor.
        tensor: String,
        /// Element type and dimensions of the pipeline's tensor.
        expected: String,
        /// Those of the host tensor.
        found: String,
    },
    /// A host tensor differs in size from a buffer. A [`crate::Backend`] returns it; [`crate::Pipeline`] turns it into
    /// [`Error::HostTensor`].
    #[error("expected a tensor of {expected}, found {found}")]
    BufferSize {
        /// Size of the buffer, with its unit.
        expected: String,
        /// Size of the host tensor, with its unit.
        found: String,
    },
    /// The runtime failed while it ran a stage.
    #[error("{0}")]
    Enqueue(#[source] Box<profile::EnqueueFailure>),
    /// A CUDA error after which every call fails until the engines are loaded again.
    #[error("the device is lost until the engines are loaded again: {source}")]
    DeviceLost {
        /// The operation that failed, with the message of the driver.
        source: Cause,
    },
    /// The runtime failed outside a stage.
    #[error("{action}: {source}")]
    Device {
        /// The failed operation.
        action: String,
        /// Message of the runtime.
        source: Cause,
    },
    /// The caller ran a pipeline before [`crate::Inference::prepare`]: a bug of the caller.
    #[error("internal error: the pipeline is not prepared for any input size")]
    NotPrepared,
}

/// A library that is opened at run time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuntimeLibrary {
    /// `libonnxruntime.so`.
    OnnxRuntime,
    /// `libnvinfer.so` and `libnvonnxparser.so`.
    Tensorrt,
    /// `libcuda.so`, part of the NVIDIA driver.
    Cuda,
    /// `libcublasLt.so`, part of the CUDA toolkit.
    CublasLt,
}

impl fmt::Display for RuntimeLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnnxRuntime => "ONNX Runtime",
            Self::Tensorrt => "TensorRT",
            Self::Cuda => "CUDA",
            Self::CublasLt => "cuBLASLt",
        })
    }
}

/// What is wrong with a load order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadOrderProblem {
    /// It names something else than a stage.
    #[error("'{0}' is no stage")]
    Unknown(String),
    /// It names a stage more than once.
    #[error("'{0}' is named twice")]
    Repeated(String),
    /// It leaves out a stage.
    #[error("'{0}' is missing")]
    Missing(String),
}

/// Class of an [`Error`], for callers that act on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorClass {
    /// Memory is short.
    DoesNotFit,
    /// An engine was not built on this device from these files.
    WrongProvenance,
    /// Every call fails until the engines are loaded again.
    DeviceLost,
    /// Everything else.
    Other,
}

impl ErrorClass {
    /// Name for machines: `does_not_fit`, `wrong_provenance`, `device_lost` or `other`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DoesNotFit => "does_not_fit",
            Self::WrongProvenance => "wrong_provenance",
            Self::DeviceLost => "device_lost",
            Self::Other => "other",
        }
    }
}

impl Error {
    /// Its class.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::DoesNotFit(_) | Self::OutOfMemory { .. } => ErrorClass::DoesNotFit,
            Self::Provenance { .. } => ErrorClass::WrongProvenance,
            Self::DeviceLost { .. } => ErrorClass::DeviceLost,
            _ => ErrorClass::Other,
        }
    }

    /// Whether every later call fails too, until the engines are loaded again.
    pub fn is_sticky(&self) -> bool {
        self.class() == ErrorClass::DeviceLost
    }

    /// Whether memory is short.
    pub fn does_not_fit(&self) -> bool {
        self.class() == ErrorClass::DoesNotFit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_names_that_diagnostics_publish() {
        let lost = Error::DeviceLost { source: "CUDA error 700".into() };
        let memory = Error::OutOfMemory { action: "loading".into(), source: "CUDA error 2".into() };
        let provenance = Error::Provenance { rejections: Vec::new() };
        let names = [lost, memory, provenance, Error::NotPrepared].map(|error| error.class().name());
        assert_eq!(names, ["device_lost", "does_not_fit", "wrong_provenance", "other"]);
    }

    #[test]
    fn an_error_keeps_its_source() {
        let error = Error::Load {
            stage: "vision".into(),
            file: "vision.onnx".into(),
            source: std::io::Error::from(std::io::ErrorKind::NotFound).into(),
        };
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
    }
}
