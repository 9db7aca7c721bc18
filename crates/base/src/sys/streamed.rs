//! Reads a large file once, from front to back, without keeping it in anonymous memory or in the page cache. On a machine
//! with unified memory the page cache competes with the GPU's next allocation.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::{Advice, Mmap};

/// Bytes prefetched when a mapping is made; the kernel's sequential read-ahead follows.
const AHEAD: usize = 64 << 20;
/// Bytes read between two evictions from the page cache.
const BEHIND: u64 = 32 << 20;

/// A regular file that is read once, from front to back. Its pages leave the page cache behind the reader.
pub struct StreamedFile {
    file: File,
    size: u64,
    /// Bytes in front of this were dropped from the page cache.
    dropped: u64,
}

impl StreamedFile {
    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// Errors of opening; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Checked before opening, because opening a pipe waits for its writer.
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

    /// Fills `buffer` from `offset` on, less at the end of the file, and evicts the pages before it from the page cache.
    ///
    /// # Errors
    ///
    /// Errors of reading.
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
            self.evict(position);
        }
        Ok(done)
    }

    /// Maps the whole file. As for [`super::map::map`], the file must not be truncated or rewritten meanwhile. Its pages leave
    /// the page cache only when the mapping is dropped before this handle.
    ///
    /// # Errors
    ///
    /// Errors of mapping.
    pub fn map(&self) -> io::Result<Mapped> {
        // SAFETY: read-only and private to this process, unmapped when `Mapped` is dropped; the bytes do not change by
        // the requirement above (engines are replaced by rename, never rewritten in place).
        let map = unsafe { Mmap::map(&self.file)? };
        for advised in [map.advise(Advice::Sequential), map.advise_range(Advice::WillNeed, 0, AHEAD.min(map.len()))] {
            // Advice only: without it the same bytes are read.
            advised.unwrap_or_else(|error| tracing::debug!(%error, "madvise"));
        }
        Ok(Mapped(map))
    }

    fn evict(&mut self, position: u64) {
        self.dropped = position;
        evict(&self.file, position);
    }
}

/// The file leaves the page cache with the handle.
impl Drop for StreamedFile {
    fn drop(&mut self) {
        evict(&self.file, 0);
    }
}

/// Evicts a regular file from the page cache, except for pages that are mapped. Pages that are not on the disk yet, such as
/// those of a file that was just copied, are written first.
///
/// # Errors
/// Errors of opening and writing; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
pub fn evict_from_page_cache(path: &Path) -> io::Result<()> {
    StreamedFile::open(path)?.file.sync_data()
}

/// Evicts the first `length` bytes from the page cache (0: the whole file), except for mapped pages.
pub(super) fn evict(file: &File, length: u64) {
    if let Err(error) = rustix::fs::fadvise(file, 0, NonZeroU64::new(length), rustix::fs::Advice::DontNeed) {
        tracing::debug!(%error, "posix_fadvise");
    }
}

/// A mapping of a [`StreamedFile`].
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
        let mut streamed = StreamedFile::open(&path).expect("opened");
        assert_eq!(&streamed.map().expect("mapped")[..], &content[..]);
        let mut read = vec![0; content.len() + 10];
        let mut done = 0;
        for piece in read.chunks_mut(1 << 20) {
            done += streamed.read_at(piece, done as u64).expect("read");
        }
        assert_eq!((done, &read[..done]), (content.len(), &content[..]));
        assert!(streamed.dropped >= BEHIND, "nothing was evicted: {}", streamed.dropped);
    }

    /// Bytes of a file that are in the page cache.
    fn cached(path: &Path) -> usize {
        let file = File::open(path).expect("opened");
        // SAFETY: the test's own file, which is not truncated.
        let map = unsafe { Mmap::map(&file) }.expect("mapped");
        // SAFETY: a query without preconditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a size");
        let mut pages = vec![0u8; map.len().div_ceil(page)];
        // SAFETY: a mapping of that length, and a byte for each of its pages.
        assert_eq!(unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) }, 0);
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
        evict_from_page_cache(&path).expect("dropped");
        assert!(cached(&path) <= bytes / 8, "{} of {bytes} bytes stay", cached(&path));
    }

    #[test]
    fn a_folder_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(StreamedFile::open(dir.path()).err().expect("a folder").kind(), io::ErrorKind::InvalidInput);
    }
}
