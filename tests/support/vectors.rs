//! What the vendor's own code computed: JSON files of `shared/oracle` (N1.6) and `shared/oracle_n1d7`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of N1.6's, or `None` after saying so.
pub fn oracle() -> Option<PathBuf> {
    folder("oracle")
}

/// The folder of N1.7's, or `None` after saying so.
pub fn oracle_n1d7() -> Option<PathBuf> {
    folder("oracle_n1d7")
}

fn folder(name: &str) -> Option<PathBuf> {
    let oracle = crate::shared().join(name);
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
