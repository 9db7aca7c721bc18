//! Anonymous memory that is hardly ever read, put into a file without a name and mapped back over its own addresses: whoever
//! owns it reads, writes and frees it as before, but its pages are the file's, which the kernel may drop and read again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::regions::{Anonymous, Resident};
use super::window::dont_need;

/// Bytes that are written, mapped and let go of at a time: what is held twice.
const WINDOW: usize = 32 << 20;
/// A multiple of the page size of every machine that this runs on (4 KiB; 64 KiB on some arm64 kernels).
pub const PAGE: usize = 64 << 10;
/// Free space that stays on the disk.
const DISK_RESERVE: u64 = 256 << 20;
/// `f_type` of file systems that live in memory: `TMPFS_MAGIC`, `RAMFS_MAGIC`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Why memory was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not whole pages of private memory.
    #[error("addresses {range:x?} are not whole pages of private memory of this process")]
    NotPrivate {
        /// The addresses.
        range: Range<usize>,
    },
    /// Locked memory stays in memory, whatever backs it.
    #[error("{locked} of its bytes are locked in memory (mlock): the system could not drop them")]
    Locked {
        /// Bytes locked.
        locked: u64,
    },
    /// The file would be memory itself.
    #[error("{} is on a file system that lives in memory; put the engines on a disk", folder.display())]
    InMemory {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk is full, or would be.
    #[error("{} has {free} bytes free, {needed} are needed; make room there", folder.display())]
    Space {
        /// The folder.
        folder: PathBuf,
        /// Bytes needed, with what stays free.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The system refused; the memory has the bytes that it had.
    #[error("{action} {}: {source}", folder.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Memory whose pages are a file's now. The file has no name and goes with the mapping, that is when the memory's owner
/// frees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spilled {
    range: Range<usize>,
}

impl Spilled {
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.range.len() as u64
    }

    /// What was touched of it since, and what was written.
    ///
    /// # Errors
    /// Whatever reading `/proc/self/smaps` gives.
    pub fn resident(&self) -> io::Result<Resident> {
        Resident::of(&self.range)
    }

    /// Lets go of its pages, as the kernel would when memory is short: they are read from the file again when somebody
    /// touches them. What was written to them stays. Linux 5.4 or newer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn let_go(&self) -> io::Result<()> {
        let advice = rustix::mm::Advice::LinuxPageOut;
        // SAFETY: a mapping of this process's own; the advice changes where its bytes are, not which they are.
        unsafe { rustix::mm::madvise(self.range.start as *mut _, self.range.len(), advice) }.map_err(io::Error::from)
    }

    /// Lets its owner write to it, as before. What is written becomes private memory again, page by page.
    ///
    /// # Errors
    /// The kernel's.
    pub fn allow_writing(&self) -> io::Result<()> {
        protect(&self.range, MprotectFlags::READ | MprotectFlags::WRITE)
    }
}

/// What may be done to spilled memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Whoever writes to it ends this process by `SIGSEGV`, until [`Spilled::allow_writing`].
    ReadOnly,
    /// What it was before: what is written becomes private memory again, page by page.
    AsBefore,
}

/// Puts `range` into a file in `folder` and maps the file over it, window by window. Its bytes are never other than they
/// were; while a window moves, whoever writes to it ends this process by `SIGSEGV`.
///
/// # Errors
/// [`Error`]; the memory is then writable and has its bytes, in part perhaps in the file already.
pub fn spill(range: Range<usize>, folder: &Path, access: Access) -> Result<Spilled, Error> {
    let whole = !range.is_empty() && range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
    let fail = |action| move |source| Error::Io { action, folder: folder.to_owned(), source };
    let private = Anonymous::now().map_err(fail("reading this process's mappings for"))?.holds(&range);
    if !(whole && private) {
        return Err(Error::NotPrivate { range });
    }
    let locked = Resident::of(&range).map_err(fail("reading this process's mappings for"))?.locked;
    if locked > 0 {
        return Err(Error::Locked { locked });
    }
    let file = unnamed(folder, range.len() as u64)?;
    let memory = File::open("/proc/self/mem").map_err(fail("opening this process's memory for"))?;
    for start in range.clone().step_by(WINDOW) {
        let window = start..range.end.min(start + WINDOW);
        if let Err(error) = move_window(&memory, &file, &range, &window, access) {
            let touched = range.start..window.end;
            protect(&touched, MprotectFlags::READ | MprotectFlags::WRITE).unwrap_or_else(|undo| {
                tracing::error!(%undo, "memory at {touched:x?} stays read-only");
            });
            return Err(fail("writing memory to a file in")(error));
        }
    }
    Ok(Spilled { range })
}

