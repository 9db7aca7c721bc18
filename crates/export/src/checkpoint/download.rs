//! Checkpoints whose download was cut off: which files say so, and what finishes it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Endings of the files that a download has not finished: huggingface_hub, browsers, wget and aria2.
const UNFINISHED: [&str; 5] = ["incomplete", "crdownload", "part", "download", "aria2"];
/// Where huggingface_hub keeps them: in a folder of `--local-dir`, and beside the snapshots of its cache.
const PLACES: [&str; 3] = ["", ".cache/huggingface/download", "../../blobs"];

/// Why weights of the checkpoint in `dir` are missing.
pub(super) fn missing(dir: &Path, missing: Vec<String>, total: usize) -> Error {
    let unfinished = unfinished(dir);
    if unfinished.is_empty() || missing.is_empty() {
        return Error::MissingShards { dir: dir.to_owned(), missing, total };
    }
    Error::Unfinished { dir: dir.to_owned(), missing, total, unfinished }
}

/// Files of a download that has not ended.
fn unfinished(dir: &Path) -> Vec<PathBuf> {
    let folders = PLACES.iter().map(|place| dir.join(place));
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let is_unfinished = |path: &PathBuf| {
        path.is_file() && path.extension().is_some_and(|ending| UNFINISHED.iter().any(|known| ending == *known))
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_unfinished).collect();
    files.sort();
    files
}
