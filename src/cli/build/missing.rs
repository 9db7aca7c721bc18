//! In a build without TensorRT.

use anyhow::bail;

use super::{Adopt, Build, Outcome};

const WORDS: &str = "this program was built without TensorRT; build it with `cargo build --release --features tensorrt` (or colcon with \
                     -DVLA_TRT_TENSORRT=ON) where TensorRT's headers are";

pub(super) fn build(args: &Build) -> anyhow::Result<Outcome> {
    let what = args.single().map_or_else(|| args.policy.clone().unwrap_or_default(), |request| request.onnx);
    bail!("no engine of {}: {WORDS}", what.display())
}

pub(super) fn adopt(args: &Adopt) -> anyhow::Result<Outcome> {
    bail!("{} with network {} ({}): {WORDS}", args.engine.display(), args.onnx.display(), args.precision)
}
