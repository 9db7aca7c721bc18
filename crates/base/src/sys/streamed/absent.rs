//! Which parts of a file the page cache does not hold.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use memmap2::Mmap;
use rustix::fs::{Access, AtFlags, CWD};

use super::END;

/// Pages asked for at a time: a byte of answer for each.
const WINDOW: usize = 16 << 10;

/// The ranges of a file that are not in the page cache now, in whole pages, in order. Where the system does not say, the whole
/// file: then what a reader drops may have been there before.
pub(super) fn absent(file: &File, path: &Path) -> Vec<Range<u64>> {
    let found = match may_ask(file, path) {
        Ok(true) => query(file),
        Ok(false) => Err(io::ErrorKind::PermissionDenied.into()),
        Err(error) => Err(error),
    };
    found.unwrap_or_else(|error| {
        tracing::debug!(%error, "{}: unknown which pages are in the page cache", path.display());
        vec![Range { start: 0, end: END }]
    })
}

/// Whether `mincore` answers truly. Since Linux 5.2 it reports all pages of other people's files as resident: of those that the
/// process neither owns nor may write.
fn may_ask(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?.uid() == rustix::process::geteuid().as_raw();
    Ok(own || rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok())
}

fn query(file: &File) -> io::Result<Vec<Range<u64>>> {
    // SAFETY: read-only and private to this process; its bytes are never accessed, so that they may change and be cut off.
    let map = unsafe { Mmap::map(file)? };
    // SAFETY: a query without preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
    let mut absent: Vec<Range<u64>> = Vec::new();
    let mut resident = vec![0u8; WINDOW];
    for start in (0..map.len()).step_by(WINDOW * page) {
        let length = (map.len() - start).min(WINDOW * page);
        // SAFETY: `start` is a multiple of the page size inside of the mapping, `length` ends inside of it, and `resident` has
        // a byte for each of these pages.
        let code = unsafe { libc::mincore(map.as_ptr().add(start).cast_mut().cast(), length, resident.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        for (index, _) in resident[..length.div_ceil(page)].iter().enumerate().filter(|(_, page)| **page & 1 == 0) {
            let at = (start + index * page) as u64;
            match absent.last_mut() {
                Some(last) if last.end == at => last.end += page as u64,
                _ => absent.push(at..at + page as u64),
            }
        }
    }
    // The last page may be a part of one, and the file may grow.
    if let Some(last) = absent.last_mut().filter(|last| last.end >= map.len() as u64) {
        last.end = END;
    }
    Ok(absent)
}
