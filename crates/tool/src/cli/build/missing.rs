//! `build` and `adopt` in a program without TensorRT: checks and `--dry-run` only.

use std::path::Path;

use anyhow::bail;

use super::{AdoptArguments, BuildArguments, Outcome, chosen, outline};
use vla_engines::memory::MemoryUse;
use vla_engines::provenance;
use vla_policy::PolicySpec;
use vla_runtime::remedies;

const WORDS: &str = "this program was built without TensorRT; build it with `cargo build --release --features tensorrt` (or colcon with \
                     -DVLA_TRT_TENSORRT=ON) where TensorRT's headers are";

pub(super) fn build(args: &BuildArguments) -> anyhow::Result<Outcome> {
    if args.dry_run {
        return dry_run(args).map(|()| Outcome::Success);
    }
    let what = args.single().map_or_else(|| args.policy.clone().unwrap_or_default(), |request| request.onnx);
    bail!("no engine of {}: {WORDS}", what.display())
}

/// Verifies by this machine's files only; properties that the GPU and TensorRT report are unknown.
fn dry_run(args: &BuildArguments) -> anyhow::Result<()> {
    let show = |mut request: vla_builder::Request| -> anyhow::Result<()> {
        if args.low_memory_mode {
            outline::bound(&mut request, None, MemoryUse::now().available)?;
        }
        Ok(outline::print(&request, None)?)
    };
    if let Some(request) = args.single() {
        return show(request);
    }
    let spec = PolicySpec::load(args.policy.as_deref().unwrap_or(Path::new(".")))?;
    for stage in chosen(spec.engine_stages(), args.stages.as_deref())? {
        match provenance::verify_without_gpu(&stage, Path::new("/")) {
            Ok(_) => println!(
                "{}: {} matches its files; GPU and TensorRT are not known here",
                stage.name,
                stage.file.display()
            ),
            Err(rejection) => {
                println!("{rejection}\n{}", remedies::rejection(&rejection));
                show(args.stage(&stage, args.precision_of(&stage)?))?;
            }
        }
    }
    Ok(())
}

pub(super) fn adopt(args: &AdoptArguments) -> anyhow::Result<Outcome> {
    bail!("{} with network {} ({}): {WORDS}", args.engine.display(), args.onnx.display(), args.precision)
}
