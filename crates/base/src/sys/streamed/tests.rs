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
    assert!(streamed.dropped >= BEHIND, "nothing was looked at: {}", streamed.dropped);
}

/// For each page of a file whether it is in the page cache.
fn cached(path: &Path) -> Vec<bool> {
    let file = File::open(path).expect("opened");
    // SAFETY: the test's own file, which is not truncated.
    let map = unsafe { Mmap::map(&file) }.expect("mapped");
    let mut pages = vec![0u8; map.len().div_ceil(page_size())];
    // SAFETY: a mapping of that length, and a byte for each of its pages.
    assert_eq!(unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) }, 0);
    pages.into_iter().map(|page| page & 1 == 1).collect()
}

fn page_size() -> usize {
    // SAFETY: a query without preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a size")
}

fn count(pages: &[bool]) -> usize {
    pages.iter().filter(|page| **page).count()
}

fn folder_on_a_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").expect("a folder on a disk")
}

/// A file of several pieces that is on the disk and not in the page cache, or `None` where the file system keeps it in memory.
fn absent_file(dir: &Path) -> Option<std::path::PathBuf> {
    let path = dir.join("weights");
    std::fs::write(&path, vec![7; BYTES]).expect("written");
    evict_from_page_cache(&path).expect("evicted");
    let pages = cached(&path);
    let reported = count(&pages) <= pages.len() / 8;
    if !reported {
        eprintln!("skipped: the file system of {} does not let files leave the page cache", dir.display());
    }
    reported.then_some(path)
}

/// More than is read between two evictions, and no whole number of pages.
const BYTES: usize = 2 * BEHIND as usize + 1234;

/// Reads the whole file.
fn stream(path: &Path) {
    let mut file = StreamedFile::open(path).expect("opened");
    let (mut piece, mut done) = (vec![0; 1 << 20], 0);
    loop {
        match file.read_at(&mut piece, done).expect("read") {
            0 => break,
            read => done += read as u64,
        }
    }
    assert_eq!(done, file.size());
}

#[test]
fn pages_that_were_in_the_page_cache_stay() {
    let dir = folder_on_a_disk();
    let Some(path) = absent_file(dir.path()) else { return };
    std::fs::read(&path).expect("read");
    let pages = cached(&path);
    let before = count(&pages);
    assert!(before >= pages.len() / 2, "{before} of {} pages were read into the page cache", pages.len());
    stream(&path);
    let after = count(&cached(&path));
    assert!(after >= before / 8 * 7, "{after} of {before} pages stay");
}

#[test]
fn pages_that_were_not_in_the_page_cache_leave_it() {
    let dir = folder_on_a_disk();
    let Some(path) = absent_file(dir.path()) else { return };
    let mut file = StreamedFile::open(&path).expect("opened");
    let mut piece = vec![0; BEHIND as usize];
    assert_eq!(file.read_at(&mut piece, 0).expect("read"), piece.len());
    let behind = cached(&path);
    let behind = &behind[..piece.len() / page_size()];
    assert!(count(behind) <= behind.len() / 8, "{} of {} pages stay behind the reader", count(behind), behind.len());
    drop(file);
    stream(&path);
    let pages = cached(&path);
    assert!(count(&pages) <= pages.len() / 8, "{} of {} pages stay", count(&pages), pages.len());
}

#[test]
fn of_a_file_that_is_partly_in_the_page_cache_these_parts_stay() {
    let dir = folder_on_a_disk();
    let Some(path) = absent_file(dir.path()) else { return };
    let file = File::open(&path).expect("opened");
    // No pages beside those that are read.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).expect("advised");
    let mut piece = vec![0; 4 << 20];
    for offset in [8 << 20, BEHIND - (1 << 20), BYTES as u64 - (2 << 20)] {
        assert!(file.read_at(&mut piece, offset).expect("read") > 0);
    }
    let before = cached(&path);
    let there = count(&before);
    assert!(there > 0 && there < before.len() / 2, "{there} of {} pages", before.len());
    stream(&path);
    let after = cached(&path);
    let kept = before.iter().zip(&after).filter(|(before, after)| **before && **after).count();
    assert!(kept >= there / 8 * 7, "{kept} of {there} pages stay");
    let new = count(&after) - kept;
    assert!(new <= before.len() / 8, "{new} pages are new");
}

#[test]
fn all_pages_leave_where_the_system_does_not_say_which_were_there() {
    // Everyone may read it, and only root owns and may write it.
    let foreign = Path::new("/etc/passwd");
    let found = std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            // SAFETY: the system call changes the effective user of this thread alone, which ends after the test.
            if unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) } != 0 {
                eprintln!("skipped: root here cannot become another user: {}", io::Error::last_os_error());
                return None;
            }
        }
        Some(StreamedFile::open(foreign).expect("opened").absent.clone())
    });
    let Some(absent) = found.join().expect("no panic") else { return };
    assert_eq!(absent, [Range { start: 0, end: END }]);
}

#[test]
fn a_file_that_was_just_written_leaves_the_page_cache() {
    let dir = folder_on_a_disk();
    let path = dir.path().join("bundle");
    std::fs::write(&path, vec![7; 24 << 20]).expect("written");
    let pages = cached(&path);
    assert!(count(&pages) >= pages.len() / 2, "{} of {}", count(&pages), pages.len());
    evict_from_page_cache(&path).expect("dropped");
    let pages = cached(&path);
    assert!(count(&pages) <= pages.len() / 8, "{} of {} pages stay", count(&pages), pages.len());
}

#[test]
fn a_folder_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(StreamedFile::open(dir.path()).err().expect("a folder").kind(), io::ErrorKind::InvalidInput);
}
