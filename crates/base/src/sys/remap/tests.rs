//! On real memory and a real file system.

use std::process::Command;

use super::*;

/// Where scratch files go: beside the build's, which lie on a disk (the system's folder for them may be memory).
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").expect("a folder")
}

/// A block as a runtime would hold it, and the whole pages in it.
fn block() -> (Vec<u8>, Range<usize>) {
    let block: Vec<u8> =
        (0..(WINDOW * 2 + 5 * PAGE + 333) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (start, end) = (block.as_ptr() as usize, block.as_ptr() as usize + block.len());
    (block, start.next_multiple_of(PAGE)..end / PAGE * PAGE)
}

#[test]
fn remapped_memory_reads_the_same_is_not_anonymous_and_can_be_freed() {
    let (block, range) = block();
    let copy = block.clone();
    let before = Resident::of(&range).expect("smaps");
    assert!(before.anonymous >= range.len() as u64, "{before:?}");
    let dir = folder();
    let remapped = remap_to_file(range.clone(), dir.path(), Access::ReadOnly).expect("remapped");
    assert_eq!(remapped.bytes(), range.len() as u64);
    assert_eq!(remapped.resident().expect("smaps"), Resident::default(), "nothing of it was touched yet");
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "the file has no name");
    assert!(block == copy, "the bytes are the same");
    let after = remapped.resident().expect("smaps");
    assert!(after.touched >= range.len() as u64 && after.anonymous == 0, "{after:?}");
    remapped.page_out().expect("advised");
    let after = remapped.resident().expect("smaps");
    assert!(after.touched < range.len() as u64 / 4, "most of its pages are gone: {after:?}");
    assert!(block == copy, "and are read again");
    drop(block);
}

#[test]
fn writing_is_possible_where_it_is_allowed_and_stays_in_memory() {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        written_to(access);
    }
}

fn written_to(access: Access) {
    let (mut block, range) = block();
    let dir = folder();
    let remapped = remap_to_file(range.clone(), dir.path(), access).expect("remapped");
    if access == Access::ReadOnly {
        remapped.allow_writing().expect("unprotected");
    }
    let at = range.start + 3 * PAGE + 17 - block.as_ptr() as usize;
    let (old, neighbour) = (block[at], block[at + 1]);
    block[at] = !old;
    assert_eq!((block[at], block[at + 1]), (!old, neighbour));
    remapped.page_out().expect("advised");
    assert_eq!((block[at], block[at + 1]), (!old, neighbour), "what was written stays");
    let resident = remapped.resident().expect("smaps");
    assert!((1..=PAGE as u64).contains(&resident.anonymous), "one page became private: {resident:?}");
}

#[test]
fn addresses_that_are_not_whole_pages_of_private_memory_are_refused() {
    let (block, range) = block();
    let dir = folder();
    let odd = range.start + 1..range.end;
    assert!(matches!(remap_to_file(odd, dir.path(), Access::ReadWrite), Err(Error::NotPrivate { .. })));
    let beyond = range.start..range.end + (1 << 40);
    assert!(matches!(remap_to_file(beyond, dir.path(), Access::ReadWrite), Err(Error::NotPrivate { .. })));
    drop(block);
}

#[test]
fn a_file_system_in_memory_is_refused_and_the_memory_stays_as_it_is() {
    let shm = Path::new("/dev/shm");
    if !disk::is_in_memory(shm).unwrap_or_default() {
        eprintln!("SKIPPED: /dev/shm is no tmpfs here");
        return;
    }
    let (mut block, range) = block();
    let error = remap_to_file(range.clone(), shm, Access::ReadWrite).expect_err("it would be memory");
    assert!(matches!(error, Error::Disk(disk::Error::InMemory { .. })), "{error}");
    block[PAGE] = 1;
    assert!(Resident::of(&range).expect("smaps").anonymous >= range.len() as u64);
}

/// Moves one window as [`remap_to_file`] does, with a kernel that fails.
fn move_first_window(range: &Range<usize>, dir: &Path, move_mapping: MoveMapping) -> io::Result<()> {
    let file = disk::reserved_file(dir, range.len() as u64).expect("a file");
    let memory = File::open("/proc/self/mem").expect("this process's memory");
    move_window(&memory, &file, range, &(range.start..range.start + WINDOW), Access::ReadWrite, move_mapping)
}

/// What the kernel does when it finds no memory for page tables after it took the old pages away.
fn take_away(_staged: *mut c_void, window: &Range<usize>) -> io::Result<()> {
    // SAFETY: memory of the test's own block, which is read only after it was mapped again.
    unsafe { rustix::mm::munmap(window.start as *mut _, window.len()) }.expect("unmapped");
    Err(io::Error::from_raw_os_error(rustix::io::Errno::NOMEM.raw_os_error()))
}

