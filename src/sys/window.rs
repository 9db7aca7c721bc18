//! Large files that are read once, from front to back, and must not stay: neither as anonymous memory nor in the page
//! cache, which on unified memory is what the GPU's next allocation competes with.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::{Advice, Mmap};

/// Read ahead when a mapping is made; the kernel's own sequential read-ahead follows.
const AHEAD: usize = 64 << 20;
/// Pages behind a streamed read leave the page cache in steps of this.
const BEHIND: u64 = 32 << 20;

/// `POSIX_FADV_DONTNEED`, the same on every 64-bit Linux.
const DONT_NEED: i32 = 4;

unsafe extern "C" {
    /// Takes numbers only and touches no memory of the caller.
    safe fn posix_fadvise(file: i32, offset: i64, length: i64, advice: i32) -> i32;
}

/// A regular file that is read once.
pub struct Once {
    file: File,
    size: u64,
    /// Bytes in front of this were dropped from the page cache.
    dropped: u64,
}

impl Once {
    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// Whatever opening gives; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size, dropped: 0 })
    }

    /// Size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on, shorter at the end of the file, and lets go of what lies behind it.
    ///
    /// # Errors
    ///
    /// Whatever reading gives.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let position = offset + done as u64;
        if position >= self.dropped + BEHIND {
            self.let_go(position);
        }
        Ok(done)
    }

    /// Maps the whole file. The promise of [`super::map::map`] holds here too: the file is not shortened or rewritten
    /// meanwhile. Pages leave the page cache only when the mapping is dropped before this handle.
    ///
    /// # Errors
    ///
    /// Whatever mapping gives.
    pub fn map(&self) -> io::Result<Mapped> {
        // SAFETY: read-only and private to this process, unmapped when `Mapped` is dropped; the bytes do not change by
        // the promise above (engines are replaced by rename, never rewritten in place).
        let map = unsafe { Mmap::map(&self.file)? };
        for advised in [map.advise(Advice::Sequential), map.advise_range(Advice::WillNeed, 0, AHEAD.min(map.len()))] {
            // Advice only: a kernel that does not take it reads the same bytes.
            advised.unwrap_or_else(|error| tracing::debug!(%error, "madvise"));
        }
        Ok(Mapped(map))
    }

    fn let_go(&mut self, position: u64) {
        self.dropped = position;
        dont_need(&self.file, position);
    }
}

/// Whatever was read leaves the page cache with the handle.
impl Drop for Once {
    fn drop(&mut self) {
        dont_need(&self.file, 0);
    }
}

/// The first `length` bytes leave the page cache (0: the whole file), as far as nobody else maps them.
pub(super) fn dont_need(file: &File, length: u64) {
    let length = i64::try_from(length).unwrap_or(0);
    let status = posix_fadvise(file.as_raw_fd(), 0, length, DONT_NEED);
    if status != 0 {
        tracing::debug!(error = %io::Error::from_raw_os_error(status), "posix_fadvise");
    }
}

/// A mapping of a file that is read once.
pub struct Mapped(Mmap);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_the_same_in_pieces_and_mapped_and_ends_short() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..BEHIND + 12_345).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).expect("written");
        let mut once = Once::open(&path).expect("opened");
        assert_eq!(&once.map().expect("mapped")[..], &content[..]);
        let mut read = vec![0; content.len() + 10];
        let mut done = 0;
        for piece in read.chunks_mut(1 << 20) {
            done += once.read_at(piece, done as u64).expect("read");
        }
        assert_eq!((done, &read[..done]), (content.len(), &content[..]));
        assert!(once.dropped >= BEHIND, "nothing was let go of: {}", once.dropped);
    }

    #[test]
    fn a_folder_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(Once::open(dir.path()).err().expect("a folder").kind(), io::ErrorKind::InvalidInput);
    }
}