/// A file without a name, of this size. Refused where it would be memory, or would fill the disk.
fn unnamed(folder: &Path, bytes: u64) -> Result<File, Error> {
    let fail =
        |action| move |error: rustix::io::Errno| Error::Io { action, folder: folder.to_owned(), source: error.into() };
    // An empty path is the working folder.
    let at = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let system = rustix::fs::statfs(at).map_err(fail("asking for the file system of"))?;
    if IN_MEMORY.contains(&u64::from_ne_bytes(system.f_type.to_ne_bytes())) {
        return Err(Error::InMemory { folder: folder.to_owned() });
    }
    let disk = rustix::fs::statvfs(at).map_err(fail("asking for the free space of"))?;
    let (free, needed) = (disk.f_bavail.saturating_mul(disk.f_frsize), bytes.saturating_add(DISK_RESERVE));
    if free < needed {
        return Err(Error::Space { folder: folder.to_owned(), needed, free });
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(
        rustix::fs::open(at, flags, Mode::RUSR | Mode::WUSR).map_err(fail("making a file without a name in"))?,
    );
    // Blocks taken now: a disk that fills up meanwhile is told here, not by a page that cannot be written.
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).map_err(fail("taking space in"))?;
    Ok(file)
}

/// Writes one window to its place in the file, sees it on the disk, and maps it over itself.
fn move_window(
    memory: &File,
    file: &File,
    range: &Range<usize>,
    window: &Range<usize>,
    access: Access,
) -> io::Result<()> {
    let (offset, length) = ((window.start - range.start) as u64, window.len());
    protect(window, MprotectFlags::READ)?;
    let mut piece = vec![0; length];
    memory.read_exact_at(&mut piece, window.start as u64)?;
    file.write_all_at(&piece, offset)?;
    drop(piece);
    // Clean pages are what the kernel can drop; they leave the cache with the next line.
    file.sync_data()?;
    dont_need(file, offset + length as u64);
    let protection = match access {
        Access::ReadOnly => ProtFlags::READ,
        Access::AsBefore => ProtFlags::READ | ProtFlags::WRITE,
    };
    // Mapped elsewhere first: whatever the kernel refuses it refuses here, while the memory is still there.
    // SAFETY: a new mapping at an address of the kernel's choice; nobody has it yet. The file is nowhere by name, so nobody
    // can cut it short, and its blocks are on the disk.
    let staged =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE, file.as_fd(), offset) }?;
    let (flags, place) = (MremapFlags::MAYMOVE, window.start as *mut _);
    // SAFETY: the window is private memory of this process, write-protected, so that nobody can have changed it since it
    // was read; the file has the same bytes in the same places, so whoever reads it, now or later, reads what it would
    // have. The mapping replaces those pages and none beside them.
    let moved = unsafe { rustix::mm::mremap_fixed(staged, length, length, flags, place) };
    if let Err(error) = moved {
        // SAFETY: the mapping made above, which did not move and which nobody else has.
        unsafe { rustix::mm::munmap(staged, length) }
            .unwrap_or_else(|undo| tracing::debug!(%undo, "a mapping that nobody uses stays"));
        return Err(error.into());
    }
    Ok(())
}

fn protect(range: &Range<usize>, flags: MprotectFlags) -> io::Result<()> {
    // SAFETY: whole pages of this process's own private memory (checked when they were spilled). Their bytes do not
    // change; a write to protected ones ends the process by a signal, which is what it is for.
    unsafe { rustix::mm::mprotect(range.start as *mut _, range.len(), flags) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
