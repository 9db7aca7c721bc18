//! Length of files, and where files may be written.

use std::fs;

use super::{packages, shown, sources};

const LONGEST: usize = 500;

/// What makes or replaces a file.
const WRITES: &[&str] = &["File::create", "fs::write", "fs::rename", "fs::copy", "NamedTempFile"];
/// Where that is right: the one writer of outputs, and files inside a folder that is temporary until it is complete.
const MAY_WRITE: &[&str] =
    &["crates/base/src/sys/fs", "crates/base/src/sys/private", "crates/export/src", "crates/engines/src/onnx/inner.rs"];

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let lines = |file: &std::path::Path| fs::read_to_string(file).expect("a file").lines().count();
    let long: Vec<String> = packages()
        .iter()
        .flat_map(|package| sources(package))
        .filter(|file| lines(file) > LONGEST)
        .map(|file| format!("{}: {} lines", shown(&file), lines(&file)))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_output_goes_through_one_temporary_file_and_rename() {
    let mut breaches = Vec::new();
    for file in packages().iter().flat_map(|package| sources(package)) {
        let name = shown(&file);
        if MAY_WRITE.iter().any(|place| name.starts_with(place))
            || name.ends_with("tests.rs")
            || name.contains("/tests/")
        {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a file");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = lines.filter(|line| WRITES.iter().any(|word| line.contains(word)));
        breaches.extend(found.map(|line| format!("{name}: {}; write through vla_base::sys::fs", line.trim())));
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
