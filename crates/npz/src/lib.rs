//! NumPy files: `.npz` archives (stored or deflated) and `.npy` arrays, to and from [`HostTensor`].
//!
//! Input is not trusted: [`read`] takes the size of an array from its own header, limits every header, and refuses an archive
//! that would unpack to more than [`MAX_BYTES`] before unpacking it. [`Writer`] puts the file at its name only when it is
//! complete, with the same bytes for the same arrays.
//!
//! `npyz`, the maintained crate for the format, does not give these guarantees: in version 0.9.1 a header announces its own
//! buffer of up to 4 GiB, and dimensions are multiplied without an overflow check. It decodes element by element.
//!
//! ```
//! use vla_base::tensor::HostTensor;
//!
//! let file = std::env::temp_dir().join(format!("vla_npz-{}.npz", std::process::id()));
//! let state = HostTensor::from_f32(&[1, 2], vec![0.5, -0.5]).ok_or("two values")?;
//! let mut writer = vla_npz::Writer::create(&file)?;
//! writer.add("state", &state)?;
//! writer.finish()?;
//! assert_eq!(vla_npz::read(&file)?["state"], state);
//! std::fs::remove_file(&file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
        /// The reason, with the expected value.
        reason: String,
    },
    /// The output file cannot be created or replaced.
    #[error(transparent)]
    Output(#[from] vla_base::sys::fs::Error),
    /// Arrays of the file cannot be read.
    #[error("{}", problems.iter().map(|(name, reason)| format!("array '{name}': {reason}")).collect::<Vec<_>>().join("\n  "))]
    Arrays {
        /// Names and reasons, with the expected and the found value.
        problems: Vec<(String, String)>,
    },
}

/// Largest number of arrays in a file.
pub const MAX_ARRAYS: usize = 1024;
/// Largest unpacked size of all arrays together: several camera frames of the largest size.
pub const MAX_BYTES: u64 = 1 << 30;
/// Bytes read to get an array's header.
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

/// As [`read`], from any reader; `path` is for messages.
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
        let once = "expected one array of this name, found two".to_owned();
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

/// Reads one array. Sizes in the archive are not trusted: it unpacks at most the size of the array's own header, and at most
/// the bytes `left` for all arrays.
fn array(member: &mut impl Read, left: &mut u64) -> Result<HostTensor, String> {
    let mut bytes = Vec::new();
    let mut unpack = |limit: u64, bytes: &mut Vec<u8>| {
        member.by_ref().take(limit).read_to_end(bytes).map_err(|error| format!("cannot be unpacked: {error}"))
    };
    unpack(FIRST_BYTES.min(*left + 1), &mut bytes)?;
    let header = npy::Header::parse(&bytes)?;
    let whole = header.data_bytes().and_then(|data| data.checked_add(header.length)).map(|bytes| bytes as u64);
    let Some(whole) = whole.filter(|whole| *whole <= *left) else {
        let (dtype, dims) = (header.dtype, vla_base::tensor::display_dims(&header.dims));
        return Err(format!("expected arrays of at most {} MiB together, found {dtype} {dims}", MAX_BYTES >> 20));
    };
    *left -= whole;
    // One byte more than expected, to detect a surplus.
    unpack((whole + 1).saturating_sub(bytes.len() as u64), &mut bytes)?;
    npy::parse(&bytes)
}

/// Writes arrays uncompressed, as `numpy.savez` does. The file appears under its name when [`Self::finish`] returns.
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

    /// As [`create`](Self::create), for arrays of `bytes` together.
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
    /// [`Error::Archive`] when it cannot be written, or the name exists.
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

    /// Completes the file and puts it at its name.
    ///
    /// # Errors
    /// [`Error::Archive`] and [`Error::Output`] when it cannot be written; a previous file is then unchanged.
    pub fn finish(self) -> Result<(), Error> {
        let Self { archive, path } = self;
        let written = archive.finish().map_err(std::io::Error::from);
        let file = written.and_then(|buffered| buffered.into_inner().map_err(std::io::IntoInnerError::into_error));
        let file = file.map_err(|error| Error::Archive { path, reason: error.to_string() })?;
        Ok(file.commit()?)
    }
}
