//! The real parser and builder of TensorRT-RTX, which need no GPU: every network that we export goes through them.
//!
//! `VLA_TRT_TEST_RTX` names the folder of its libraries (`scripts/setup_tensorrt_rtx.sh`, which test.sh calls). Without it each
//! test says so and passes. Nothing is run: that takes one of its GPUs.

mod bench;
mod command;
mod networks;
mod quantized;

use std::path::{Path, PathBuf};

use bench::Rtx;
