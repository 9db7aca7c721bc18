//! TensorRT, as a safe ring over the C++ shim (`csrc/`): library -> runtime -> engine -> context, each keeping the one
//! before it alive, and the builder. CUDA memory and streams are not in here: addresses and streams come from outside,
//! which is what the few `unsafe` functions ask promises about.
//!
//! The headers that the shim was compiled against fix the major version; the library is opened at run time, so a
//! program with this feature starts without TensorRT and says in words what is missing.

mod build;
mod context;
mod library;
mod load;
mod log;
mod result;
mod runtime;
mod sys;
mod tensor;

pub use build::{BuildOptions, BuildProgress, Built, Calibrator, Constraints, TacticSources, build, build_calibrated};
pub use context::Context;
pub use library::{Library, LoadPath, Version};
pub use log::{Log, Severity};
pub use result::{Error, ParseError};
pub use runtime::{Engine, Runtime};
pub use tensor::{Profile, Tensor};
