//! Reads a large file once, from front to back, without keeping it in anonymous memory. The page cache is left as it was found:
//! pages that were brought in by reading leave it, since on a machine with unified memory it competes with the GPU's next
//! allocation; pages that were there stay, since the next reader of a file that was just written or read needs them.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::{Advice, Mmap};

mod absent;

use absent::absent;

/// Bytes prefetched when a mapping is made; the kernel's sequential read-ahead follows.
const AHEAD: usize = 64 << 20;
/// Bytes read between two evictions from the page cache.
const BEHIND: u64 = 32 << 20;
/// The end of a range that goes to the end of the file.
pub(super) const END: u64 = u64::MAX;

/// A regular file that is read once, from front to back. Pages that were not in the page cache when it was opened leave it behind
/// the reader. All pages do where the system does not say which were there: for files that the process neither owns nor may
/// write, Linux does not.
pub struct StreamedFile {
    file: File,
    size: u64,
    /// What was not in the page cache when it was opened, in order.
    absent: Vec<Range<u64>>,
    /// Of the bytes in front of this, those that were absent were dropped from the page cache.
    dropped: u64,
}

impl StreamedFile {
    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// Errors of opening; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        let absent = absent(&file, path);
        Ok(Self { file, size, absent, dropped: 0 })
    }

    /// Size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on, less at the end of the file, and evicts pages before it that it brought in from the
    /// page cache.
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

    /// Evicts what was absent in front of `position`. A range that was begun is evicted from its beginning on, because the kernel
    /// keeps pages that it holds in one piece with one behind the position.
    fn evict(&mut self, position: u64) {
        let first = self.absent.partition_point(|range| range.end <= self.dropped);
        for range in self.absent[first..].iter().take_while(|range| range.start < position) {
            evict(&self.file, range.start..range.end.min(position));
        }
        self.dropped = position;
    }
}

/// What was absent leaves the page cache with the handle, also what the kernel read ahead.
impl Drop for StreamedFile {
    fn drop(&mut self) {
        self.absent.iter().for_each(|range| evict(&self.file, range.clone()));
    }
}

/// Opens a regular file.
fn open(path: &Path) -> io::Result<File> {
    // Checked before opening, because opening a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// Evicts a regular file from the page cache, except for pages that are mapped. Pages that are not on the disk yet, such as
/// those of a file that was just copied, are written first.
///
/// # Errors
/// Errors of opening and writing; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
pub fn evict_from_page_cache(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    let written = file.sync_data();
    evict(&file, 0..END);
    written
}

/// Evicts a part of a file from the page cache, except for mapped pages.
pub(super) fn evict(file: &File, range: Range<u64>) {
    // No length: to the end of the file.
    let length = NonZeroU64::new(range.end - range.start).filter(|_| range.end != END);
    if let Err(error) = rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed) {
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
mod tests;
