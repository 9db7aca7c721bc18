//! The ring over TensorRT's C++ classes, driven against a stand-in library (`csrc/standin/`): what needs no GPU, and
//! the branches of TensorRT versions that cannot be run here. The stand-in is compiled against the headers of the
//! build, so `TENSORRT_INCLUDE_DIR` decides which version's branches these tests drive.
#![cfg(feature = "tensorrt")]

mod standin;

mod build;
mod device;
mod inspector;
mod library;
mod load;
mod plan;
mod rtx;
mod rtx_real;
mod run;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vla_tensorrt::{Error, Library, Log, Runtime};

/// A scratch folder, the stand-in's library, a log.
struct Bench {
    dir: TempDir,
    library: Library,
    log: Log,
}

impl Bench {
    fn new() -> Self {
        let library = Library::open_in(&standin::folder()).expect("the stand-in");
        Self { dir: tempfile::tempdir().expect("a folder"), library, log: Log::new() }
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(&self.library, &self.log).expect("a runtime")
    }

    /// A file of the stand-in's text format, with the payload that it announces.
    fn file(&self, name: &str, lines: &[&str]) -> PathBuf {
        let path = self.dir.path().join(name);
        let bytes = lines
            .iter()
            .find_map(|line| line.strip_prefix("payload "))
            .map_or(0, |n| n.parse::<usize>().expect("a number"));
        let mut content = format!("standin\n{}\nend\n", lines.join("\n")).into_bytes();
        content.extend((0..bytes).map(payload_byte));
        fs::write(&path, content).expect("written");
        path
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn payload_byte(index: usize) -> u8 {
    (index * 7 + 3).to_le_bytes()[0]
}

/// A plan with a dynamic input, a fixed one and an output that follows the first.
const TOY: &[&str] = &[
    "name toy",
    "layers 5",
    "activation 4096",
    "profiles 2",
    "input rows f32 ?x4 range 1x4 2x4 8x4",
    "input ids i32 3",
    "output doubled f32 ?x4",
];

fn toy_with<'l>(more: &[&'l str]) -> Vec<&'l str> {
    TOY.iter().copied().chain(more.iter().copied()).collect()
}

/// The text and the log lines of a refusal.
fn refusal(error: Error) -> (String, Vec<String>) {
    match error {
        Error::Refused { reason, log } => (reason, log),
        other => panic!("expected a refusal, found {other}"),
    }
}
