//! `build --dry-run` where no GPU is asked: without TensorRT in the program, and where it finds no device.

use std::path::Path;

use super::{BuildArguments, chosen, outline};
use vla_engines::memory::MemoryUse;
use vla_engines::provenance;
use vla_policy::PolicySpec;
use vla_runtime::remedies;

/// Verifies by this machine's files only; properties that the GPU and TensorRT report are unknown.
pub(super) fn run(args: &BuildArguments) -> anyhow::Result<()> {
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
