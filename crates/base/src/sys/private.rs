//! Private copies of files.
//!
//! A process that maps a file sees later writes to it, and gets `SIGBUS` when the file is truncated. Files whose content
//! must stay as loaded are therefore copied first: small files into memory, large ones into an unnamed file ([`read`]),
//! or, for a library that opens files by path, into a folder that is removed once the library has them open
//! ([`PrivateFolder`]). The kernel can evict and reload the pages of a large copy, so it costs disk space, not memory.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::disk;
use super::map::map_unnamed;
use super::streamed::{END, StreamedFile, evict};

/// Files up to this size are copied into memory.
const IN_MEMORY: u64 = 16 << 20;
/// Bytes copied at a time.
const PIECE: usize = 4 << 20;
/// Start of the name of a [`PrivateFolder`]; the process id follows.
const PREFIX: &str = ".vla_trt-weights-";

/// Copies the whole content of a regular file. Later changes of the file do not reach the copy.
///
/// # Errors
/// Errors of reading; [`io::ErrorKind::InvalidInput`] when `path` is a folder, pipe or device;
/// [`io::ErrorKind::UnexpectedEof`] when the file is truncated meanwhile.
pub fn read(path: &Path) -> io::Result<Bytes> {
    let mut file = StreamedFile::open(path)?;
    if file.size() > IN_MEMORY {
        match unnamed_beside(path, file.size()) {
            Ok(copy) => return copy_into(&mut file, &copy),
            Err(reasons) => tracing::warn!(
                "the private copy of {} takes {} MiB of memory, because no disk has room for it: {reasons}",
                path.display(),
                file.size() >> 20
            ),
        }
    }
    let mut bytes = vec![0; usize::try_from(file.size()).map_err(io::Error::other)?];
    match file.read_at(&mut bytes, 0)? {
        read if read == bytes.len() => Ok(bytes.into()),
        _ => Err(truncated()),
    }
}

fn copy_into(file: &mut StreamedFile, copy: &File) -> io::Result<Bytes> {
    let (mut piece, mut done) = (vec![0; PIECE], 0);
    while done < file.size() {
        let read = file.read_at(&mut piece, done)?;
        // At most the size at opening, for which the copy has room.
        let wanted = usize::try_from(file.size() - done).unwrap_or(usize::MAX).min(read);
        if wanted == 0 {
            return Err(truncated());
        }
        copy.write_all_at(&piece[..wanted], done)?;
        done += wanted as u64;
    }
    map_unnamed(copy)
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file was truncated while it was read")
}

/// Folders for a copy, best first: beside the original is on the same disk.
fn candidate_folders(original: &Path) -> [PathBuf; 3] {
    let beside = original.parent().unwrap_or(Path::new("")).to_owned();
    [beside, "/var/tmp".into(), std::env::temp_dir()]
}

/// The result in the first folder where `make` succeeds; otherwise all reasons.
fn first<T>(folders: &[PathBuf], mut make: impl FnMut(&Path) -> Result<T, String>) -> Result<T, String> {
    let mut reasons: Vec<String> = Vec::new();
    for folder in folders {
        match make(folder) {
            Ok(made) => return Ok(made),
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join("; "))
}

fn unnamed_beside(original: &Path, bytes: u64) -> Result<File, String> {
    first(&candidate_folders(original), |folder| disk::reserved_file(folder, bytes).map_err(|error| error.to_string()))
}

/// Copies of files under their own names, in a private folder, removed on drop. Drop it as soon as the library that needs
/// the paths has the files open; its mappings stay valid.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    root: PathBuf,
    /// Locked as long as the process lives, so that no other process removes the folder.
    _lock: File,
}

impl PrivateFolder {
    /// Copies `files`, all of them below `root`. Removes folders that a killed process left in the same place.
    ///
    /// # Errors
    /// A file that cannot be read; no disk with room for the copy, with the reason for each.
    pub fn copy(root: &Path, files: &[PathBuf]) -> io::Result<Self> {
        let sizes = files.iter().map(|file| fs::metadata(file).map_err(of(file)).map(|meta| meta.len()));
        let bytes = sizes.sum::<io::Result<u64>>()?;
        let near = files.first().map_or(root, PathBuf::as_path);
        let made = first(&candidate_folders(near), |place| {
            disk::require_room(place, bytes).map_err(|error| error.to_string())?;
            Self::make(place, root).map_err(|error| format!("{}: {error}", place.display()))
        });
        let folder = made.or_else(|reasons| {
            let place = std::env::temp_dir();
            // Small copies may also take memory.
            match Some(&place).filter(|_| bytes <= IN_MEMORY).map(|place| Self::make(place, root)) {
                Some(Ok(folder)) => Ok(folder),
                _ => Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!(
                        "no disk has room for a private copy of {:.1} MiB of weights: {reasons}; free some space, or set \
                         TMPDIR to a folder on a disk",
                        bytes as f64 / 1_048_576.0
                    ),
                )),
            }
        })?;
        for file in files {
            let copy = folder.file(file);
            if let Some(parent) = copy.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(file, &copy).map_err(of(file))?;
            if let Ok(original) = File::open(file) {
                evict(&original, 0..END);
            }
        }
        Ok(folder)
    }

    fn make(place: &Path, root: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        clear(place);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = if place.as_os_str().is_empty() { Path::new(".") } else { place }.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { path, root: root.to_owned(), _lock: lock })
    }

    /// Where the copy of `original` is.
    pub fn file(&self, original: &Path) -> PathBuf {
        self.path.join(original.strip_prefix(&self.root).unwrap_or(original))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove the private copy of weights {}: {error}", self.path.display());
        }
    }
}