#[test]
fn a_hole_that_the_kernel_left_is_filled_with_the_bytes_that_were_there() {
    let (mut block, range) = block();
    let copy = block.clone();
    let dir = folder();
    move_first_window(&range, dir.path(), take_away).expect("put back");
    assert!(block == copy, "the bytes are the same");
    let at = range.start - block.as_ptr() as usize;
    block[at] = !block[at];
    assert_eq!(block[at], !copy[at], "and can be written");
}

#[test]
fn a_move_that_fails_before_anything_was_taken_away_leaves_the_memory_as_it_is() {
    fn refuse(_: *mut c_void, _: &Range<usize>) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(rustix::io::Errno::NOMEM.raw_os_error()))
    }
    let (block, range) = block();
    let copy = block.clone();
    let dir = folder();
    let error = move_first_window(&range, dir.path(), refuse).expect_err("refused");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOMEM.raw_os_error()));
    assert!(block == copy);
    // As `remap_to_file` does after a failure.
    protect(&range, MprotectFlags::READ | MprotectFlags::WRITE).expect("writable again");
    assert!(PrivateMappings::now().expect("maps").holds(&range), "it is private memory of no file, as before");
}

/// The last part of the test below, in a separate process.
const HOLED: &str = "VLA_TRT_TEST_LEAVES_A_HOLE";

#[test]
fn a_hole_that_cannot_be_filled_ends_the_process_with_the_reason() {
    /// Takes the window away, and another thread's mapping takes its place.
    fn take_away_for_good(staged: *mut c_void, window: &Range<usize>) -> io::Result<()> {
        let error = take_away(staged, window);
        let (place, protection) = (window.start as *mut _, ProtFlags::READ);
        // SAFETY: nothing is mapped there any more, and nothing reads it.
        unsafe { rustix::mm::mmap_anonymous(place, PAGE, protection, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE) }
            .expect("mapped");
        error
    }
    if std::env::var_os(HOLED).is_some() {
        let (_block, range) = block();
        let dir = folder();
        let ended = move_first_window(&range, dir.path(), take_away_for_good);
        eprintln!("went on: {ended:?}");
        std::process::exit(0);
    }
    let name = "sys::remap::tests::a_hole_that_cannot_be_filled_ends_the_process_with_the_reason";
    let own = std::env::current_exe().expect("this program");
    let output = Command::new(own).args([name, "--exact", "--test-threads", "1"]).env(HOLED, "1").output();
    let output = output.expect("it ran");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(HOLE)), "{text}");
    assert!(text.contains("cannot go on and ends") && text.contains("memory.release_host_copy"), "{text}");
}

#[test]
fn memory_that_its_owner_freed_is_not_touched_any_more() {
    let (block, range) = block();
    let dir = folder();
    let remapped = remap_to_file(range.clone(), dir.path(), Access::ReadOnly).expect("remapped");
    remapped.allow_writing().expect("still there");
    drop(block);
    for refused in [remapped.page_out(), remapped.allow_writing()] {
        let error = refused.expect_err("freed");
        let found = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert!(matches!(found, Some(Error::Freed { .. })), "{error}");
    }
    // Also where something else lies there by now.
    let (place, protection) = (range.start as *mut _, ProtFlags::READ);
    // SAFETY: nothing else is mapped there (`FIXED_NOREPLACE`).
    let other = unsafe {
        rustix::mm::mmap_anonymous(place, range.len(), protection, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE)
    };
    if other.is_ok() {
        remapped.allow_writing().expect_err("another's memory");
        // SAFETY: the mapping made above.
        unsafe { rustix::mm::munmap(place, range.len()) }.expect("unmapped");
    }
}

/// The last part of the test below, in a separate process.
const WRITER: &str = "VLA_TRT_TEST_WRITES_TO_REMAPPED_MEMORY";

#[test]
fn a_write_before_it_is_allowed_ends_the_process() {
    if std::env::var_os(WRITER).is_some() {
        let (mut block, range) = block();
        let dir = folder();
        remap_to_file(range.clone(), dir.path(), Access::ReadOnly).expect("remapped");
        let at = range.start - block.as_ptr() as usize;
        block[at] = 1;
        std::process::exit(0);
    }
    let name = "sys::remap::tests::a_write_before_it_is_allowed_ends_the_process";
    let own = std::env::current_exe().expect("this program");
    let status = Command::new(own).args([name, "--exact", "--test-threads", "1"]).env(WRITER, "1").output();
    let status = status.expect("it ran").status;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(signal_hook::consts::SIGSEGV), "{status}");
}
