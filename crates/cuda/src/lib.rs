//! CUDA: device memory and streams, and the engine kind that runs a network's list of operations.
//!
//! [`launch`] is what a list of operations ([`vla_engines::operations::Program`]) becomes: kernels and products with addresses. With
//! the feature `driver` there is the device: [`driver`] (one context, one stream), blocks of memory, [`Workspace`] and [`Queue`],
//! which the TensorRT kind uses too.
//!
//! # Who owns which address, and until when
//!
//! CUDA keeps raw addresses and none of them keeps its memory alive. The rules, each held by a type or checked at the call:
//!
//! - *Tensors* lie in the blocks of a [`Workspace`], which are allocated once and never move. What an engine made for the
//!   workspace's shapes is a field of it (`contexts`), declared before the blocks. Dropping a workspace first waits for the stream.
//! - *A recording* (CUDA graph) carries the number of its workspace, and is replayed with that workspace borrowed. While it is
//!   captured, calls with other workspaces are refused.
//! - *Page-locked memory* is read and written by the GPU between upload and finish. A host call that touches it earlier waits first.

pub mod kernels;
#[expect(missing_docs, reason = "fields are those of kernels/arguments.h; the structures say what they mean")]
pub mod launch;
pub mod plan;
pub mod tactics;

#[cfg(feature = "driver")]
#[expect(unsafe_code, reason = "allocations; every block says why it is sound")]
mod blocks;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "calls of cuBLASLt; every block says why it is sound")]
mod cublas;
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "launches and copies; every block says why it is sound")]
pub mod device;
#[cfg(feature = "driver")]
#[expect(unsafe_code, reason = "calls of the driver; every block says why it is sound")]
pub mod driver;
#[cfg(feature = "driver")]
mod id;
#[cfg(feature = "driver")]
#[expect(unsafe_code, reason = "a graph is used by one thread at a time")]
mod queue;
#[cfg(feature = "driver")]
mod staging;
#[cfg(feature = "driver")]
#[expect(unsafe_code, reason = "copies; every block says why it is sound")]
mod workspace;

#[cfg(feature = "driver")]
pub use blocks::{ALIGNMENT, DeviceBlock, PinnedBlock};
#[cfg(feature = "driver")]
pub use id::Id;
#[cfg(feature = "driver")]
pub use queue::{Queue, Recording};
#[cfg(feature = "driver")]
pub use staging::Staging;
#[cfg(feature = "driver")]
pub use workspace::Workspace;
