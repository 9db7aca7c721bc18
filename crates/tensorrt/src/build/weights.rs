//! Maps a model's external weights for the parser. The kernel can evict the pages of a mapped file, whereas the parser itself
//! would read every byte into anonymous memory.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::sys;
use vla_base::sys::map;
use vla_engines::onnx::Network;

/// A model's file and its weights, mapped. Must outlive the parser, which keeps their addresses.
pub(super) struct MappedWeights {
    pub model: Bytes,
    names: Vec<CString>,
    /// Slices of mappings; each keeps its file mapped.
    data: Vec<Bytes>,
}

impl MappedWeights {
    /// `None` if the model has no external data, TensorRT is older than 10.13, or a file does not match the model; in the last
    /// case the parser then reads the file itself and reports the problem.
    pub(crate) fn open(api: &sys::Api, onnx: &Path) -> Option<Self> {
        // SAFETY: a constant of the shim.
        if unsafe { (api.maps_weights)() } == 0 {
            return None;
        }
        let weights = Network::open(onnx).ok()?.external_weights().ok()?;
        if weights.is_empty() {
            return None;
        }
        let mut maps: BTreeMap<PathBuf, Bytes> = BTreeMap::new();
        let (mut names, mut data) = (Vec::new(), Vec::new());
        for weight in weights {
            let map = match maps.get(&weight.file) {
                Some(map) => map.clone(),
                None => maps.entry(weight.file.clone()).or_insert(map::map(&weight.file).ok()?).clone(),
            };
            let (start, length) = (usize::try_from(weight.offset).ok()?, usize::try_from(weight.bytes).ok()?);
            let end = start.checked_add(length).filter(|end| *end <= map.len())?;
            names.push(CString::new(weight.name).ok()?);
            data.push(map.slice(start..end));
        }
        Some(Self { model: map::map(onnx).ok()?, names, data })
    }

    /// The weights for the shim; the addresses are valid as long as `self`.
    pub(crate) fn raw(&self) -> Vec<sys::RawWeight> {
        let pairs = self.names.iter().zip(&self.data);
        pairs
            .map(|(name, data)| sys::RawWeight {
                name: name.as_ptr(),
                data: data.as_ptr().cast(),
                bytes: data.len() as u64,
            })
            .collect()
    }
}
