//! The file beside a model that holds its weights.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use super::proto::StringStringEntryProto;
use crate::Error;

/// Offsets are multiples of a page, so that a runtime can map each weight where it lies.
const ALIGNMENT: u64 = 4096;

/// Streams weights into `<model>.data`; the file is created with the first weight.
pub(crate) struct ExternalData {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    len: u64,
}

impl ExternalData {
    /// For the model file at `model`.
    pub(crate) fn beside(model: &Path) -> Self {
        let mut name = model.file_name().unwrap_or_default().to_os_string();
        name.push(".data");
        Self { path: model.with_file_name(name), file: None, len: 0 }
    }

    /// Appends the output of `write`, aligned, and returns its position: ONNX's `location`, `offset` and `length`.
    pub(crate) fn append(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(Vec<StringStringEntryProto>, u64), Error> {
        let padding = self.len.next_multiple_of(ALIGNMENT) - self.len;
        let path = self.path.clone();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::with_capacity(1 << 18, File::create(&path).map_err(Error::io(&path))?)),
        };
        io::copy(&mut io::repeat(0).take(padding), file).map_err(Error::io(&path))?;
        let offset = self.len + padding;
        let mut counter = Counter { inner: file, written: 0 };
        write(&mut counter).map_err(Error::io(&path))?;
        let length = counter.written;
        self.len = offset + length;
        let location = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entries = [("location", location), ("offset", offset.to_string()), ("length", length.to_string())]
            .map(|(key, value)| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) });
        Ok((entries.to_vec(), length))
    }

    /// Flushes to disk; the path when anything was written.
    pub(crate) fn finish(self) -> Result<Option<PathBuf>, Error> {
        let Some(file) = self.file else { return Ok(None) };
        let file = file.into_inner().map_err(|error| Error::io(&self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(&self.path))?;
        Ok(Some(self.path))
    }
}

/// Counts the bytes written.
pub(crate) struct Counter<W> {
    /// The target.
    pub inner: W,
    /// Bytes so far.
    pub written: u64,
}

impl<W: Write> Write for Counter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
