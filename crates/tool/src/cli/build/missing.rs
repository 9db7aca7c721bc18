//! `build` and `adopt` in a program without TensorRT: checks and `--dry-run` only.

use anyhow::bail;

use super::{AdoptArguments, BuildArguments, Outcome, dry};

const WORDS: &str = "this program was built without TensorRT; build it with `cargo build --release --features tensorrt` (or colcon with \
                     -DVLA_TRT_TENSORRT=ON) where TensorRT's headers are";

pub(super) fn build(args: &BuildArguments) -> anyhow::Result<Outcome> {
    if args.dry_run {
        return dry::run(args).map(|()| Outcome::Success);
    }
    let what = args.single().map_or_else(|| args.policy.clone().unwrap_or_default(), |request| request.onnx);
    bail!("no engine of {}: {WORDS}", what.display())
}

pub(super) fn adopt(args: &AdoptArguments) -> anyhow::Result<Outcome> {
    bail!("{} with network {} ({}): {WORDS}", args.engine.display(), args.onnx.display(), args.precision)
}
