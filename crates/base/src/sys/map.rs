//! Read-only file mappings: bags, weights and embedding tables are read in place.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::{Advice, Mmap};

/// Maps the whole of a regular file, read-only, as reference-counted bytes.
///
/// Slices of the result (`Bytes::slice`) share the mapping without a copy and keep it alive. An empty file gives
/// empty bytes.
///
/// The file must not be shortened or rewritten while it is mapped: a page beyond the new end raises `SIGBUS`, as
/// with every mapping. Files that may be replaced have to be replaced by rename, as this project's writers do.
///
/// # Errors
///
/// Whatever opening and mapping give; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
pub fn map(path: &Path) -> io::Result<Bytes> {
    map_with(path, None)
}

/// The whole of a regular file: read when it has at most `most` bytes, else mapped as by [`map`].
///
/// # Errors
///
/// As [`map`], and whatever reading gives.
pub fn read_or_map(path: &Path, most: u64) -> io::Result<Bytes> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() && meta.len() <= most { Ok(std::fs::read(path)?.into()) } else { map(path) }
}

/// [`map`], with the kernel told that the file will be read from front to back (larger read-ahead).
///
/// # Errors
///
/// As [`map`].
pub fn map_sequential(path: &Path) -> io::Result<Bytes> {
    map_with(path, Some(Advice::Sequential))
}

/// Maps a file of this process's own that has no name, read-only. Nobody else can reach it.
///
/// # Errors
///
/// Whatever mapping gives.
pub(super) fn map_unnamed(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: read-only; the caller made the file without a name and gives its handle to nobody, so nobody can write to
    // it or cut it short while it is mapped.
    Ok(Bytes::from_owner(unsafe { Mmap::map(file)? }))
}

fn map_with(path: &Path, advice: Option<Advice>) -> io::Result<Bytes> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private to this process and read-only, and is unmapped only when the last `Bytes` is
    // dropped. Rust's rule that the bytes do not change is kept by the caller's promise above (files are replaced by
    // rename, never rewritten in place); a file cut short raises a signal and yields no stale reference.
    let map = unsafe { Mmap::map(&file)? };
    if let Some(advice) = advice {
        // Advice only: a kernel that does not take it reads the same bytes.
        map.advise(advice).unwrap_or_else(|error| tracing::debug!(%error, path = %path.display(), "madvise"));
    }
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_the_mapping_and_outlive_the_first_handle() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").expect("written");
        let whole = map(&path).expect("mapped");
        let part = whole.slice(3..6);
        assert_eq!(part.as_ptr(), whole[3..].as_ptr());
        drop(whole);
        assert_eq!(&part[..], b"345");
    }

    #[test]
    fn an_empty_file_is_empty_bytes_and_a_folder_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("empty");
        std::fs::write(&path, b"").expect("written");
        assert!(map_sequential(&path).expect("mapped").is_empty());
        assert_eq!(map(dir.path()).expect_err("a folder").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(map(&dir.path().join("none")).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }
}
