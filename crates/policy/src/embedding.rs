//! The token embedding: rows are gathered from a private copy of its file when the instruction changes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::Error;

/// A `[vocabulary, width]` table.
pub(super) struct EmbeddingTable {
    file: PathBuf,
    /// The tensor's own bytes within the copy.
    data: Bytes,
    dtype: Dtype,
    rows: usize,
    width: usize,
}

impl EmbeddingTable {
    /// Copies `tensor` of a safetensors file; a large one costs disk space, not memory ([`vla_base::sys::private`]).
    pub(crate) fn open(file: &Path, tensor: &str) -> Result<Self, Error> {
        let fail = |reason: String| Error::Embedding { file: file.to_owned(), reason };
        let copy = vla_base::sys::private::read(file).map_err(|error| fail(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&copy).map_err(|error| fail(error.to_string()))?;
        let Ok(view) = tensors.tensor(tensor) else {
            return Err(fail(format!("no tensor '{tensor}'; it has {}", tensors.names().join(", "))));
        };
        let &[rows, width] = view.shape() else {
            return Err(fail(format!("'{tensor}' should be [vocabulary, width], found {:?}", view.shape())));
        };
        let dtype = view.dtype();
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(fail(format!("'{tensor}' should be F32, F16 or BF16, found {dtype:?}")));
        }
        let data = copy.slice_ref(view.data());
        Ok(Self { file: file.to_owned(), data, dtype, rows, width })
    }

    /// Values in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Appends the row of token `id`.
    pub(crate) fn gather(&self, id: i32, out: &mut Vec<f32>) -> Result<(), Error> {
        let size = if self.dtype == Dtype::F32 { 4 } else { 2 };
        let bytes = usize::try_from(id).ok().filter(|id| *id < self.rows).and_then(|id| {
            let start = id * self.width * size;
            self.data.get(start..start + self.width * size)
        });
        let bytes = bytes.ok_or_else(|| Error::Embedding {
            file: self.file.clone(),
            reason: format!("token id {id} has no row; the table has {} rows", self.rows),
        })?;
        match self.dtype {
            Dtype::F32 => out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
            Dtype::F16 => out.extend(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())),
            _ => out.extend(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
        }
        Ok(())
    }
}
