//! Weights that lie beside a model's file, mapped for the parser: pages of a file that the system can take back, where
//! the parser's own reading makes an anonymous copy of every byte.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::sys;
use vla_base::sys::map;
use vla_engines::onnx::Network;

/// A model's file and its weights, mapped. The parser keeps their addresses: this outlives it.
pub(super) struct MappedWeights {
    pub model: Bytes,
    names: Vec<CString>,
    /// Slices of maps, each of which keeps its file mapped.
    data: Vec<Bytes>,
}

impl MappedWeights {
    /// `None` where nothing lies outside the model's file, this TensorRT cannot take it so (before 10.13), or a file is not
    /// as the model says: the parser's own reading then tells what is wrong.
    pub(crate) fn open(onnx: &Path) -> Option<Self> {
        // SAFETY: a constant of the shim.
        if unsafe { sys::vla_trt_maps_weights() } == 0 {
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

    /// For the shim; the addresses live as long as `self`.
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
