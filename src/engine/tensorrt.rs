//! TensorRT, as a safe ring over the C++ shim (`csrc/`): library -> runtime -> engine -> context, each keeping the one
//! before it alive, and the builder. The ring knows no CUDA memory and no stream: addresses and streams come from
//! outside, which is what its few `unsafe` functions ask promises about.
//!
//! [`device`] is the engine kind on top of it: CUDA's side ([`cuda`], blocks, workspace), one stream, one activation
//! arena, passes as CUDA graphs.
//!
//! The headers that the shim was compiled against fix the major version; the library is opened at run time, so a
//! program with this feature starts without TensorRT and says in words what is missing.

mod blocks;
mod build;
mod context;
pub mod cuda;
pub mod device;
mod identity;
mod library;
mod load;
mod log;
mod result;
mod runtime;
mod staging;
mod sys;
mod tensor;
mod workspace;

pub use build::{BuildOptions, BuildProgress, Built, Calibrator, Constraints, TacticSources, build, build_calibrated};
pub use context::Context;
pub use identity::identity;
pub use library::{Library, LoadPath, Version};
pub use log::{Log, Severity, UNSCALED};
pub use result::{Error, ParseError};
pub use runtime::{Engine, Runtime};
pub use staging::Staging;
pub use tensor::Tensor;
