//! In a build with TensorRT.

use std::path::Path;

use anyhow::Context as _;

use super::{Adopt, Build, Outcome};
use crate::builder::{self, Origin, Request, Target};
use crate::engine::memory::mib;
use crate::engine::provenance::{self, Provenance};
use crate::policy::PolicySpec;

#[path = "child.rs"]
mod child;

use child::Stop;

pub(super) fn build(args: &Build) -> anyhow::Result<Outcome> {
    if let Some(request) = &args.here {
        return child::work(&serde_json::from_str(request).context("--here")?).map(|()| Outcome::Success);
    }
    let stop = Stop::watch()?;
    if let Some(request) = args.single() {
        return one(&request, args.emulated, &stop).map(|()| Outcome::Success);
    }
    policy(args, args.policy.as_deref().unwrap_or(Path::new(".")), &stop)
}

/// Every stage that lacks a matching engine.
fn policy(args: &Build, dir: &Path, stop: &Stop) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(dir)?;
    let device = builder::device()?;
    let stages = spec.engine_stages();
    for (index, stage) in stages.iter().enumerate() {
        let title = format!("{} of {}: {}", index + 1, stages.len(), stage.name);
        let refusal = match provenance::verify(stage, &device) {
            Ok(_) => {
                println!("{title}: {} matches", stage.file.display());
                continue;
            }
            Err(refusal) => refusal,
        };
        println!("{title}: {refusal}");
        let precision = stage
            .precision
            .parse()
            .map_err(|words: String| anyhow::anyhow!("policy.yaml, stage {}: precision: {words}", stage.name))?;
        let request = Request {
            onnx: stage.onnx.clone(),
            engine: stage.file.clone(),
            precision,
            profile: stage.profile.iter().cloned().collect(),
            // One a network: TensorRT 8.6 refuses what it knows of another network's fused kernels, and then all of it.
            timing_cache: args.timing_cache.as_ref().map(|dir| dir.join(format!("{}-{precision}.cache", stage.name))),
            workspace: args.workspace_mib.map(|mib| mib << 20),
            level: args.opt_level,
        };
        one(&request, args.emulated, stop)?;
    }
    Ok(Outcome::Success)
}

/// Builds in a child, then measures the engine and writes its record.
fn one(request: &Request, emulated: bool, stop: &Stop) -> anyhow::Result<()> {
    request.profiles()?;
    let target = Target::take(request)?;
    let built = child::build(request, stop)?;
    let precision = request.precision.to_string();
    let cache = if built.timing_cache_used { ", timing cache used" } else { "" };
    let origin =
        Origin { precision: &precision, flags: built.flags, duration: built.duration, adopted: false, emulated };
    let record = builder::record(&request.engine, &request.onnx, &origin)?;
    drop(target);
    println!(
        "{}: {:.1} MiB, {} layers, {:.1} s{cache}",
        request.engine.display(),
        mib(built.bytes),
        built.layers,
        built.duration.as_secs_f64()
    );
    print_memory(&record);
    Ok(())
}

fn print_memory(record: &Provenance) {
    let memory = &record.memory;
    println!(
        "  on the device {:.1} MiB, activation {:.1} MiB; TensorRT keeps {:.2} of the file in host memory",
        mib(memory.weight_bytes.unwrap_or_default()),
        mib(memory.activation_bytes.unwrap_or_default()),
        memory.kept_factor.unwrap_or_default()
    );
}

pub(super) fn adopt(args: &Adopt) -> anyhow::Result<Outcome> {
    let precision = args.precision.to_string();
    let origin = Origin { precision: &precision, adopted: true, ..Origin::default() };
    let record = builder::record(&args.engine, &args.onnx, &origin)?;
    println!(
        "{}: loads and runs here; its record is {}",
        args.engine.display(),
        Provenance::path(&args.engine).display()
    );
    print_memory(&record);
    Ok(Outcome::Success)
}
