//! What neither the compiler nor clippy checks of our sources.

mod messages;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the packages: the crates, and the node at the root.
fn packages() -> Vec<PathBuf> {
    let crates = fs::read_dir(vla_trt_tests::root().join("crates")).expect("the crates");
    let mut packages: Vec<PathBuf> = crates.map(|entry| entry.expect("an entry").path()).collect();
    packages.push(vla_trt_tests::root().to_owned());
    packages.sort();
    packages
}

/// The Rust files under the folder `src` of a package, in a stable order.
fn sources(package: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&package.join("src"), &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A path as reports name it: from the repository on.
fn shown(path: &Path) -> String {
    path.strip_prefix(vla_trt_tests::root()).unwrap_or(path).display().to_string()
}