fn of(file: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

/// Removes the folders of processes that have ended.
fn clear(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.filter(|owner| owner.parse::<u32>().is_ok()) else { continue };
        // A process of another container has another id here, and holds its lock.
        let ended = !Path::new("/proc").join(owner).exists();
        if ended && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            tracing::info!("removing {}, left by a process that was killed", entry.path().display());
            fs::remove_dir_all(entry.path()).unwrap_or_else(|error| tracing::debug!(%error, "not removed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/../../target").expect("a folder on a disk")
    }

    /// A file of this size, no two pages of which are alike.
    fn file(dir: &Path, bytes: usize) -> (PathBuf, Vec<u8>) {
        let content: Vec<u8> = (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let path = dir.join("weights");
        fs::write(&path, &content).expect("written");
        (path, content)
    }

    #[test]
    fn a_copy_keeps_its_bytes_when_its_file_is_overwritten_and_truncated() {
        for bytes in [1000, IN_MEMORY as usize + 3 * PIECE / 2] {
            let dir = folder();
            let (path, content) = file(dir.path(), bytes);
            let copy = read(&path).expect("copied");
            assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "a copy has no name");
            let original = File::options().write(true).open(&path).expect("opened");
            original.write_all_at(&vec![0; bytes], 0).expect("overwritten");
            assert!(copy == content, "the bytes are those of before");
            original.set_len(0).expect("cut short");
            assert!(copy == content, "and can all be read");
        }
    }

    #[test]
    fn a_large_copy_is_no_anonymous_memory() {
        let dir = folder();
        let (path, _) = file(dir.path(), 3 * IN_MEMORY as usize);
        let copy = read(&path).expect("copied");
        let range = copy.as_ptr() as usize..copy.as_ptr() as usize + copy.len();
        assert!(copy.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0, "every page is touched");
        let resident = crate::sys::mappings::Resident::of(&range).expect("smaps");
        assert!(resident.touched >= IN_MEMORY && resident.anonymous == 0, "{resident:?}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let dir = folder();
        assert_eq!(read(dir.path()).expect_err("a folder").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(&dir.path().join("none")).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_of_copies_has_their_names_and_goes_with_its_handle() {
        let dir = folder();
        let (weights, content) = file(dir.path(), 5000);
        fs::create_dir(dir.path().join("below")).expect("a folder");
        let below = dir.path().join("below/b");
        fs::write(&below, "b").expect("written");
        let copies = PrivateFolder::copy(dir.path(), &[weights.clone(), below.clone()]).expect("copied");
        let at = copies.file(&weights);
        assert!(at != weights && at.file_name() == weights.file_name(), "{}", at.display());
        assert_eq!(fs::metadata(at.parent().expect("a folder")).expect("there").permissions().mode() & 0o777, 0o700);
        fs::write(&weights, "other").expect("overwritten");
        assert!(fs::read(&at).expect("read") == content);
        assert_eq!(fs::read(copies.file(&below)).expect("read"), b"b");
        drop(copies);
        assert!(!at.exists(), "nothing stays behind");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
    }

    #[test]
    fn what_a_killed_process_left_behind_is_removed_and_what_a_live_one_has_is_not() {
        let dir = folder();
        let (weights, _) = file(dir.path(), 100);
        // No process has the greatest number.
        let left = dir.path().join(format!("{PREFIX}{}-0", u32::MAX));
        fs::create_dir(&left).expect("a folder");
        fs::write(left.join("weights"), "x").expect("written");
        let mine = PrivateFolder::copy(dir.path(), std::slice::from_ref(&weights)).expect("copied");
        assert!(!left.exists());
        let second = PrivateFolder::copy(dir.path(), std::slice::from_ref(&weights)).expect("copied");
        assert!(mine.file(&weights).exists() && second.file(&weights).exists());
    }
}
