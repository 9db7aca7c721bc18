//! Copies rarely read private memory to an unnamed temporary file (`O_TMPFILE`) and maps that file over the same addresses.
//! The owner's pointers stay valid; the kernel can evict the pages and reload them from the file.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::disk;
use super::mappings::{PrivateMappings, Resident, addresses};
use super::streamed::evict;

/// Bytes copied and mapped at a time: the extra memory that the copy needs.
const WINDOW: usize = 32 << 20;
/// A multiple of the page size of every machine that this runs on (4 KiB; 64 KiB on some arm64 kernels).
pub const PAGE: usize = 64 << 10;

/// Why memory was not remapped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not whole pages of private memory.
    #[error("addresses {range:x?} are not whole pages of private memory of this process")]
    NotPrivate {
        /// The addresses.
        range: Range<usize>,
    },
    /// Locked memory stays resident, also if a file backs it.
    #[error("{locked} of its bytes are locked in memory (mlock), so the system cannot evict them")]
    Locked {
        /// Bytes locked.
        locked: u64,
    },
    /// No disk, or no room on it.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The owner has freed the memory.
    #[error("addresses {range:x?} no longer hold the remapped pages: their owner freed them")]
    Freed {
        /// The addresses.
        range: Range<usize>,
    },
    /// The system refused; the memory has its bytes. Where they are lost, the process ends instead.
    #[error("cannot {action} {}: {source}", folder.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Memory whose pages are backed by an unnamed file. The file is deleted with the mapping, when the memory's owner frees
/// it; from then on the methods of this value return [`Error::Freed`].
#[derive(Debug)]
pub struct RemappedMemory {
    range: Range<usize>,
    /// Device and inode of the file, as in `/proc/self/maps`. They are unique while a page of this mapping exists.
    file: FileId,
}

impl RemappedMemory {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.range.len() as u64
    }

    /// How much of it was read and written since.
    ///
    /// # Errors
    /// Errors of reading `/proc/self/smaps`.
    pub fn resident(&self) -> io::Result<Resident> {
        Resident::of(&self.range)
    }

    /// Evicts its pages, as the kernel does when memory is short; the next access reads them from the file. Pages that were
    /// written keep their content. Linux 5.4 or newer.
    ///
    /// # Errors
    /// The kernel's error; [`Error::Freed`] when the memory's owner freed it.
    pub fn page_out(&self) -> io::Result<()> {
        self.check()?;
        let advice = rustix::mm::Advice::LinuxPageOut;
        // SAFETY: the advice changes the location of a mapping's bytes, not their values, so it is safe for any owner.
        unsafe { rustix::mm::madvise(self.range.start as *mut _, self.range.len(), advice) }.map_err(io::Error::from)
    }

    /// Makes it writable again. Written pages become private memory, page by page.
    ///
    /// # Errors
    /// The kernel's error; [`Error::Freed`] when the memory's owner freed it.
    pub fn allow_writing(&self) -> io::Result<()> {
        self.check()?;
        protect(&self.range, MprotectFlags::READ | MprotectFlags::WRITE)
    }

    /// Checks that all addresses are still pages of the file. The owner could free them right after this check, so call it
    /// only while the owning object is alive; otherwise the caller would change other memory.
    fn check(&self) -> io::Result<()> {
        let whole = self.file.covers(&self.range)?;
        if whole { Ok(()) } else { Err(io::Error::other(Error::Freed { range: self.range.clone() })) }
    }
}

/// Protection of remapped memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A write ends this process by `SIGSEGV`, until [`RemappedMemory::allow_writing`].
    ReadOnly,
    /// As before. Written pages become private memory again, page by page.
    ReadWrite,
}

