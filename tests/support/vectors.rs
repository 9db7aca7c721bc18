//! What the vendor's own code computed: JSON files of `shared/oracle`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The oracle's folder, or `None` after saying so.
pub fn oracle() -> Option<PathBuf> {
    let shared = crate::shared();
    let oracle = shared.join("oracle");
    if oracle.is_dir() {
        return Some(oracle);
    }
    eprintln!("SKIPPED: no oracle at {}; set VLA_TRT_SHARED to the folder that holds it", oracle.display());
    None
}

/// A JSON file of them.
pub fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
