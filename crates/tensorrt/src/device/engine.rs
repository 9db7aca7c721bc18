//! A loaded engine, and its bound and recorded forms in a workspace.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::runtime_cache::KeptCache;
use crate::{Context, Engine, Error};
use vla_base::sys::remap::RemappedMemory;
use vla_base::tensor::{Dim, TensorSpec};
use vla_cuda::{DeviceBlock, Id};
use vla_engines::host_copy::HostCopy;
use vla_engines::profile::Profile;

/// A loaded engine.
pub struct LoadedEngine {
    pub(super) id: Id,
    pub(super) stage: String,
    /// With TensorRT-RTX.
    pub(super) cache: Option<KeptCache>,
    pub(super) handle: Engine,
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) outputs: Vec<TensorSpec>,
    /// Profile of each input.
    pub(super) profiles: Vec<Option<Profile>>,
    pub(super) host_copy: HostCopy,
    /// The host copy, if it was released.
    pub(super) remapped: Option<RemappedMemory>,
}

impl LoadedEngine {
    /// A context on the first profile.
    pub(super) fn context(&self) -> Result<Context, Error> {
        match &self.cache {
            Some(cache) => cache.context(&self.handle),
            None => self.handle.context(0),
        }
    }

    /// Activation memory for a run, in bytes.
    pub fn activation_bytes(&self) -> u64 {
        self.handle.activation_bytes()
    }

    /// The profile of every input with a dynamic dimension, by the engine's input name.
    pub fn profiles(&self) -> BTreeMap<String, Profile> {
        let open = |(spec, profile): (&TensorSpec, &Option<Profile>)| {
            let is_open = spec.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_)));
            Some((spec.name.clone(), profile.clone().filter(|_| is_open)?))
        };
        self.inputs.iter().zip(&self.profiles).filter_map(open).collect()
    }
}

/// An engine's context in one instance, with its shapes, and with the addresses of the last bound run.
pub struct InstanceContext {
    /// Its plan.
    pub(super) engine: Id,
    pub(super) context: Context,
    /// The bound run whose addresses are set.
    pub(super) bound: Option<Id>,
    /// Its activation memory; declared after the context, so dropped after it.
    pub(super) _arena: Arc<DeviceBlock>,
}

/// An engine bound to tensors of one workspace: their addresses, by the engine's tensor names. Runs on that workspace only.
pub struct Bound {
    pub(super) id: Id,
    pub(super) workspace: Id,
    /// Index of the context in the workspace.
    pub(super) context: usize,
    pub(super) addresses: Vec<(String, u64)>,
}
