//! One safetensors file, mapped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::tensor::Metadata;
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;

use crate::Error;
use crate::weights::Weight;
use vla_base::sys::map::map;
use vla_base::tensor::DType;

/// Bytes of the length field before a safetensors header.
const LENGTH_FIELD: usize = 8;

/// A safetensors file. Its header is parsed; tensors are slices of the map.
pub(crate) struct Shard {
    path: PathBuf,
    bytes: Bytes,
    data: usize,
    metadata: Metadata,
}

impl Shard {
    /// Maps a file and parses its header.
    ///
    /// # Errors
    /// [`Error::Io`], and those of [`Self::parse`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::parse(path, map(path).map_err(Error::io(path))?)
    }

    /// Parses the header of a file with this content.
    ///
    /// # Errors
    /// [`Error::SafeTensors`], or [`Error::Truncated`] when the file has another size than its header says.
    pub(crate) fn parse(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|source| {
            let path = path.to_path_buf();
            match described(&bytes) {
                Some(expected) if matches!(source, SafeTensorError::MetadataIncompleteBuffer) => {
                    Error::Truncated { path, expected, found: bytes.len() }
                }
                _ => Error::SafeTensors { path, source },
            }
        })?;
        let data = header.saturating_add(LENGTH_FIELD);
        Ok(Self { path: path.to_owned(), bytes, data, metadata })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names of its tensors, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// Whether it holds a tensor of this name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// A tensor, borrowed from the map.
    ///
    /// # Errors
    /// [`Error::MissingWeight`]; [`Error::WeightType`] when its elements are no floating-point numbers.
    pub(crate) fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let missing = || Error::MissingWeight { name: name.to_owned(), origin: self.path.display().to_string() };
        let info = self.metadata.info(name).ok_or_else(missing)?;
        let dtype = match info.dtype {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            other => return Err(Error::WeightType { name: name.to_owned(), found: format!("{other:?}") }),
        };
        let (from, to) = info.data_offsets;
        let data = self.bytes.get(self.data + from..self.data + to).ok_or_else(missing)?;
        Ok(Weight { name: name.to_owned(), dtype, dims: info.shape.clone(), data: Cow::Borrowed(data) })
    }
}

/// Size of a safetensors file according to its header, for a message.
fn described(bytes: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Tensor {
        data_offsets: (usize, usize),
    }
    let (length, rest) = bytes.split_first_chunk::<LENGTH_FIELD>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(rest.get(..length)?).ok()?;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let ends = tensors.map(|(_, tensor)| Tensor::deserialize(tensor).map_or(0, |tensor| tensor.data_offsets.1));
    ends.max().unwrap_or_default().checked_add(length)?.checked_add(LENGTH_FIELD)
}
