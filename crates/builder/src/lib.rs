//! ONNX to a TensorRT engine on this device, with the record of where and from what it was built.
//!
//! Building takes far more memory than running, and what a builder took is not all given back while its process lives.
//! So a build is two processes: a child that builds and ends, and its parent, which then loads the engine once, runs
//! it once, measures what it keeps and writes the record.

use std::path::{Path, PathBuf};

use vla_engines as engine;
use vla_engines::memory::mib;
use vla_engines::{Precision, provenance};

pub mod calibration;
pub mod low_memory;
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
        /// The system's words.
        source: std::io::Error,
    },
    /// This device or this TensorRT has no such precision.
    #[error("{} cannot be built in {precision} here: {reason}", onnx.display())]
    Precision {
        /// The network.
        onnx: PathBuf,
        /// What it was to compute in.
        precision: Precision,
        /// What is lacking, and what to do.
        reason: String,
    },
    /// Another process builds the same engine.
    #[error(
        "{} is being built by process {holder} already; wait for it (its lock is {}, and goes with the process)",
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
    /// The disk is full, or would be.
    #[error(
        "{}: an engine of {:.1} MiB may be written there, and the disk has {:.1} MiB free; make room, or choose another \
         folder", folder.display(), mib(*needed), mib(*free)
    )]
    Space {
        /// The engine's folder.
        folder: PathBuf,
        /// Bytes that the engine may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// TensorRT or CUDA.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// The builder refused. Its own words and the last lines of its log.
    #[error("TensorRT did not build {}: {reason}", onnx.display())]
    Builder {
        /// The network.
        onnx: PathBuf,
        /// The builder's words.
        reason: String,
    },
    /// The engine that was built or is to be adopted does not run cleanly.
    #[error("{}: {source}", engine.display())]
    Unclean {
        /// The engine.
        engine: PathBuf,
        /// What was wrong with its one run.
        source: engine::Cause,
    },
    /// A file to write cannot be begun or put in place.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] provenance::Error),
}

/// The device that engines are built for: this one.
///
/// # Errors
/// [`engine::Error::Library`] when CUDA or TensorRT is missing.
#[cfg(feature = "tensorrt")]
pub fn device() -> Result<provenance::DeviceIdentity, engine::Error> {
    let cuda = vla_tensorrt::cuda::Cuda::open()?;
    let library = vla_tensorrt::Library::open()?;
    vla_tensorrt::identity(&cuda, library.version())
}

/// Writes a file, whole or not at all, and its folder where that is missing.
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