/// Copies `range` to an unnamed file in `folder` and maps the file over it, window by window. Reads give the same bytes at
/// any time; a write into the window that is being moved ends this process by `SIGSEGV`.
///
/// # Errors
/// [`Error`]; the memory is then writable and has its bytes, although a part may already be backed by the file.
pub fn remap_to_file(range: Range<usize>, folder: &Path, access: Access) -> Result<RemappedMemory, Error> {
    let whole = !range.is_empty() && range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
    let fail = |action| move |source| Error::Io { action, folder: folder.to_owned(), source };
    let private = PrivateMappings::now().map_err(fail("read this process's mappings for"))?.holds(&range);
    if !(whole && private) {
        return Err(Error::NotPrivate { range });
    }
    let locked = Resident::of(&range).map_err(fail("read this process's mappings for"))?.locked;
    if locked > 0 {
        return Err(Error::Locked { locked });
    }
    let file = disk::reserved_file(folder, range.len() as u64)?;
    let memory = File::open("/proc/self/mem").map_err(fail("open this process's memory for"))?;
    for start in range.clone().step_by(WINDOW) {
        let window = start..range.end.min(start + WINDOW);
        if let Err(error) = move_window(&memory, &file, &range, &window, access, move_mapping) {
            let touched = range.start..window.end;
            protect(&touched, MprotectFlags::READ | MprotectFlags::WRITE).unwrap_or_else(|undo| {
                tracing::error!(%undo, "memory at {touched:x?} stays read-only");
            });
            return Err(fail("write memory to a file in")(error));
        }
    }
    let file = FileId::at(range.start).map_err(fail("read this process's mappings for"))?;
    Ok(RemappedMemory { range, file })
}

/// Moves a mapping over a window of memory: [`move_mapping`], or a test's failing one.
type MoveMapping = fn(*mut c_void, &Range<usize>) -> io::Result<()>;

/// Moves the mapping at `staged`, as long as `window`, over `window`.
fn move_mapping(staged: *mut c_void, window: &Range<usize>) -> io::Result<()> {
    let (length, place) = (window.len(), window.start as *mut _);
    // SAFETY: the window is private memory of this process and write-protected, so it has not changed since it was read;
    // the file has the same bytes at the same offsets, so every read gives the same bytes as before. The mapping replaces
    // those pages and no others.
    unsafe { rustix::mm::mremap_fixed(staged, length, length, MremapFlags::MAYMOVE, place) }?;
    Ok(())
}

/// Writes one window to its offset in the file, syncs it to the disk, and maps it over the window.
///
/// The kernel unmaps the window's pages before it moves the mapping there, and can still fail for want of memory. The
/// addresses are then unmapped and their owner does not know, so the file is mapped there at once. If that fails too, the
/// process ends here, because the owner's next access would crash it.
fn move_window(
    memory: &File,
    file: &File,
    range: &Range<usize>,
    window: &Range<usize>,
    access: Access,
    move_mapping: MoveMapping,
) -> io::Result<()> {
    let (offset, length) = ((window.start - range.start) as u64, window.len());
    protect(window, MprotectFlags::READ)?;
    let mut piece = vec![0; length];
    memory.read_exact_at(&mut piece, window.start as u64)?;
    file.write_all_at(&piece, offset)?;
    drop(piece);
    // Only clean pages can leave the page cache, which they do here.
    file.sync_data()?;
    evict(file, 0..offset + length as u64);
    let protection = match access {
        Access::ReadOnly => ProtFlags::READ,
        Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
    };
    // Mapped elsewhere first, so that most failures happen while the memory is still mapped.
    // SAFETY: a new mapping at an address of the kernel's choice, not yet shared. The file has no name, so no other process
    // can truncate it, and its blocks are on the disk.
    let staged =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE, file.as_fd(), offset) }?;
    let Err(error) = move_mapping(staged, window) else { return Ok(()) };
    // SAFETY: the mapping made above, which did not move and is not shared.
    unsafe { rustix::mm::munmap(staged, length) }
        .unwrap_or_else(|undo| tracing::debug!(%undo, "an unused mapping could not be removed"));
    if is_mapped(window) {
        return Err(error);
    }
    match fill(window, file, offset, protection) {
        Ok(()) => {
            tracing::warn!(%error, "the kernel unmapped memory and did not map the file in its place; the file was mapped again");
            Ok(())
        }
        Err(again) => end_with_a_hole(window, &error, &again),
    }
}

