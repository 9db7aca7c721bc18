//! Large files that are read once, from front to back, and must not stay: neither as anonymous memory nor in the page
//! cache, which on unified memory is what the GPU's next allocation competes with.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::{Advice, Mmap};

/// Read ahead when a mapping is made; the kernel's own sequential read-ahead follows.
const AHEAD: usize = 64 << 20;
/// Pages behind a streamed read leave the page cache in steps of this.
const BEHIND: u64 = 32 << 20;

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

/// A regular file's pages leave the page cache, as far as nobody maps them. Pages that are not on the disk yet, such as
/// those of a file that was just copied, are written there first.
///
/// # Errors
/// Whatever opening and writing give; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
pub fn leave_page_cache(path: &Path) -> io::Result<()> {
    let once = Once::open(path)?;
    once.file.sync_data()
}

/// The first `length` bytes leave the page cache (0: the whole file), as far as nobody else maps them.
pub(super) fn dont_need(file: &File, length: u64) {
    if let Err(error) = rustix::fs::fadvise(file, 0, NonZeroU64::new(length), rustix::fs::Advice::DontNeed) {
        tracing::debug!(%error, "posix_fadvise");
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

    /// Bytes of a file that are in the page cache.
    fn cached(path: &Path) -> usize {
        unsafe extern "C" {
            fn mincore(address: *mut std::ffi::c_void, length: usize, pages: *mut u8) -> i32;
            safe fn getpagesize() -> i32;
        }
        let file = File::open(path).expect("opened");
        // SAFETY: the test's own file, which nobody cuts short.
        let map = unsafe { Mmap::map(&file) }.expect("mapped");
        let page = usize::try_from(getpagesize()).expect("a size");
        let mut pages = vec![0u8; map.len().div_ceil(page)];
        // SAFETY: a mapping of that length, and a byte for each of its pages.
        assert_eq!(unsafe { mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) }, 0);
        pages.iter().filter(|page| **page & 1 == 1).count() * page
    }

    #[test]
    fn a_file_that_was_just_written_leaves_the_page_cache() {
        let dir =
            tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").expect("a folder on a disk");
        let path = dir.path().join("bundle");
        let bytes = 24 << 20;
        std::fs::write(&path, vec![7; bytes]).expect("written");
        assert!(cached(&path) >= bytes / 2, "{}", cached(&path));
        leave_page_cache(&path).expect("dropped");
        assert!(cached(&path) <= bytes / 8, "{} of {bytes} bytes stay", cached(&path));
    }

    #[test]
    fn a_folder_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(Once::open(dir.path()).err().expect("a folder").kind(), io::ErrorKind::InvalidInput);
    }
}
