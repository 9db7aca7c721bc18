//! SHA-256 hashes of engines and networks.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::onnx::Network;
use vla_base::sys::streamed::StreamedFile;

/// Size of the read buffer.
const PIECE: usize = 1 << 20;

/// Identity of a network: one hash over the model and its external data files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OnnxIdentity {
    /// Path of the model file as given to the build.
    pub file: PathBuf,
    /// SHA-256, hex, of the lines `model NUL sha256-of-the-model LF` and, for every external data file sorted by its
    /// location in the model, `location NUL sha256 LF`. Independent of the model's file name.
    pub sha256: String,
    /// Metadata of the hashed files, the model first. While it is unchanged, the hash is not computed again.
    #[serde(default)]
    pub marks: Vec<FileMark>,
}

/// Metadata that changes whenever a file's content may have changed. Programs cannot set the change time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileMark {
    /// Size in bytes.
    pub bytes: u64,
    /// Inode number.
    pub inode: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i128,
    /// Change time of the inode, nanoseconds since 1970.
    pub changed_ns: i128,
}

impl FileMark {
    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// The system's error.
    pub fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Ok(Self {
            bytes: meta.len(),
            inode: meta.ino(),
            modified_ns: nanos(meta.mtime(), meta.mtime_nsec()),
            changed_ns: nanos(meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl OnnxIdentity {
    /// Hashes a network. Reads all its files: about one second for 1 to 2 GB.
    ///
    /// # Errors
    /// A message that names the file that cannot be read.
    pub fn of(model: &Path) -> Result<Self, String> {
        let files = files(model)?;
        let mut lines = Sha256::new();
        let mut marks = Vec::with_capacity(files.len());
        for (name, path) in &files {
            let fail = |error: io::Error| format!("{}: {error}", path.display());
            let mark = FileMark::of(path).map_err(fail)?;
            lines.update(name.as_bytes());
            lines.update([0]);
            lines.update(file_sha256(path).map_err(fail)?.as_bytes());
            lines.update(b"\n");
            marks.push(mark);
        }
        Ok(Self { file: model.to_owned(), sha256: hex(&lines.finalize()), marks })
    }

    /// The hash of the network at `model`; files with unchanged metadata are not read again.
    ///
    /// # Errors
    /// A message that names the file that cannot be read.
    pub fn current(&self, model: &Path) -> Result<String, String> {
        let files = files(model)?;
        let marks = files.iter().map(|(_, path)| FileMark::of(path)).collect::<io::Result<Vec<_>>>();
        if marks.is_ok_and(|marks| marks == self.marks) { Ok(self.sha256.clone()) } else { Ok(Self::of(model)?.sha256) }
    }
}

/// The files of a network with their names for the hash: the model, then its external data.
fn files(model: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let network = Network::open(model).map_err(|error| error.to_string())?;
    let dir = model.parent().unwrap_or(Path::new(""));
    let name = |path: &Path| path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
    let data = network.data_files.iter().map(|path| (name(path), path.clone()));
    Ok(std::iter::once(("model".to_owned(), model.to_owned())).chain(data).collect())
}

/// The files of a network: the model, then its external data files.
///
/// # Errors
/// A message that names the file that cannot be read.
pub fn network_files(model: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(files(model)?.into_iter().map(|(_, path)| path).collect())
}

/// SHA-256 of a file's content, hex. Reads in pieces and leaves the page cache, which competes with GPU allocations on unified
/// memory, as it was.
///
/// # Errors
/// The system's error.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    let mut file = StreamedFile::open(path)?;
    let (mut sha256, mut piece, mut offset) = (Sha256::new(), vec![0; PIECE], 0);
    loop {
        match file.read_at(&mut piece, offset)? {
            0 => return Ok(hex(&sha256.finalize())),
            length => {
                sha256.update(&piece[..length]);
                offset += length as u64;
            }
        }
    }
}

/// SHA-256 of these bytes, hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Formats bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a SHA-256 in the format of [`hex`].
pub(super) fn is_hex_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
