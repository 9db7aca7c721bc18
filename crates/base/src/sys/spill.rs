//! Anonymous memory that is hardly ever read, put into a file without a name and mapped back over its own addresses: whoever
//! owns it reads, writes and frees it as before, but its pages are the file's, which the kernel may drop and read again.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::disk;
use super::regions::{Anonymous, Resident, addresses};
use super::window::dont_need;

/// Bytes that are written, mapped and let go of at a time: what is held twice.
const WINDOW: usize = 32 << 20;
/// A multiple of the page size of every machine that this runs on (4 KiB; 64 KiB on some arm64 kernels).
pub const PAGE: usize = 64 << 10;

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
    /// No disk, or no room on it.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// They were given back since.
    #[error("addresses {range:x?} are no longer those pages: their owner freed them")]
    Freed {
        /// The addresses.
        range: Range<usize>,
    },
    /// The system refused; the memory has the bytes that it had. Where it has not, the process ends instead.
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
/// frees it; from then on this value refers to nothing, and says so.
#[derive(Debug)]
pub struct Spilled {
    range: Range<usize>,
    /// Device and inode of the file, as `/proc/self/maps` writes them. No other mapping has them while a page of this
    /// one is left.
    file: FileId,
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
    /// The kernel's; an error when the memory's owner freed it.
    pub fn let_go(&self) -> io::Result<()> {
        self.check()?;
        let advice = rustix::mm::Advice::LinuxPageOut;
        // SAFETY: the advice changes where the bytes of a mapping are, not which they are, whoever owns it.
        unsafe { rustix::mm::madvise(self.range.start as *mut _, self.range.len(), advice) }.map_err(io::Error::from)
    }

    /// Lets its owner write to it, as before. What is written becomes private memory again, page by page.
    ///
    /// # Errors
    /// The kernel's; an error when the memory's owner freed it.
    pub fn allow_writing(&self) -> io::Result<()> {
        self.check()?;
        protect(&self.range, MprotectFlags::READ | MprotectFlags::WRITE)
    }

    /// Whether all of the addresses are still pages of the file. The owner could free them right after this was asked:
    /// so that nothing is done to memory of somebody else, ask only while the owner's object is alive.
    fn check(&self) -> io::Result<()> {
        let whole = self.file.covers(&self.range)?;
        if whole { Ok(()) } else { Err(io::Error::other(Error::Freed { range: self.range.clone() })) }
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
    let file = disk::unnamed(folder, range.len() as u64)?;
    let memory = File::open("/proc/self/mem").map_err(fail("opening this process's memory for"))?;
    for start in range.clone().step_by(WINDOW) {
        let window = start..range.end.min(start + WINDOW);
        if let Err(error) = move_window(&memory, &file, &range, &window, access, remap) {
            let touched = range.start..window.end;
            protect(&touched, MprotectFlags::READ | MprotectFlags::WRITE).unwrap_or_else(|undo| {
                tracing::error!(%undo, "memory at {touched:x?} stays read-only");
            });
            return Err(fail("writing memory to a file in")(error));
        }
    }
    let file = FileId::at(range.start).map_err(fail("reading this process's mappings for"))?;
    Ok(Spilled { range, file })
}

/// Moves a mapping over a window of memory: [`remap`], or a test's way to fail.
type Remap = fn(*mut c_void, &Range<usize>) -> io::Result<()>;

/// Moves the mapping at `staged`, as long as `window`, over `window`.
fn remap(staged: *mut c_void, window: &Range<usize>) -> io::Result<()> {
    let (length, place) = (window.len(), window.start as *mut _);
    // SAFETY: the window is private memory of this process, write-protected, so that nobody can have changed it since it
    // was read; the file has the same bytes in the same places, so whoever reads it, now or later, reads what it would
    // have. The mapping replaces those pages and none beside them.
    unsafe { rustix::mm::mremap_fixed(staged, length, length, MremapFlags::MAYMOVE, place) }?;
    Ok(())
}

/// Writes one window to its place in the file, sees it on the disk, and maps it over itself.
///
/// The kernel takes the window's pages away before it moves the mapping there, and can still fail for want of memory. The
/// addresses then hold nothing, and their owner does not know; so they are filled from the file at once. Where that fails
/// too, the process ends here: going on would be to wait for the owner's next access.
fn move_window(
    memory: &File,
    file: &File,
    range: &Range<usize>,
    window: &Range<usize>,
    access: Access,
    remap: Remap,
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
    // Mapped elsewhere first: most of what the kernel refuses it refuses here, while the memory is still there.
    // SAFETY: a new mapping at an address of the kernel's choice; nobody has it yet. The file is nowhere by name, so nobody
    // can cut it short, and its blocks are on the disk.
    let staged =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE, file.as_fd(), offset) }?;
    let Err(error) = remap(staged, window) else { return Ok(()) };
    // SAFETY: the mapping made above, which did not move and which nobody else has.
    unsafe { rustix::mm::munmap(staged, length) }
        .unwrap_or_else(|undo| tracing::debug!(%undo, "a mapping that nobody uses stays"));
    if is_mapped(window) {
        return Err(error);
    }
    match fill(window, file, offset, protection) {
        Ok(()) => {
            tracing::warn!(%error, "the kernel took memory away and did not put the file there; it was mapped there anew");
            Ok(())
        }
        Err(again) => end_with_a_hole(window, &error, &again),
    }
}

/// Whether all of a range is mapped. What cannot be asked counts as mapped: then nothing is put there.
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

/// Maps the file's bytes into a hole. Another thread may have got addresses in it meanwhile: then it is not touched.
fn fill(window: &Range<usize>, file: &File, offset: u64, protection: ProtFlags) -> io::Result<()> {
    let (place, length) = (window.start as *mut _, window.len());
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: nothing is mapped there (`FIXED_NOREPLACE` refuses otherwise), and the owner of the addresses reads the
    // bytes that it had there.
    let mapped = unsafe { rustix::mm::mmap(place, length, protection, flags, file.as_fd(), offset) }?;
    if mapped == place {
        return Ok(());
    }
    // A kernel before 4.17 takes the address for a wish.
    // SAFETY: the mapping that was just made elsewhere, which nobody has.
    unsafe { rustix::mm::munmap(mapped, length) }?;
    Err(io::Error::other("the kernel put it elsewhere"))
}

/// Exit status of a process whose memory has a hole: `EX_OSERR` of sysexits.h.
const HOLE: u8 = 71;

fn end_with_a_hole(window: &Range<usize>, error: &io::Error, again: &io::Error) -> ! {
    let text = format!(
        "the kernel took {window:x?} away from the inference engine's library while its copy of an engine was given back \
         ({error}), and the bytes cannot be put there again ({again}): this process cannot go on and ends. The system is \
         short of memory or of mappings (sysctl vm.max_map_count); memory.release_host_copy: false does without"
    );
    tracing::error!("{text}");
    // The log may go to a thread that will not run any more.
    let line = text + "\n";
    rustix::io::write(std::io::stderr(), line.as_bytes()).unwrap_or_default();
    super::exit_now(HOLE)
}

/// A file as `/proc/self/maps` names it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FileId {
    device: String,
    inode: String,
}

impl FileId {
    /// The one that is mapped at an address. Not asked of the file itself: layered file systems give it another number.
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

    /// Whether every page of `range` is one of this file's.
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
    // SAFETY: whole pages of this process's own private memory (checked when they were spilled). Their bytes do not
    // change; a write to protected ones ends the process by a signal, which is what it is for.
    unsafe { rustix::mm::mprotect(range.start as *mut _, range.len(), flags) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
