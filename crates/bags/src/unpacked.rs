//! Files that are packed as a whole (rosbag2's `--compression-mode file`): unpacked to a file without a name.
//!
//! Neither memory nor a folder holds the unpacked bytes: the system frees them with the last handle, however the process ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::Error;

/// Bytes that are unpacked at a time.
const STEP: usize = 1 << 20;
/// Free space that stays on the disk.
const RESERVE: u64 = 256 << 20;
/// The disk is asked again after so many steps.
const STEPS: usize = 64;
/// `f_type` of file systems that live in memory: `TMPFS_MAGIC`, `RAMFS_MAGIC`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// For large files that need not outlive the system.
const LARGE_TEMPORARY: &str = "/var/tmp";

/// What to do where there is no place for the unpacked file.
const ADVICE: &str = "set TMPDIR to a folder of a disk with room, or unpack the file by hand (`zstd -d FILE.zstd -o FILE`) and open that";

/// The plain bytes of a packed file.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The packed file, for messages.
    packed: PathBuf,
    folder: PathBuf,
    file: File,
}

impl Unpacked {
    /// Unpacks a zstd file.
    ///
    /// # Errors
    /// [`Error::Unpacking`] when it is cut or damaged, or the disk has no room; nothing is left then.
    pub(super) fn of(packed: &Path) -> Result<Self, Error> {
        let folder = folder();
        let source = File::open(packed).map_err(Error::io("open", packed))?;
        let place = || folder.display().to_string();
        let file = unnamed(&folder).map_err(|source| unpacking(packed, place(), source))?;
        let decoder = zstd::stream::read::Decoder::new(source).map_err(Error::io("read", packed))?;
        copy(decoder, &file, &folder).map_err(|source| unpacking(packed, place(), source))?;
        tracing::debug!(bag = %packed.display(), folder = %folder.display(), "unpacked to a temporary file without a name");
        Ok(Self { packed: packed.to_path_buf(), folder, file })
    }

    /// Where the plain bytes can be opened while this is held.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Gives the file a name for as long as `open` takes: SQLite looks a file up by its real name. The system gives a name
    /// once only.
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

/// The folder for temporary files: not one that lives in memory, where another is known.
fn folder() -> PathBuf {
    let usual = std::env::temp_dir();
    let in_memory = |folder: &Path| {
        rustix::fs::statfs(folder)
            .is_ok_and(|system| IN_MEMORY.contains(&u64::from_ne_bytes(system.f_type.to_ne_bytes())))
    };
    let large = Path::new(LARGE_TEMPORARY);
    if in_memory(&usual) && large.is_dir() && !in_memory(large) { large.to_path_buf() } else { usual }
}

fn unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Ends with an error before the disk is full: a small file may unpack to any size.
fn copy(mut from: impl Read, mut to: &File, folder: &Path) -> io::Result<()> {
    let mut buffer = vec![0; STEP];
    for step in 0.. {
        if step % STEPS == 0 {
            let disk = rustix::fs::statvfs(folder)?;
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let needed = RESERVE + (STEPS * STEP) as u64;
            if free < needed {
                let words = format!("expected {} MiB free to go on, found {} MiB", needed >> 20, free >> 20);
                return Err(io::Error::new(io::ErrorKind::StorageFull, words));
            }
        }
        let length = from.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        to.write_all(buffer.get(..length).unwrap_or_default())?;
    }
    Ok(())
}

fn unpacking(packed: &Path, folder: String, source: io::Error) -> Error {
    Error::Unpacking { path: packed.to_path_buf(), folder, source, advice: ADVICE }
}
