//! In a build with TensorRT.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::{Adopt, Build, Outcome};
use crate::builder::{self, Origin, Request};
use crate::engine::memory::mib;
use crate::engine::provenance::{self, Provenance};
use crate::engine::tensorrt::BuildProgress;
use crate::policy::PolicySpec;

/// What the child says at its end, as JSON on standard output.
#[derive(Serialize, Deserialize)]
struct Report {
    bytes: u64,
    seconds: f64,
    layers: usize,
    flags: Vec<String>,
    timing_cache_used: bool,
}

pub(super) fn build(args: &Build) -> anyhow::Result<Outcome> {
    if let Some(request) = &args.here {
        return child(&serde_json::from_str(request).context("--here")?);
    }
    if let Some(request) = args.single() {
        return one(&request, args.emulated).map(|()| Outcome::Success);
    }
    policy(args, args.policy.as_deref().unwrap_or(Path::new(".")))
}

/// Every stage that lacks a matching engine.
fn policy(args: &Build, dir: &Path) -> anyhow::Result<Outcome> {
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
        let precision = match args.precision {
            Some(precision) => precision,
            None => stage
                .precision
                .parse()
                .map_err(|words: String| anyhow::anyhow!("policy.yaml, stage {}: precision: {words}", stage.name))?,
        };
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
        one(&request, args.emulated)?;
    }
    Ok(Outcome::Success)
}

/// Builds in a child, then measures the engine and writes its record.
fn one(request: &Request, emulated: bool) -> anyhow::Result<()> {
    request.profiles()?;
    let program = std::env::current_exe().context("finding this program for its child")?;
    let child = Command::new(program)
        .args(["build", "--here", &serde_json::to_string(request)?])
        // Only to satisfy the group: what counts is in the JSON.
        .arg(".")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the process that builds")?;
    let output = child.wait_with_output().context("waiting for the process that builds")?;
    if !output.status.success() {
        bail!("{} was not built ({})", request.engine.display(), output.status);
    }
    let report: Report = serde_json::from_slice(&output.stdout).context("the report of the process that builds")?;
    let precision = request.precision.to_string();
    let origin = Origin {
        precision: &precision,
        flags: report.flags,
        duration: Duration::from_secs_f64(report.seconds),
        adopted: false,
        emulated,
    };
    let record = builder::record(&request.engine, &request.onnx, &origin)?;
    let cache = if report.timing_cache_used { ", timing cache used" } else { "" };
    println!(
        "{}: {:.1} MiB, {} layers, {:.1} s{cache}",
        request.engine.display(),
        mib(report.bytes),
        report.layers,
        report.seconds
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

/// What the child does.
fn child(request: &Request) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let built = builder::build(request, &mut |progress| {
        tell(started.elapsed(), &progress);
        true
    })?;
    let report = Report {
        bytes: built.bytes,
        seconds: built.duration.as_secs_f64(),
        layers: built.layers,
        flags: built.flags,
        timing_cache_used: built.timing_cache_used,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(Outcome::Success)
}

/// One line for each phase; TensorRT 8 has none, and what it logs goes the way of all logs.
fn tell(elapsed: Duration, progress: &BuildProgress<'_>) {
    if let BuildProgress::Begin { phase, parent: None, steps } = progress {
        eprintln!("  {:6.1} s  {phase}: {steps} steps", elapsed.as_secs_f64());
    }
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
