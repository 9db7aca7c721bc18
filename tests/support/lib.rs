//! What the tests of several crates share.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

pub mod demo;
pub mod demo_pipeline;
pub mod eef;
pub mod fuzz;
pub mod onnx_runtime;
pub mod processor;
pub mod quantized;
pub mod reference_bench;
pub mod small_tokenizer;
pub mod vectors;
pub mod vendor;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of large inputs beside the repository; tests that need it skip themselves aloud where it is absent.
pub fn shared() -> PathBuf {
    std::env::var_os("VLA_TRT_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from)
}
