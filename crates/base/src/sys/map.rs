//! Read-only file mappings: bags, weights and embedding tables are read in place.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps the whole of a regular file, read-only, as reference-counted bytes.
///
/// Slices of the result (`Bytes::slice`) share the mapping without a copy and keep it alive. An empty file gives
/// empty bytes.
///
/// The file must not be truncated or rewritten while it is mapped: access beyond the new end raises `SIGBUS`. Replace such
/// files by rename, as [`super::fs`] does.
///
/// # Errors
///
/// Errors of opening and mapping; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device.
pub fn map(path: &Path) -> io::Result<Bytes> {
    // Checked before opening, because opening a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private to this process and read-only, and is unmapped only when the last `Bytes` is
    // dropped. The bytes do not change by the requirement above (files are replaced by rename, never rewritten in
    // place); access beyond the end of a truncated file raises a signal and yields no stale reference.
    Ok(Bytes::from_owner(unsafe { Mmap::map(&file)? }))
}

/// The whole of a regular file: read when it has at most `most` bytes, else mapped as by [`map`].
///
/// # Errors
///
/// As [`map`], and errors of reading.
pub fn read_or_map(path: &Path, most: u64) -> io::Result<Bytes> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() && meta.len() <= most { Ok(std::fs::read(path)?.into()) } else { map(path) }
}

/// Maps an unnamed file of this process, read-only.
///
/// # Errors
///
/// Errors of mapping.
pub(super) fn map_unnamed(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: read-only; the file has no name and the caller does not share its handle, so it cannot be written or
    // truncated while it is mapped.
    Ok(Bytes::from_owner(unsafe { Mmap::map(file)? }))
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
        assert!(map(&path).expect("mapped").is_empty());
        assert_eq!(map(dir.path()).expect_err("a folder").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(map(&dir.path().join("none")).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }
}
