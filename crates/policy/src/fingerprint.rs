//! One hash over a bundle's files.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use vla_engines::provenance::hash;

/// A file of the bundle cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FingerprintError {
    /// The file.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

/// `sha256:<hex>` over `files` of `dir`: the SHA-256 of the lines `name NUL sha256-of-content-in-hex LF`, sorted by
/// name. A network's weights file, `<name>.onnx.data`, counts along with `<name>.onnx` where it is there.
///
/// # Errors
/// [`FingerprintError`] with the file that cannot be read.
pub fn fingerprint(dir: &Path, files: &[&str]) -> Result<String, FingerprintError> {
    let mut names: Vec<String> = files.iter().map(|name| (*name).to_owned()).collect();
    let weights = files.iter().filter(|name| name.ends_with(".onnx")).map(|name| format!("{name}.data"));
    names.extend(weights.filter(|name| dir.join(name).is_file()));
    names.sort();
    names.dedup();
    let mut lines = Sha256::new();
    for name in names {
        lines.update(name.as_bytes());
        lines.update([0]);
        let path = dir.join(&name);
        let content = hash::file_sha256(&path).map_err(|source| FingerprintError { path, source })?;
        lines.update(content.as_bytes());
        lines.update(b"\n");
    }
    Ok(format!("sha256:{}", hash::hex(&lines.finalize())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use vla_engines::provenance::hash::hex;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("scratch");
        fs::write(dir.path().join("b.onnx"), "model").expect("write");
        fs::write(dir.path().join("a.json"), "{}").expect("write");
        dir
    }

    #[test]
    fn the_value_is_the_documented_one() {
        // printf '%s' 'model' | sha256sum, and so on; then sha256sum of the two lines.
        let dir = folder();
        let line = |name: &str, content: &str| format!("{name}\0{}\n", hex(&Sha256::digest(content)));
        let expected = hex(&Sha256::digest(line("a.json", "{}") + &line("b.onnx", "model")));
        assert_eq!(fingerprint(dir.path(), &["b.onnx", "a.json"]).expect("reads"), format!("sha256:{expected}"));
    }

    #[test]
    fn order_does_not_matter_but_content_names_and_weights_do() {
        let dir = folder();
        let base = fingerprint(dir.path(), &["a.json", "b.onnx"]).expect("reads");
        assert_eq!(base, fingerprint(dir.path(), &["b.onnx", "a.json", "a.json"]).expect("reads"));
        fs::write(dir.path().join("b.onnx.data"), "weights").expect("write");
        let with_weights = fingerprint(dir.path(), &["a.json", "b.onnx"]).expect("reads");
        assert_ne!(base, with_weights);
        fs::write(dir.path().join("b.onnx.data"), "Weights").expect("write");
        assert_ne!(with_weights, fingerprint(dir.path(), &["a.json", "b.onnx"]).expect("reads"));
        let missing = fingerprint(dir.path(), &["c.json"]).expect_err("no such file");
        assert!(missing.path.ends_with("c.json"));
    }
}
