//! A `.npz` file: a zip archive of `.npy` arrays, stored or deflated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use vla_base::sys::fs::Replacement;
use vla_base::tensor::HostTensor;

pub mod npy;

/// Why a file of arrays cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The file to write cannot be begun or put in place.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// Arrays of the file cannot be read.
    #[error("{}", problems.iter().map(|(name, reason)| format!("array '{name}': {reason}")).collect::<Vec<_>>().join("\n  "))]
    Arrays {
        /// Names, and what was expected and found.
        problems: Vec<(String, String)>,
    },
}

/// Most arrays read of one file.
pub const MAX_ARRAYS: usize = 1024;
/// Most bytes read of all arrays together, unpacked: several camera frames of the largest size.
pub const MAX_BYTES: u64 = 1 << 30;
/// Read before the size of an array is known from its own header.
const FIRST_BYTES: u64 = 1 << 17;

/// Reads every array of a file.
///
/// # Errors
/// [`Error::Archive`] for a file that is no zip archive, [`Error::Arrays`] naming every array that cannot be read.
pub fn read(path: &Path) -> Result<BTreeMap<String, HostTensor>, Error> {
    let fail = |reason: String| Error::Archive { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| fail(error.to_string()))?;
    parse(BufReader::new(file), path)
}

/// As [`read`], from anything that can be read; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(source: impl Read + Seek, path: &Path) -> Result<BTreeMap<String, HostTensor>, Error> {
    let fail = |reason: String| Error::Archive { path: path.to_owned(), reason };
    let mut archive = ZipArchive::new(source)
        .map_err(|error| fail(format!("expected a .npz file (numpy.savez), found no zip archive: {error}")))?;
    if archive.len() > MAX_ARRAYS {
        return Err(fail(format!("expected at most {MAX_ARRAYS} arrays, found {}", archive.len())));
    }
    let mut left = MAX_BYTES;
    let mut arrays = BTreeMap::new();
    let mut problems = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| fail(format!("array {index}: {error}")))?;
        let name = member.name().map_err(|error| fail(format!("array {index}: {error}")))?.into_owned();
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let once = "expected it once, found it twice".to_owned();
        match array(&mut member, &mut left) {
            Err(reason) => problems.push((name, reason)),
            Ok(_) if arrays.contains_key(&name) => problems.push((name, once)),
            Ok(tensor) => {
                arrays.insert(name, tensor);
            }
        }
    }
    if problems.is_empty() { Ok(arrays) } else { Err(Error::Arrays { problems }) }
}

/// Reads one array. What an archive says about sizes is not believed: no more is unpacked than the array's own header
/// accounts for, and than is `left` for all arrays.
fn array(member: &mut impl Read, left: &mut u64) -> Result<HostTensor, String> {
    let mut bytes = Vec::new();
    let mut unpack = |limit: u64, bytes: &mut Vec<u8>| {
        member.by_ref().take(limit).read_to_end(bytes).map_err(|error| format!("it cannot be unpacked: {error}"))
    };
    unpack(FIRST_BYTES.min(*left + 1), &mut bytes)?;
    let header = npy::Header::parse(&bytes)?;
    let whole = header.data_bytes().and_then(|data| data.checked_add(header.length)).map(|bytes| bytes as u64);
    let Some(whole) = whole.filter(|whole| *whole <= *left) else {
        let (dtype, dims) = (header.dtype, vla_base::tensor::display_dims(&header.dims));
        return Err(format!("expected arrays of at most {} MiB together, found {dtype} {dims}", MAX_BYTES >> 20));
    };
    *left -= whole;
    // One more than there should be, so that a surplus is seen.
    unpack((whole + 1).saturating_sub(bytes.len() as u64), &mut bytes)?;
    npy::parse(&bytes)
}

/// Writes arrays one after the other, stored, as `numpy.savez` does.
///
/// The file stands under its name only once [`Self::finish`] returned.
pub struct Writer {
    archive: ZipWriter<BufWriter<Replacement>>,
    path: PathBuf,
}

impl Writer {
    /// Starts a file beside `path`.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be created.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::create_for(path, 0)
    }

    /// As [`create`](Self::create), for arrays of so many bytes together.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be created, or the disk has no room for it.
    pub fn create_for(path: &Path, bytes: u64) -> Result<Self, Error> {
        let file = Replacement::create_for(path, bytes)?;
        Ok(Self { archive: ZipWriter::new(BufWriter::new(file)), path: path.to_owned() })
    }

    /// Writes one array.
    ///
    /// # Errors
    /// [`Error::Archive`] when it cannot be written, or a name comes twice.
    pub fn add(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error> {
        let bytes = npy::write(tensor);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(u32::try_from(bytes.len()).is_err());
        let started = self.archive.start_file(format!("{name}.npy"), options).map_err(|error| error.to_string());
        let written = started.and_then(|()| self.archive.write_all(&bytes).map_err(|error| error.to_string()));
        written
            .map_err(|reason| Error::Archive { path: self.path.clone(), reason: format!("array '{name}': {reason}") })
    }

    /// Puts the file at its name.
    ///
    /// # Errors
    /// [`Error::Archive`] and [`Error::Output`] when it cannot be written out; what was at the name is then still there.
    pub fn finish(self) -> Result<(), Error> {
        let Self { archive, path } = self;
        let written = archive.finish().map_err(std::io::Error::from);
        let file = written.and_then(|buffered| buffered.into_inner().map_err(std::io::IntoInnerError::into_error));
        let file = file.map_err(|error| Error::Archive { path, reason: error.to_string() })?;
        Ok(file.commit()?)
    }
}