/// Whether all of a range is mapped. If that cannot be determined it counts as mapped, so that nothing is mapped over it.
fn is_mapped(range: &Range<usize>) -> bool {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return true };
    let mut covered = range.start;
    for mapping in maps.lines().filter_map(|line| addresses(line.split(' ').next()?)) {
        if mapping.start <= covered && mapping.end > covered {
            covered = mapping.end;
        }
    }
    covered >= range.end
}

/// Maps the file's bytes into an unmapped window. Fails when another thread has mapped addresses in it meanwhile.
fn fill(window: &Range<usize>, file: &File, offset: u64, protection: ProtFlags) -> io::Result<()> {
    let (place, length) = (window.start as *mut _, window.len());
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: nothing is mapped there (`FIXED_NOREPLACE` refuses otherwise), and the owner of the addresses reads the
    // same bytes as before.
    let mapped = unsafe { rustix::mm::mmap(place, length, protection, flags, file.as_fd(), offset) }?;
    if mapped == place {
        return Ok(());
    }
    // A kernel before 4.17 treats the address as a hint.
    // SAFETY: the mapping made just now at another address, not shared.
    unsafe { rustix::mm::munmap(mapped, length) }?;
    Err(io::Error::other("the kernel mapped it at another address"))
}

/// Exit status of a process with unmapped memory that is in use: `EX_OSERR` of sysexits.h.
const HOLE: u8 = 71;

fn end_with_a_hole(window: &Range<usize>, error: &io::Error, again: &io::Error) -> ! {
    let text = format!(
        "the kernel unmapped {window:x?} of the inference library while the host copy of an engine was released ({error}), \
         and the bytes cannot be mapped there again ({again}): this process cannot go on and ends. The system is short of \
         memory or of mappings (sysctl vm.max_map_count); set memory.release_host_copy: false to avoid the release"
    );
    tracing::error!("{text}");
    // The log may go to a thread that no longer runs.
    let line = text + "\n";
    rustix::io::write(std::io::stderr(), line.as_bytes()).unwrap_or_default();
    super::exit_now(HOLE)
}

/// Identity of a file in `/proc/self/maps`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FileId {
    device: String,
    inode: String,
}

impl FileId {
    /// The file mapped at an address. `fstat` is not used: layered file systems report another inode.
    fn at(address: usize) -> io::Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let mut found = maps.lines().filter_map(Self::of_line).filter(|(range, _)| range.contains(&address));
        found.next().map(|(_, file)| file).ok_or_else(|| io::Error::other("nothing is mapped there"))
    }

    /// A line of `/proc/self/maps`: start-end perms offset device inode path.
    fn of_line(line: &str) -> Option<(Range<usize>, Self)> {
        let mut words = line.split_ascii_whitespace();
        let range = addresses(words.next()?)?;
        let (device, inode) = (words.nth(2)?.to_owned(), words.next()?.to_owned());
        Some((range, Self { device, inode }))
    }

    /// Whether this file backs every page of `range`.
    fn covers(&self, range: &Range<usize>) -> io::Result<bool> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let mut covered = range.start;
        for (mapping, file) in maps.lines().filter_map(Self::of_line) {
            if file == *self && mapping.start <= covered && mapping.end > covered {
                covered = mapping.end;
            }
        }
        Ok(covered >= range.end)
    }
}

fn protect(range: &Range<usize>, flags: MprotectFlags) -> io::Result<()> {
    // SAFETY: whole pages of this process's own private memory (checked when they were remapped). Their bytes do not
    // change; a write to protected pages ends the process by a signal, as intended.
    unsafe { rustix::mm::mprotect(range.start as *mut _, range.len(), flags) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
