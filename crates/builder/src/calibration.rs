//! INT8 calibration data: recorded inputs of a network, read from an `.npz` file one sample at a time.
//!
//! Each input is either one array with the input's name and the samples on the leading axis, or, where shapes differ between
//! samples, one array per sample: `NAME/0000`, `NAME/0001`, ... In a file for several networks, array names have the network's
//! name as a prefix: `vision/pixels/0000`. Opening a file reads the headers only and reports every problem; afterwards one
//! sample at a time is in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use vla_base::tensor::{Dim, HostTensor, TensorSpec};

mod column;
mod members;

use column::Column;
use members::Members;

/// Maximum number of samples of a file.
pub const MAX_SAMPLES: usize = 1 << 20;
/// Maximum size of one sample of an input, in bytes, decompressed.
pub const MAX_BYTES: u64 = 1 << 30;

/// Why recorded inputs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not an `.npz` archive.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The arrays do not match the network's inputs. Lists every problem.
    #[error("{} does not fit the network:\n  {}", path.display(), problems.join("\n  "))]
    Misfit {
        /// The file.
        path: PathBuf,
        /// One line each, with the array's name.
        problems: Vec<String>,
    },
    /// A sample cannot be used.
    #[error("{}: sample {sample}, array '{array}': {reason}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// Index of the sample, from 0.
        sample: usize,
        /// The array.
        array: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Values of the symbolic dimensions of one sample.
pub type Symbols = BTreeMap<String, usize>;

/// An open file of recorded inputs.
pub struct Calibration {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    columns: Vec<Column>,
    symbols: Vec<Symbols>,
    next: usize,
}

impl Calibration {
    /// Opens a file for a network with these inputs. `group` is the prefix of the network's array names in a file for several
    /// networks; names without the prefix take precedence.
    ///
    /// # Errors
    /// [`Error::Archive`] for a file that cannot be read as a zip archive, [`Error::Misfit`] with everything that does
    /// not fit the inputs: missing arrays, types, shapes, numbers of samples.
    pub fn open(path: &Path, inputs: &[TensorSpec], group: Option<&str>) -> Result<Self, Error> {
        let fail = |reason: String| Error::Archive { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| fail(error.to_string()))?;
        let mut archive = ZipArchive::new(BufReader::new(file))
            .map_err(|error| fail(format!("expected a .npz file (numpy.savez), found no zip archive: {error}")))?;
        let members = Members::of(&archive, inputs, group);
        let mut problems = Vec::new();
        let mut columns = Vec::with_capacity(inputs.len());
        for input in inputs {
            match members.find(input).and_then(|found| Column::open(path, &mut archive, input, found)) {
                Ok(column) => columns.push(column),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(counts(&columns));
        let symbols = if problems.is_empty() { symbols(&columns, &mut problems) } else { Vec::new() };
        if !problems.is_empty() {
            return Err(Error::Misfit { path: path.to_owned(), problems });
        }
        Ok(Self { path: path.to_owned(), archive, columns, symbols, next: 0 })
    }

    /// Number of samples; at least one.
    pub fn samples(&self) -> usize {
        self.symbols.len()
    }

    /// The most frequent values of the symbolic dimensions; the larger ones if several are equally frequent.
    pub fn usual(&self) -> &Symbols {
        static NONE: Symbols = BTreeMap::new();
        let mut counts: BTreeMap<&Symbols, usize> = BTreeMap::new();
        for symbols in &self.symbols {
            *counts.entry(symbols).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(symbols, count)| (*count, *symbols)).map_or(&NONE, |(symbols, _)| symbols)
    }

    /// Smallest and largest value of each symbolic dimension.
    pub fn ranges(&self) -> BTreeMap<&str, [usize; 2]> {
        let mut ranges: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for (symbol, value) in self.symbols.iter().flatten() {
            let range = ranges.entry(symbol).or_insert([*value; 2]);
            *range = [range[0].min(*value), range[1].max(*value)];
        }
        ranges
    }

    /// Reads the next sample's tensors into `into`, in the order and types of the inputs. Returns false after the last sample,
    /// and after an error until [`Self::rewind`].
    ///
    /// # Errors
    /// [`Error::Sample`] if an array cannot be decompressed or a value is not finite.
    pub fn next_sample(&mut self, into: &mut Vec<HostTensor>) -> Result<bool, Error> {
        into.clear();
        // After an error the columns may be at different samples, so nothing is returned before a rewind.
        let sample = std::mem::replace(&mut self.next, usize::MAX);
        let Some(symbols) = self.symbols.get(sample) else { return Ok(false) };
        for column in &mut self.columns {
            let read = column.read(&mut self.archive, sample, symbols);
            into.push(read.map_err(|reason| Error::Sample {
                path: self.path.clone(),
                sample,
                array: column.array(sample),
                reason,
            })?);
        }
        self.next = sample + 1;
        Ok(true)
    }

    /// Returns to the first sample.
    pub fn rewind(&mut self) {
        self.next = 0;
        self.columns.iter_mut().for_each(Column::rewind);
    }
}

/// The problem of inputs with different numbers of samples.
fn counts(columns: &[Column]) -> Option<String> {
    let first = columns.first()?;
    columns.iter().any(|column| column.samples() != first.samples()).then(|| {
        let each = columns.iter().map(|column| format!("{} has {}", column.name(), column.samples()));
        format!("expected as many samples of every input: {}", each.collect::<Vec<_>>().join(", "))
    })
}

/// Values of the symbols of each sample. Adds a problem for each symbol that differs between two inputs.
fn symbols(columns: &[Column], problems: &mut Vec<String>) -> Vec<Symbols> {
    let samples = columns.first().map_or(0, Column::samples);
    let mut all = vec![Symbols::new(); samples];
    for (sample, symbols) in all.iter_mut().enumerate() {
        for column in columns {
            for (dim, size) in column.spec().dims.iter().zip(column.dims(sample)) {
                let Dim::Symbol(symbol) = dim else { continue };
                let known = *symbols.entry(symbol.clone()).or_insert(*size);
                if known != *size && problems.len() < members::SHOWN {
                    let array = column.array(sample);
                    problems.push(format!(
                        "array '{array}', sample {sample}: {symbol} is {size}, other inputs have {known}"
                    ));
                }
            }
        }
    }
    all
}
