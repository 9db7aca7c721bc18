//! Data sets that LeRobot wrote, read as LeRobot's own loader reads them; and damaged ones.

mod bad;
mod fuzz;
mod golden;

use std::fs;
use std::path::{Path, PathBuf};

/// A data set of tests/data/lerobot.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/lerobot").join(name)
}

/// A copy that a test may change; goes with the returned value.
fn copy(name: &str) -> tempfile::TempDir {
    let target = tempfile::tempdir().expect("a folder");
    copy_into(&fixture(name), target.path());
    target
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the fixture") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

/// Replaces text in a file of a data set.
fn edit(dataset: &Path, file: &str, from: &str, to: &str) {
    let path = dataset.join(file);
    let text = fs::read_to_string(&path).expect("the file");
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replace(from, to)).expect("written");
}
