//! Recognises checkpoints of other trainers and git-lfs pointers before any file is read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::Error;

mod lerobot;

/// First bytes of a git-lfs pointer, and the most bytes that one has.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const POINTER_BYTES: u64 = 1024;

/// Refuses a checkpoint of another trainer, and files whose content git-lfs has not fetched. `folders`: the checkpoint first.
///
/// # Errors
/// [`Error::LeRobot`], [`Error::Pointers`] with every such file.
pub fn check(folders: &[&Path]) -> Result<(), Error> {
    let pointers: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files(folder)).filter(|file| is_pointer(file)).collect();
    if !pointers.is_empty() {
        return Err(Error::Pointers { files: pointers });
    }
    let Some(checkpoint) = folders.first() else { return Ok(()) };
    lerobot::check(checkpoint)
}

/// The folder's files, or the file itself.
fn files(place: &Path) -> Vec<PathBuf> {
    match fs::read_dir(place) {
        Ok(entries) => {
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            files
        }
        Err(_) => vec![place.to_path_buf()],
    }
}

fn is_pointer(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() <= POINTER_BYTES)
        && read(file, POINTER_BYTES).is_some_and(|bytes| bytes.starts_with(POINTER))
}

fn read(file: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
