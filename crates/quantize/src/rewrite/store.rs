//! The file beside a model that holds its weights, as exports write it.

use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use vla_base::sys::fs::Replacement;
use vla_engines::onnx::proto::{StringStringEntryProto, TensorProto};

use super::draft;
use crate::Error;

/// Offsets are multiples of a page, so that a runtime can map each weight where it lies.
const ALIGNMENT: u64 = 4096;
/// Initializers of fewer bytes stay inside the model, where shape inference can see them.
const INLINE_BELOW: usize = 1024;

/// The file with the weights of the model at `out`.
pub(crate) fn data_file(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".data");
    out.with_file_name(name)
}

/// Writes weights one after the other; the file is made with the first.
pub(crate) struct Store {
    path: PathBuf,
    file: Option<BufWriter<Replacement>>,
    /// Bytes that it will have at most.
    expected: u64,
    len: u64,
}

impl Store {
    /// For the model at `out`, of about `expected` bytes.
    pub(crate) fn beside(out: &Path, expected: u64) -> Self {
        Self { path: data_file(out), file: None, expected, len: 0 }
    }

    /// Appends bytes, aligned; returns ONNX's `location`, `offset` and `length`.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<Vec<StringStringEntryProto>, Error> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let made = Replacement::create_for(&self.path, self.expected)?;
                none.insert(BufWriter::with_capacity(1 << 18, made))
            }
        };
        let offset = self.len.next_multiple_of(ALIGNMENT);
        let padded = io::copy(&mut io::repeat(0).take(offset - self.len), file);
        padded.and_then(|_| file.write_all(bytes)).map_err(Error::io(&self.path))?;
        self.len = offset + bytes.len() as u64;
        let location = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entries = [("location", location), ("offset", offset.to_string()), ("length", bytes.len().to_string())];
        Ok(entries
            .map(|(key, value)| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) })
            .to_vec())
    }

    /// An initializer with its elements here, or inside when it is small.
    pub(crate) fn tensor(
        &mut self,
        name: &str,
        data_type: i32,
        dims: &[usize],
        bytes: Vec<u8>,
    ) -> Result<TensorProto, Error> {
        if bytes.len() < INLINE_BELOW {
            return Ok(draft::tensor(name, data_type, dims, bytes));
        }
        let external_data = self.append(&bytes)?;
        Ok(TensorProto {
            raw_data: None,
            external_data,
            data_location: Some(1),
            ..draft::tensor(name, data_type, dims, Vec::new())
        })
    }

    /// Replaces the file; its path and bytes when anything was written.
    pub(crate) fn finish(self) -> Result<Option<(PathBuf, u64)>, Error> {
        let Some(file) = self.file else { return Ok(None) };
        let file = file.into_inner().map_err(|error| Error::io(&self.path)(error.into_error()))?;
        file.commit()?;
        Ok(Some((self.path, self.len)))
    }
}
