//! Bags compressed as a whole file (rosbag2's `--compression-mode file`), decompressed to an unnamed file.
//!
//! The decompressed bytes take no memory and no name: the system deletes them with the last handle, however the process ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD};
use vla_base::sys::disk::{RESERVE, is_in_memory, unnamed_file};
use vla_base::sys::fs::free_space;

use super::{Error, OnDamage};

/// Bytes decompressed at a time.
const STEP: usize = 1 << 20;
/// Steps between two checks of the free space.
const STEPS: usize = 64;
/// Folder of large temporary files.
const LARGE_TEMPORARY: &str = "/var/tmp";

/// Remedy for a disk without room for the decompressed file.
const ADVICE: &str = "set TMPDIR to a folder on a disk with room, or decompress the file (`zstd -d FILE.zstd -o FILE`) and open the result";

/// The decompressed content of a file.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The compressed file, for messages.
    packed: PathBuf,
    folder: PathBuf,
    file: File,
}

impl Unpacked {
    /// Decompresses a zstd file; one that is truncated or damaged up to that place, when that is not refused.
    ///
    /// # Errors
    /// [`Error::Unpacking`] when it is truncated or damaged, or the disk has no room; nothing is left then.
    pub(super) fn of(packed: &Path, on_damage: OnDamage) -> Result<Self, Error> {
        let folder = folder();
        let source = File::open(packed).map_err(Error::io("open", packed))?;
        let place = || folder.display().to_string();
        let file = unnamed_file(&folder).map_err(|source| unpacking(packed, place(), source))?;
        let decoder = zstd::stream::read::Decoder::new(source).map_err(Error::io("read", packed))?;
        match copy(decoder, &file, &folder).map_err(|source| unpacking(packed, place(), source))? {
            Some(source) if on_damage == OnDamage::Refuse => return Err(unpacking(packed, place(), source)),
            Some(source) => tracing::warn!(bag = %packed.display(), "decompressed up to the damage: {source}"),
            None => {}
        }
        tracing::debug!(bag = %packed.display(), folder = %folder.display(), "decompressed to an unnamed temporary file");
        Ok(Self { packed: packed.to_path_buf(), folder, file })
    }

    /// Path of the decompressed file, valid while this value exists.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Gives the file a name while `open` runs, because SQLite resolves the real name of a file. The system gives a name only
    /// once.
    pub(super) fn with_name<T>(self, open: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = self.folder.join(format!(".vla_trt-{}-{number}.db3", std::process::id()));
        let failed =
            |error: rustix::io::Errno| unpacking(&self.packed, self.folder.display().to_string(), error.into());
        rustix::fs::linkat(CWD, self.path(), CWD, &name, AtFlags::SYMLINK_FOLLOW).map_err(failed)?;
        let opened = open(&name);
        std::fs::remove_file(&name).map_err(Error::io("remove", &name))?;
        opened
    }
}

/// The folder for temporary files: `/var/tmp` where the usual one is in memory.
fn folder() -> PathBuf {
    let usual = std::env::temp_dir();
    let in_memory = |folder: &Path| is_in_memory(folder).unwrap_or_default();
    let large = Path::new(LARGE_TEMPORARY);
    if in_memory(&usual) && large.is_dir() && !in_memory(large) { large.to_path_buf() } else { usual }
}

/// Fails before the disk is full: a small file may decompress to any size. Returns the error of the source, if it has one.
fn copy(mut from: impl Read, mut to: &File, folder: &Path) -> io::Result<Option<io::Error>> {
    let mut buffer = vec![0; STEP];
    for step in 0.. {
        if step % STEPS == 0 {
            let free = free_space(folder)?;
            let needed = RESERVE + (STEPS * STEP) as u64;
            if free < needed {
                let found = format!("expected {} MiB free to continue, found {} MiB", needed >> 20, free >> 20);
                return Err(io::Error::new(io::ErrorKind::StorageFull, found));
            }
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => to.write_all(buffer.get(..length).unwrap_or_default())?,
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

fn unpacking(packed: &Path, folder: String, source: io::Error) -> Error {
    Error::Unpacking { path: packed.to_path_buf(), folder, source, advice: ADVICE }
}
