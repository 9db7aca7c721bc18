//! TensorRT in Rust: safe wrappers of a C++ shim (`csrc/`), and the backend that runs engines on a GPU.
//!
//! Input: an ONNX file for [`build()`], an engine file for [`device::Tensorrt`], which implements [`vla_engines::Backend`].
//! Output: an engine file; a loaded engine that runs on one CUDA stream, its passes recorded as CUDA graphs.
//!
//! The wrappers are library -> runtime -> engine -> context, each of which keeps the one before it alive, and the builder.
//! They know no CUDA memory and no stream: the few `unsafe` functions take addresses and streams from the caller. The
//! backend adds those, with [`vla_cuda`]: memory blocks, workspaces, one activation arena for all engines.
//!
//! ```
//! use vla_tensorrt::Library;
//!
//! match Library::open() {
//!     Ok(library) => assert_eq!(Some(library.version().major), library.family().headers().map(|headers| headers.major)),
//!     // The error says what to install.
//!     Err(error) => assert!(error.to_string().contains("TensorRT")),
//! }
//! ```
//!
//! # Who owns which address, and until when
//!
//! TensorRT and CUDA keep raw addresses: an execution context those of its tensors and of its activation memory, a CUDA
//! graph those of everything that it replays, an engine's host copy those of pages that were remapped. None of them keeps
//! its memory alive. The rules, each held by a type or checked at the call, so that safe code cannot break them:
//!
//! - *Objects of TensorRT.* Each handle holds the one it was made from: context -> engine -> runtime -> library. TensorRT
//!   has one logger, which is never freed; a [`Log`] is registered with it as long as it lives.
//! - *Tensors* lie in the blocks of a [`vla_cuda::Workspace`], which are allocated once and never move. The contexts that
//!   have their addresses are fields of the same workspace, declared before the blocks. Dropping a workspace first waits
//!   for the stream.
//! - *The arena* for activations belongs to the device; each context's owner holds an `Arc` of it. All plans of a device
//!   share it, because they run one after the other on the device's one stream; so a workspace runs on the device that
//!   made it only.
//! - *A bound engine* carries the number of its workspace and is refused on another. Its places were compared with the
//!   context's shapes when it was bound, and neither changes afterwards.
//! - *A recording* (CUDA graph) carries the number of its workspace, and is replayed with that workspace borrowed. While it
//!   is captured, calls with other workspaces are refused, so that the graph has addresses of that one only.
//! - *Page-locked memory* is read and written by the GPU between upload and finish. A host call that touches it earlier
//!   waits first.
//! - *Tensors in host memory* (shape tensors) are refused by name when an engine is loaded: every address here is the
//!   device's.
//! - *A host copy* that was released stays TensorRT's: it frees the addresses. [`vla_base::sys::remap::RemappedMemory`] checks that
//!   they are still the same pages before every operation on them.
//!
//! # Two library families
//!
//! [`Family`]: TensorRT and TensorRT-RTX have the same classes with other virtual functions. The shim's C++ files are compiled
//! once for each family whose headers are there. RTX's objects have other names (`csrc/tensorrt_family.h` renames the
//! namespaces), because inline methods of both headers would otherwise be one symbol. Each family gives one table of functions,
//! `sys::Api`; a [`Library`] holds the table of its family, and everything that is made from it calls through that table. So a
//! handle of one family cannot reach functions of the other.
//!
//! The headers that the shim was compiled against fix the major version; the libraries are opened at run time, so a
//! program with this feature starts without TensorRT and reports what is missing.

#![cfg(feature = "tensorrt")]
#![expect(unsafe_code, reason = "calls into the C++ shim; every block says why it is sound")]

/// The folder of TensorRT's headers that the shim was compiled against, if it was.
pub const HEADERS: Option<&str> = option_env!("VLA_TRT_TENSORRT_HEADERS");
/// The folder of TensorRT-RTX's headers that the shim was compiled against, if it was.
pub const RTX_HEADERS: Option<&str> = option_env!("VLA_TRT_TENSORRT_RTX_HEADERS");

mod build;
mod cache;
mod context;
pub mod device;
mod family;
mod identity;
mod library;
mod load;
mod log;
mod result;
mod runtime;
mod sys;
mod tensor;

pub use build::{BuildOptions, BuildProgress, Built, Calibrator, Constraints, TacticSources, build, build_calibrated};
pub use cache::RuntimeCache;
pub use context::Context;
pub use family::Family;
pub use identity::identity;
pub use library::{FAMILY_VARIABLE, Library, LoadPath, Version};
pub use log::{Log, Severity, UNSCALED};
pub use result::{Error, ParseError};
pub use runtime::{Engine, Runtime};
pub use tensor::Tensor;
pub use vla_cuda::{Staging, driver as cuda};
