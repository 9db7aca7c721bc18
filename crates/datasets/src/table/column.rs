//! One column of a parquet file, read forward.

use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes as _, ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::FileReader as _;

use super::TableFile;
use crate::Error;

/// Goes through the row groups of a file. Holds one page and one batch.
#[derive(Debug)]
pub(crate) struct Column {
    file: Arc<TableFile>,
    name: String,
    leaf: usize,
    /// Elements of each row.
    width: usize,
    /// The next row group.
    group: usize,
    reader: Reader,
    /// Rows read so far, for messages.
    row: usize,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

/// The reader of the current row group.
struct Reader(Option<ColumnReader>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Column {
    pub(super) fn new(file: Arc<TableFile>, name: &str, leaf: usize, width: usize) -> Self {
        let (definitions, repetitions) = (Vec::new(), Vec::new());
        Self {
            file,
            name: name.to_owned(),
            leaf,
            width,
            group: 0,
            reader: Reader(None),
            row: 0,
            definitions,
            repetitions,
        }
    }

    /// Passes over rows: whole row groups and pages without reading them.
    pub(super) fn skip(&mut self, rows: usize) -> Result<(), Error> {
        let mut left = rows;
        while left > 0 && self.group < self.file.reader.num_row_groups() {
            let in_group = self.file.reader.metadata().row_group(self.group).num_rows();
            let in_group = usize::try_from(in_group).unwrap_or(0);
            if in_group <= left {
                (self.group, left) = (self.group + 1, left - in_group);
                continue;
            }
            if let Some(reader) = self.next_group()? {
                skip_records(reader, left).map_err(|error| self.file.failed(&error))?;
            }
            left = 0;
        }
        self.row = rows;
        Ok(())
    }

    /// Appends up to `rows` rows to `values`, `width` each; returns their number, 0 at the end of the file.
    pub(crate) fn read_numbers(&mut self, rows: usize, values: &mut Vec<f64>) -> Result<usize, Error> {
        loop {
            let before = values.len();
            self.definitions.clear();
            self.repetitions.clear();
            let levels = (&mut self.definitions, &mut self.repetitions);
            let read = match &mut self.reader.0 {
                None => Ok(0),
                Some(ColumnReader::BoolColumnReader(reader)) => {
                    read(reader, rows, levels, values, |value| f64::from(u8::from(*value)))
                }
                Some(ColumnReader::Int32ColumnReader(reader)) => {
                    read(reader, rows, levels, values, |value| f64::from(*value))
                }
                Some(ColumnReader::Int64ColumnReader(reader)) => {
                    read(reader, rows, levels, values, |value| *value as f64)
                }
                Some(ColumnReader::FloatColumnReader(reader)) => {
                    read(reader, rows, levels, values, |value| f64::from(*value))
                }
                Some(ColumnReader::DoubleColumnReader(reader)) => read(reader, rows, levels, values, |value| *value),
                Some(_) => return Err(self.file.schema(&self.name, "numbers", "another type")),
            };
            let read = read.map_err(|error| self.file.failed(&error))?;
            if read > 0 {
                self.check_widths(read, values.len() - before)?;
                self.row += read;
                return Ok(read);
            }
            if self.next_group()?.is_none() {
                return Ok(0);
            }
        }
    }

    /// The bytes of the next row; `None` at the end of the file.
    pub(crate) fn read_bytes(&mut self) -> Result<Option<ByteArray>, Error> {
        loop {
            self.definitions.clear();
            self.repetitions.clear();
            let mut values = Vec::new();
            let read = match &mut self.reader.0 {
                None => Ok(0),
                Some(ColumnReader::ByteArrayColumnReader(reader)) => {
                    read_raw(reader, 1, (&mut self.definitions, &mut self.repetitions), &mut values)
                }
                Some(_) => return Err(self.file.schema(&self.name, "bytes", "another type")),
            };
            if read.map_err(|error| self.file.failed(&error))? > 0 {
                let row = self.row;
                self.row += 1;
                let value = values.pop().filter(|value: &ByteArray| !value.as_bytes().is_empty());
                let missing = || self.file.schema(&self.name, "a value in every row", format!("none in row {row}"));
                return value.map(Some).ok_or_else(missing);
            }
            if self.next_group()?.is_none() {
                return Ok(None);
            }
        }
    }

    /// Opens the next row group that has rows; `None` behind the last.
    fn next_group(&mut self) -> Result<Option<&mut ColumnReader>, Error> {
        self.reader.0 = None;
        if self.group < self.file.reader.num_row_groups() {
            let reader =
                self.file.reader.get_row_group(self.group).and_then(|group| group.get_column_reader(self.leaf));
            self.reader.0 = Some(reader.map_err(|error| self.file.failed(&error))?);
            self.group += 1;
        }
        Ok(self.reader.0.as_mut())
    }

    /// Refuses rows of another width, and missing values.
    fn check_widths(&self, rows: usize, values: usize) -> Result<(), Error> {
        // Without levels a value is there for every row.
        let mut widths = self.repetitions.iter().fold(Vec::new(), |mut widths: Vec<usize>, level| {
            match widths.last_mut() {
                Some(width) if *level > 0 => *width += 1,
                _ => widths.push(1),
            }
            widths
        });
        widths.resize(rows, 1);
        let most = self.definitions.iter().max().copied().unwrap_or(0);
        let lacking = values < self.definitions.len() || values != rows.saturating_mul(self.width);
        if let Some((row, width)) = widths.iter().enumerate().find(|(_, width)| **width != self.width) {
            let (expected, found) =
                (format!("{} numbers a row", self.width), format!("{width} in row {}", self.row + row));
            return Err(self.file.schema(&self.name, expected, found));
        }
        if lacking {
            let missing = self.definitions.iter().position(|level| *level < most).unwrap_or(0) / self.width.max(1);
            let found = format!("a missing value near row {}", self.row + missing);
            return Err(self.file.schema(&self.name, "a value in every element", found));
        }
        Ok(())
    }
}

type Levels<'l> = (&'l mut Vec<i16>, &'l mut Vec<i16>);

/// Reads whole rows and appends their values converted.
fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    levels: Levels<'_>,
    values: &mut Vec<f64>,
    convert: fn(&T::T) -> f64,
) -> Result<usize, ParquetError> {
    let mut raw = Vec::new();
    let read = read_raw(reader, rows, levels, &mut raw)?;
    values.extend(raw.iter().map(convert));
    Ok(read)
}

fn read_raw<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    (definitions, repetitions): Levels<'_>,
    values: &mut Vec<T::T>,
) -> Result<usize, ParquetError> {
    let (read, _, _) = reader.read_records(rows, Some(definitions), Some(repetitions), values)?;
    Ok(read)
}

fn skip_records(reader: &mut ColumnReader, rows: usize) -> Result<usize, ParquetError> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int32ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int96ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FloatColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::DoubleColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
    }
}
