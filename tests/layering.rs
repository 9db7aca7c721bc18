//! Reads the sources and holds ARCHITECTURE.md's rule: who may call whom, and where foreign crates may appear.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may name with `crate::`.
const MAY_CALL: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("tensor", &[]),
    ("sys", &[]),
    ("message", &["time", "tensor"]),
    ("bag", &["message", "time", "sys"]),
    ("observation", &["message", "time", "tensor"]),
    ("onnx", &["tensor", "sys"]),
    ("engine", &["onnx", "tensor", "time", "sys"]),
    ("npz", &["tensor", "sys"]),
    ("calibration", &["npz", "tensor"]),
    ("chunk", &["message", "time", "tensor"]),
    ("policy", &["observation", "engine", "chunk", "message", "tensor", "time", "sys"]),
    ("parameters", &["policy", "observation", "chunk", "engine", "time"]),
    ("session", &["parameters", "policy", "observation", "chunk", "message", "engine", "time"]),
    (
        "replay",
        &[
            "session",
            "parameters",
            "policy",
            "observation",
            "engine",
            "chunk",
            "bag",
            "message",
            "tensor",
            "time",
            "sys",
        ],
    ),
    ("infer", &["policy", "observation", "engine", "message", "npz", "tensor"]),
    ("builder", &["calibration", "engine", "onnx", "tensor", "sys", "time"]),
    ("doctor", &["policy", "engine", "onnx"]),
    ("prepare", &["doctor", "engine", "sys"]),
    ("inspect", &["doctor", "engine", "onnx", "tensor"]),
    ("export", &["policy", "tensor", "engine", "onnx", "time", "sys"]),
    ("absmax", &["export", "recorded", "parameters", "policy", "engine", "tensor"]),
    ("recorded", &["replay", "session", "parameters", "policy", "observation", "engine", "bag", "tensor", "time"]),
    ("calibrate", &["verify", "engine", "npz", "onnx", "tensor"]),
    (
        "verify",
        &["recorded", "replay", "session", "parameters", "policy", "observation", "engine", "onnx", "tensor", "time"],
    ),
    ("ros", &["session", "parameters", "policy", "observation", "engine", "chunk", "message", "tensor", "time", "sys"]),
    (
        "cli",
        &[
            "builder",
            "calibrate",
            "npz",
            "doctor",
            "prepare",
            "inspect",
            "onnx",
            "absmax",
            "verify",
            "replay",
            "infer",
            "export",
            "session",
            "parameters",
            "policy",
            "observation",
            "engine",
            "onnx",
            "chunk",
            "bag",
            "message",
            "tensor",
            "time",
            "sys",
        ],
    ),
];

/// A word and the only paths (prefixes under `src/`) where it may stand.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("r2r::", &["ros"]),
    ("ort::", &["engine/onnx"]),
    ("cudarc::", &["engine/tensorrt"]),
    ("unsafe", &["sys", "engine/tensorrt"]),
    ("anyhow", &["cli", "bin/", "ros"]),
    ("println!", &["cli"]),
];

struct Source {
    /// Path under `src/`, with forward slashes.
    path: String,
    /// Code without line comments.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a source file");
            let code =
                text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
            let path = file.strip_prefix(&root).expect("under src").to_string_lossy().replace('\\', "/");
            Source { path, code }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Rooms named as `crate::room`, also inside `crate::{a::B, c}`.
fn rooms_called(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut in_path) = (0usize, false);
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        rooms.insert(std::mem::take(&mut word));
                        in_path = false;
                    }
                    ':' => in_path = true,
                    c if depth == 0 && !in_path && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ => {}
                }
            }
            rooms.extend((!word.is_empty()).then_some(word));
        } else {
            rooms.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

fn word_stands_in(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joined(before) && (word.ends_with([':', '!']) || !joined(after))
    })
}

#[test]
fn no_room_calls_a_room_above_it() {
    let known: BTreeSet<&str> = MAY_CALL.iter().map(|(room, _)| *room).collect();
    let mut breaches = Vec::new();
    for source in sources() {
        let Some((room, allowed)) = MAY_CALL.iter().find(|(room, _)| *room == source.room()) else { continue };
        for called in rooms_called(&source.code) {
            if known.contains(called.as_str()) && called != *room && !allowed.contains(&called.as_str()) {
                breaches.push(format!("src/{} calls crate::{called}; {room} may call {allowed:?}", source.path));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn every_room_has_its_row() {
    let rows: BTreeSet<&str> = MAY_CALL.iter().map(|(room, _)| *room).chain(["lib", "bin"]).collect();
    let missing: BTreeSet<String> =
        sources().iter().map(|source| source.room().to_owned()).filter(|room| !rows.contains(room.as_str())).collect();
    assert!(missing.is_empty(), "rooms without a row in MAY_CALL and ARCHITECTURE.md: {missing:?}");
}

#[test]
fn foreign_crates_and_unsafe_stay_in_their_rooms() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (word, places) in ONLY_IN {
            if word_stands_in(&source.code, word) && !places.iter().any(|place| source.path.starts_with(place)) {
                breaches.push(format!("src/{}: '{word}' may stand only in {places:?}", source.path));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// What makes or replaces a file, and the only paths where it may stand beside `sys/fs`: files inside a folder that is
/// itself temporary until it is whole.
const WRITES: &[&str] = &["File::create", "fs::write", "fs::rename", "fs::copy", "NamedTempFile"];
const WRITES_INSIDE_A_SCRATCH_FOLDER: &[&str] = &["sys/fs", "sys/private.rs", "export", "onnx/inner.rs"];

#[test]
fn every_output_goes_through_one_temporary_file_and_rename() {
    let mut breaches = Vec::new();
    for source in sources() {
        let product = source.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let allowed = WRITES_INSIDE_A_SCRATCH_FOLDER.iter().any(|place| source.path.starts_with(place));
        if allowed || source.path.ends_with("tests.rs") {
            continue;
        }
        let found = WRITES.iter().filter(|word| product.contains(**word));
        breaches.extend(found.map(|word| format!("src/{}: {word}; write through crate::sys::fs", source.path)));
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let long: Vec<String> = sources()
        .iter()
        .map(|source| {
            (source.path.clone(), fs::read_to_string(root.join(&source.path)).expect("a file").lines().count())
        })
        .filter(|(_, lines)| *lines > 500)
        .map(|(path, lines)| format!("src/{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_reader_of_this_test_sees_grouped_and_nested_imports() {
    let called = rooms_called("use crate::{time::Stamp, message::{cdr, image}, chunk};\nlet x = crate::engine::Error;");
    assert_eq!(called.into_iter().collect::<Vec<_>>(), ["chunk", "engine", "message", "time"]);
}
