//! A loaded engine, and what is made of it in a workspace.

use std::collections::BTreeMap;

use cudarc::driver::CudaGraph;

use crate::Engine;
use crate::id::Id;
use vla_base::sys::remap::RemappedMemory;
use vla_base::tensor::{Dim, TensorSpec};
use vla_engines::host_copy::HostCopy;
use vla_engines::profile::Profile;

/// A loaded engine.
pub struct LoadedEngine {
    pub(super) id: Id,
    pub(super) stage: String,
    pub(super) handle: Engine,
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) outputs: Vec<TensorSpec>,
    /// Of each input.
    pub(super) profiles: Vec<Option<Profile>>,
    pub(super) host_copy: HostCopy,
    /// The host copy, where it was released.
    pub(super) remapped: Option<RemappedMemory>,
}

impl LoadedEngine {
    /// Activation memory that it needs while it runs, in bytes.
    pub fn activation_bytes(&self) -> u64 {
        self.handle.activation_bytes()
    }

    /// The profile of every input that has an open dimension, by the engine's own name.
    pub fn profiles(&self) -> BTreeMap<String, Profile> {
        let open = |(spec, profile): (&TensorSpec, &Option<Profile>)| {
            let is_open = spec.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_)));
            Some((spec.name.clone(), profile.clone().filter(|_| is_open)?))
        };
        self.inputs.iter().zip(&self.profiles).filter_map(open).collect()
    }
}

/// A engine joined to tensors of one workspace: their addresses, by the engine's own names. It runs on that workspace only.
pub struct Bound {
    pub(super) id: Id,
    pub(super) workspace: Id,
    /// Index of the context in the workspace.
    pub(super) context: usize,
    pub(super) addresses: Vec<(String, u64)>,
}

/// A pass as a CUDA graph. It is replayed on the workspace that it was captured on only.
pub struct Recording {
    pub(super) graph: CudaGraph,
    pub(super) workspace: Id,
}

// SAFETY: a graph may be used from any thread, by one at a time; `&mut` on every use sees to that.
unsafe impl Send for Recording {}
