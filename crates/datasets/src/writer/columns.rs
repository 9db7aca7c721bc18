//! Parquet files, written one row group at a time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{PrimitiveTypeBuilder, Type, TypePtr};
use vla_base::sys::fs::Replacement;

use crate::Error;

/// One column of a row group.
pub(super) struct Column<'c> {
    name: String,
    data: Data<'c>,
}

enum Data<'c> {
    Integers(&'c [i64]),
    Floats(&'c [f32]),
    /// So many numbers a row.
    Lists(&'c [f32], usize),
    Text(&'c [String]),
    /// Any number of texts a row.
    TextLists(&'c [Vec<String>]),
    Images(&'c [Vec<u8>]),
}

impl<'c> Column<'c> {
    pub(super) fn integers(name: impl Into<String>, values: &'c [i64]) -> Self {
        Self { name: name.into(), data: Data::Integers(values) }
    }

    pub(super) fn floats(name: impl Into<String>, values: &'c [f32]) -> Self {
        Self { name: name.into(), data: Data::Floats(values) }
    }

    pub(super) fn lists(name: impl Into<String>, values: &'c [f32], width: usize) -> Self {
        Self { name: name.into(), data: Data::Lists(values, width) }
    }

    pub(super) fn text(name: impl Into<String>, values: &'c [String]) -> Self {
        Self { name: name.into(), data: Data::Text(values) }
    }

    pub(super) fn text_lists(name: impl Into<String>, values: &'c [Vec<String>]) -> Self {
        Self { name: name.into(), data: Data::TextLists(values) }
    }

    pub(super) fn images(name: impl Into<String>, values: &'c [Vec<u8>]) -> Self {
        Self { name: name.into(), data: Data::Images(values) }
    }

    /// As pyarrow writes it: everything optional, lists of three levels.
    fn schema(&self) -> Result<Type, ParquetError> {
        let text = |name: &str| {
            primitive(name, Physical::BYTE_ARRAY)
                .with_logical_type(Some(LogicalType::String))
                .with_converted_type(ConvertedType::UTF8)
                .build()
        };
        let list = |element: Type| -> Result<Type, ParquetError> {
            let inner = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
            let inner = inner.with_fields(vec![Arc::new(element)]).build()?;
            Type::group_type_builder(&self.name)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(Some(LogicalType::List))
                .with_converted_type(ConvertedType::LIST)
                .with_fields(vec![Arc::new(inner)])
                .build()
        };
        match self.data {
            Data::Integers(_) => primitive(&self.name, Physical::INT64).build(),
            Data::Floats(_) => primitive(&self.name, Physical::FLOAT).build(),
            Data::Lists(..) => list(primitive("element", Physical::FLOAT).build()?),
            Data::Text(_) => text(&self.name),
            Data::TextLists(_) => list(text("element")?),
            Data::Images(_) => {
                let fields = [primitive("bytes", Physical::BYTE_ARRAY).build()?, text("path")?];
                let fields: Vec<TypePtr> = fields.into_iter().map(Arc::new).collect();
                let group = Type::group_type_builder(&self.name).with_repetition(Repetition::OPTIONAL);
                group.with_fields(fields).build()
            }
        }
    }

    fn write<W: Write + Send>(&self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let texts = |texts: &mut dyn Iterator<Item = &String>| -> Vec<ByteArray> {
            texts.map(|text| text.as_str().into()).collect()
        };
        match &self.data {
            Data::Integers(values) => leaf::<Int64Type>(group, values, &ones(values.len(), 1), None),
            Data::Floats(values) => leaf::<FloatType>(group, values, &ones(values.len(), 1), None),
            Data::Text(values) => {
                leaf::<ByteArrayType>(group, &texts(&mut values.iter()), &ones(values.len(), 1), None)
            }
            Data::Lists(values, width) => {
                let repetitions: Vec<i16> = (0..values.len()).map(|at| i16::from(at % width.max(&1) > 0)).collect();
                leaf::<FloatType>(group, values, &ones(values.len(), LIST), Some(&repetitions))
            }
            Data::TextLists(lists) => {
                let all = texts(&mut lists.iter().flatten());
                let repetitions = lists.iter().flat_map(|list| (0..list.len()).map(|at| i16::from(at > 0)));
                let repetitions: Vec<i16> = repetitions.collect();
                leaf::<ByteArrayType>(group, &all, &ones(all.len(), LIST), Some(&repetitions))
            }
            Data::Images(images) => {
                let bytes: Vec<ByteArray> = images.iter().map(|image| image.as_slice().into()).collect();
                leaf::<ByteArrayType>(group, &bytes, &ones(bytes.len(), 2), None)?;
                // No path: the bytes are here.
                leaf::<ByteArrayType>(group, &[], &ones(bytes.len(), 1), None)
            }
        }
    }
}

fn primitive(name: &str, kind: Physical) -> PrimitiveTypeBuilder<'_> {
    Type::primitive_type_builder(name, kind).with_repetition(Repetition::OPTIONAL)
}

/// Definition level of an element of a list.
const LIST: i16 = 3;

fn ones(count: usize, level: i16) -> Vec<i16> {
    vec![level; count]
}

/// Writes the next leaf of a row group.
fn leaf<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[T::T],
    definitions: &[i16],
    repetitions: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a leaf without a column".to_owned()))?;
    column.typed::<T>().write_batch(values, Some(definitions), repetitions)?;
    column.close()
}

/// A file of columns.
pub(super) struct TableWriter<W: Write + Send> {
    path: PathBuf,
    writer: SerializedFileWriter<W>,
}

impl TableWriter<Replacement> {
    /// A file with the columns' names and types. `pandas`: what pandas writes about its index.
    pub(super) fn create(path: &Path, columns: &[Column<'_>], pandas: Option<String>) -> Result<Self, Error> {
        let failed = |error: ParquetError| Error::Writing { path: path.to_owned(), reason: error.to_string() };
        let fields = columns.iter().map(|column| Ok(Arc::new(column.schema()?))).collect::<Result<Vec<_>, _>>();
        let schema = fields.and_then(|fields| Type::group_type_builder("schema").with_fields(fields).build());
        let pandas = pandas.map(|text| vec![KeyValue::new("pandas".to_owned(), text)]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(false)
            .set_key_value_metadata(pandas);
        let file = Replacement::create(path)
            .map_err(|error| Error::Writing { path: path.to_owned(), reason: error.to_string() })?;
        let writer = SerializedFileWriter::new(file, Arc::new(schema.map_err(failed)?), Arc::new(properties.build()));
        Ok(Self { path: path.to_owned(), writer: writer.map_err(failed)? })
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Writes a row group.
    pub(super) fn write(&mut self, columns: &[Column<'_>]) -> Result<(), Error> {
        let written = self.writer.next_row_group().and_then(|mut group| {
            columns.iter().try_for_each(|column| column.write(&mut group))?;
            group.close().map(drop)
        });
        written.map_err(|error| self.failed(&error))
    }

    /// Writes the footer; the file then has its name.
    pub(super) fn finish(self) -> Result<(), Error> {
        let path = self.path.clone();
        let failed = |reason: String| Error::Writing { path: path.clone(), reason };
        let file = self.writer.into_inner().map_err(|error| failed(error.to_string()))?;
        file.commit().map_err(|error| failed(error.to_string()))
    }

    fn failed(&self, error: &ParquetError) -> Error {
        Error::Writing { path: self.path.clone(), reason: error.to_string() }
    }
}
