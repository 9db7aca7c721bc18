//! One hash over a bundle's files.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};

use vla_engines::provenance::hash;

/// Files hashed at a time: a processor and 1 MiB for each.
const THREADS: usize = 4;

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
/// [`FingerprintError`] with the first file, by name, that cannot be read.
pub fn fingerprint(dir: &Path, files: &[&str]) -> Result<String, FingerprintError> {
    let mut names: Vec<String> = files.iter().map(|name| (*name).to_owned()).collect();
    let weights = files.iter().filter(|name| name.ends_with(".onnx")).map(|name| format!("{name}.data"));
    names.extend(weights.filter(|name| dir.join(name).is_file()));
    names.sort();
    names.dedup();
    let paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    let mut lines = Sha256::new();
    for (name, content) in names.iter().zip(contents(&paths)?) {
        lines.update(name.as_bytes());
        lines.update([0]);
        lines.update(content.as_bytes());
        lines.update(b"\n");
    }
    Ok(format!("sha256:{}", hash::hex(&lines.finalize())))
}

/// The SHA-256 of each file, or the error of the first that cannot be read. Several are read at a time.
fn contents(paths: &[PathBuf]) -> Result<Vec<String>, FingerprintError> {
    // The largest first: begun last, it would be read alone in the end. One that cannot be read fails at once.
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_cached_key(|file| Reverse(paths[*file].metadata().map_or(u64::MAX, |meta| meta.len())));
    let slots: Vec<_> = paths.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(usize::MAX);
    let work = || {
        while let Some(&file) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Only the error of the first counts.
            if file > failed.load(Ordering::Relaxed) {
                continue;
            }
            let hashed = hash::file_sha256(&paths[file]);
            if hashed.is_err() {
                failed.fetch_min(file, Ordering::Relaxed);
            }
            *slots[file].lock().unwrap_or_else(PoisonError::into_inner) = Some(hashed);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(paths.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            let begun = thread::Builder::new().name("vla-fingerprint".into()).spawn_scoped(scope, work);
            if let Err(error) = begun {
                // This thread then reads all that no other does.
                tracing::debug!(%error, "no thread to read the policy's files");
            }
        }
        work();
    });
    // Files that were left out are behind the one that failed.
    let hashed = slots.into_iter().map_while(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    let named = paths.iter().zip(hashed);
    named.map(|(path, hashed)| hashed.map_err(|source| FingerprintError { path: path.clone(), source })).collect()
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

    #[test]
    fn many_files_of_all_sizes_count_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().expect("scratch");
        let files: Vec<(String, Vec<u8>)> =
            (0..23_u8).map(|i| (format!("{:02}", i * 7 % 23), vec![i; usize::from(i) * 100_000])).collect();
        let mut lines = std::collections::BTreeMap::new();
        for (name, content) in &files {
            fs::write(dir.path().join(name), content).expect("write");
            lines.insert(name, format!("{name}\0{}\n", hex(&Sha256::digest(content))));
        }
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let expected = hex(&Sha256::digest(lines.into_values().collect::<String>()));
        assert_eq!(fingerprint(dir.path(), &names).expect("reads"), format!("sha256:{expected}"));
    }

    #[test]
    fn the_first_file_by_name_that_cannot_be_read_is_named() {
        let dir = folder();
        fs::create_dir(dir.path().join("d")).expect("a folder");
        for _ in 0..20 {
            let error = fingerprint(dir.path(), &["e.json", "d", "b.onnx", "f.json", "a.json"]).expect_err("a folder");
            assert!(error.path.ends_with("d"), "{error}");
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
