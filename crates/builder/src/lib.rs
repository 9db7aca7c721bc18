//! Builds a TensorRT engine from an ONNX file on this device, and writes its provenance record.
//!
//! Input: a [`Request`] (network, engine file, precision, ranges of the symbolic dimensions, effort, and for INT8 the
//! [`calibration`] data). Output: the engine and its record. Without the feature `tensorrt` requests, calibration data and
//! low-memory limits are checked, and nothing is built.
//!
//! A builder needs far more memory than the engine, and does not return all of it while its process lives. So a build is
//! two processes: a child builds and ends; its parent then loads the engine, runs it once, measures its memory and writes
//! the record.
//!
//! ```
//! use vla_base::tensor::{DType, Dim, TensorSpec};
//! use vla_builder::Request;
//!
//! // `vla-trt build --max-seq-len 256`: the range of every symbolic dimension.
//! let request = Request { longest: Some(256), ..Request::default() };
//! let tokens = TensorSpec { name: "tokens".into(), dtype: DType::I32, dims: vec![Dim::Symbol("T".into())] };
//! assert_eq!(request.ranges(&[tokens])["T"], [1, 256, 256]);
//! ```

use std::path::{Path, PathBuf};

use vla_engines::memory::mib;
use vla_engines::precision::Lacking;
use vla_engines::{Precision, provenance};

pub mod ahead;
pub mod calibration;
pub mod low_memory;
pub mod quantized;
mod request;
mod scales;
mod target;

#[cfg(feature = "tensorrt")]
mod calibrator;
#[cfg(feature = "tensorrt")]
mod probe;
#[cfg(feature = "tensorrt")]
mod record;
#[cfg(feature = "tensorrt")]
mod trial;
#[cfg(feature = "tensorrt")]
mod work;

#[cfg(feature = "tensorrt")]
pub use calibrator::Calibrated;
#[cfg(feature = "tensorrt")]
pub use probe::{Probe, probe, probe_and_try_release};
#[cfg(feature = "tensorrt")]
pub use record::{Origin, record};
pub use request::{Effort, Range, Request};
pub use scales::{CacheKey, Decision, Scales};
pub use target::Target;
#[cfg(feature = "tensorrt")]
pub use work::{Built, build};

/// Why an engine was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request does not fit the network. Every problem is listed.
    #[error("{} cannot be built:\n  {}", onnx.display(), problems.join("\n  "))]
    Request {
        /// The network.
        onnx: PathBuf,
        /// One line each.
        problems: Vec<String>,
    },
    /// The network cannot be read.
    #[error(transparent)]
    Onnx(#[from] vla_engines::onnx::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The device or the TensorRT version does not support the precision.
    #[error("{} cannot be built in {precision} on this device: {lacking}; {}", onnx.display(), instead(lacking))]
    Precision {
        /// The network.
        onnx: PathBuf,
        /// Requested precision.
        precision: Precision,
        /// Why it is not supported.
        lacking: Lacking,
    },
    /// Another process builds the same engine.
    #[error(
        "process {holder} is building {} already; wait until it ends (lock file: {}, released when the process ends)",
        engine.display(), lock.display()
    )]
    Busy {
        /// The engine.
        engine: PathBuf,
        /// The lock's file.
        lock: PathBuf,
        /// The number of the process.
        holder: String,
    },
    /// The disk has too little free space for the engine.
    #[error(
        "{}: an engine of up to {:.1} MiB needs more than the {:.1} MiB that are free on the disk; free space, or choose another \
         folder", folder.display(), mib(*needed), mib(*free)
    )]
    Space {
        /// The engine's folder.
        folder: PathBuf,
        /// Upper estimate of the engine's size in bytes.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// TensorRT or CUDA.
    #[error("{0}")]
    Engine(#[from] vla_engines::Error),
    /// The builder failed. Contains its error and the last lines of its log.
    #[error("TensorRT did not build {}: {reason}", onnx.display())]
    Builder {
        /// The network.
        onnx: PathBuf,
        /// The builder's error.
        reason: String,
    },
    /// The builder left weights floating that the network quantises. No engine was written.
    #[error(
        "{}: TensorRT built an engine of {}: it does not hold the 8-bit weights of its network, and was not written; build \
         the policy before it was quantised in fp16, or quantise it for this TensorRT (vla-trt quantize --target, docs/quantize.md)",
        onnx.display(), quantized::sizes(*bytes, *planned, *most)
    )]
    NotQuantized {
        /// The network.
        onnx: PathBuf,
        /// Size of the engine in bytes.
        bytes: u64,
        /// Expected size in bytes.
        planned: u64,
        /// Largest accepted size in bytes.
        most: u64,
    },
    /// The trial run of a built or adopted engine failed.
    #[error("{}: {source}", engine.display())]
    Unclean {
        /// The engine.
        engine: PathBuf,
        /// What was wrong.
        source: vla_engines::Cause,
    },
    /// An output file cannot be created or renamed to its final name.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] provenance::Error),
}

/// The device that engines are built for: this one.
///
/// # Errors
/// [`vla_engines::Error::Library`] when CUDA or TensorRT is missing.
#[cfg(feature = "tensorrt")]
pub fn device() -> Result<provenance::DeviceIdentity, vla_engines::Error> {
    let cuda = vla_tensorrt::cuda::Cuda::open()?;
    let library = vla_tensorrt::Library::open()?;
    vla_tensorrt::identity(&cuda, &library)
}

/// Advice for a precision that this device does not support.
fn instead(lacking: &Lacking) -> &'static str {
    match lacking {
        Lacking::BuilderPrecision { .. } => {
            "write the network in the types that it is to run in (vla-trt export --dtype fp16; vla-trt quantize), or set \
             precision fp32, which means the network's own types"
        }
        Lacking::Bf16Version { .. } => "build in fp16, or in fp32 what fp16 cannot hold",
        Lacking::Bf16Gpu { .. } => "build in fp16",
    }
}

/// Writes a file atomically, and creates its folder if necessary.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    Ok(vla_base::sys::fs::replace(path, bytes)?)
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
