//! Parquet files, read column by column and batch by batch.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use crate::Error;
use crate::dataset::LFS;

mod column;

pub(crate) use column::Column;

/// Rows of the columns of metadata that are read at once.
const BATCH: usize = 1024;

/// An open parquet file.
pub(crate) struct Table {
    file: Arc<TableFile>,
}

/// What the columns of a file share.
struct TableFile {
    path: PathBuf,
    reader: SerializedFileReader<File>,
}

impl fmt::Debug for TableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TableFile {
    fn failed(&self, error: &ParquetError) -> Error {
        Error::Parquet { path: self.path.clone(), reason: error.to_string() }
    }

    fn schema(&self, column: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Schema {
            path: self.path.clone(),
            column: column.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The leaf of a column of numbers or text: the column itself, or the elements of a list.
    fn leaf(&self, name: &str, field: Option<&str>) -> Option<usize> {
        let columns = self.reader.metadata().file_metadata().schema_descr().columns();
        columns.iter().position(|leaf| {
            let parts = leaf.path().parts();
            parts.first().is_some_and(|part| part == name)
                && field.is_none_or(|field| parts.get(1).is_some_and(|part| part == field))
        })
    }
}

impl Table {
    /// Opens a file and reads its footer.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut head = [0; LFS.len()];
        if file.read(&mut head).map_err(Error::io(path))? == head.len() && head == *LFS.as_bytes() {
            return Err(Error::Pointer { path: path.to_owned(), kind: "parquet" });
        }
        let failed = |error: ParquetError| Error::Parquet { path: path.to_owned(), reason: error.to_string() };
        let reader = SerializedFileReader::new(file).map_err(failed)?;
        Ok(Self { file: Arc::new(TableFile { path: path.to_owned(), reader }) })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Rows of the file.
    pub(crate) fn row_count(&self) -> usize {
        usize::try_from(self.file.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Whether there is a column of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file.leaf(name, None).is_some()
    }

    /// A column of numbers, of `width` elements a row, from row `first` on.
    pub(crate) fn number_column(&self, name: &str, width: usize, first: usize) -> Result<Column, Error> {
        let leaf = self.file.leaf(name, None).ok_or_else(|| self.file.schema(name, "numbers", "no such column"))?;
        let numeric = |kind: Physical| {
            matches!(kind, Physical::BOOLEAN | Physical::INT32 | Physical::INT64 | Physical::FLOAT | Physical::DOUBLE)
        };
        self.column(name, leaf, "numbers", &numeric, width, first)
    }

    /// A column of bytes: text, or the field `bytes` of images, from row `first` on.
    pub(crate) fn byte_column(&self, name: &str, field: Option<&str>, first: usize) -> Result<Column, Error> {
        let expected = if field.is_some() { "images (a struct with bytes)" } else { "text" };
        let leaf = self.file.leaf(name, field).ok_or_else(|| {
            let found = if self.has(name) { "another type" } else { "no such column" };
            self.file.schema(name, expected, found)
        })?;
        self.column(name, leaf, expected, &|kind| kind == Physical::BYTE_ARRAY, 1, first)
    }

    fn column(
        &self,
        name: &str,
        leaf: usize,
        expected: &str,
        fits: &dyn Fn(Physical) -> bool,
        width: usize,
        first: usize,
    ) -> Result<Column, Error> {
        let kind = self.file.reader.metadata().file_metadata().schema_descr().column(leaf).physical_type();
        if !fits(kind) {
            return Err(self.file.schema(name, expected, kind.to_string()));
        }
        let mut column = Column::new(Arc::clone(&self.file), name, leaf, width);
        column.skip(first)?;
        Ok(column)
    }

    /// All values of a column of one number a row.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f64>, Error> {
        let mut column = self.number_column(name, 1, 0)?;
        let mut values = Vec::new();
        while column.read_numbers(BATCH, &mut values)? > 0 {}
        Ok(values)
    }

    /// All values of a column of one text a row.
    pub(crate) fn text(&self, name: &str) -> Result<Vec<String>, Error> {
        let mut column = self.byte_column(name, None, 0)?;
        let mut values = Vec::new();
        while let Some(bytes) = column.read_bytes()? {
            let text = std::str::from_utf8(bytes.data());
            values.push(text.map_err(|error| self.file.schema(name, "text in UTF-8", error.to_string()))?.to_owned());
        }
        Ok(values)
    }
}
