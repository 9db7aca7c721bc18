//! `vla-trt plan`: the memory that a policy needs and whether it fits, without loading it.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::Outcome;
use vla_engines::memory;
use vla_engines::memory::{Admission, Pool, estimate, mib};
use vla_engines::onnx::cost;
use vla_engines::{EngineKind, Mix, Stage, pipeline};
use vla_policy::PolicySpec;
use vla_runtime::remedies;

mod mixes;
mod roofline;

/// Default reserve for other programs on this machine, equal to that of the node's `memory.reserve_mib`.
const RESERVE_MIB: u64 = 512;

/// Print the memory that policies need, stage by stage in load order, and whether they fit. Nothing is loaded.
///
/// Figures with `~` are estimates. For an engine that is not built yet, weights are those of the network in the precision of
/// policy.yaml, and activation is the largest sum of live tensors at the profile's maximum (a runtime that fuses nodes needs
/// less). Exit codes: 0 all fit; 1 an error; 2 wrong arguments; 4 one does not fit.
#[derive(clap::Args, Debug)]
pub(crate) struct PlanArguments {
    /// Policy folders. Networks are exported for a number of cameras: to compare numbers, name a policy for each.
    #[arg(required = true, value_name = "POLICY")]
    policies: Vec<PathBuf>,
    /// Plan for a machine with this much memory for engines, shared by host and GPU. Default: this machine, with what is free
    /// now.
    #[arg(long, value_name = "N")]
    budget_mib: Option<u64>,
    /// Memory that is left to other programs. Default: 512, and 0 with --budget-mib.
    #[arg(long, value_name = "N")]
    reserve_mib: Option<u64>,
    /// Plan as with memory.count_available:=true: where GPU and CPU share one memory, the page cache counts as free.
    #[arg(long)]
    count_available: bool,
    /// Plan as with memory.release_host_copy:=false: TensorRT's host copies stay.
    #[arg(long)]
    keep_host_copy: bool,
    /// Load order, every stage once; default: largest file first.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    order: Option<Vec<String>>,
    /// What runs the stages.
    #[arg(long, value_enum, default_value_t = Kind::Tensorrt)]
    engine_kind: Kind,
    /// Compare precisions without changing the policy: one for all stages, then those of stages that differ, such as
    /// `fp16` or `fp16,step=int8+fp16`; may be repeated. Prints in which load orders each fits, and with --roofline the least
    /// times of each.
    #[arg(long, value_name = "MIX")]
    mix: Vec<Mix>,
    /// Estimate of TensorRT's host copy of an engine, as a share of the engine's file (1: the whole file), for engines whose
    /// record does not contain it.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    kept_factor: f64,
    /// Estimate of what remains of that copy after it was released, as a share of the engine's file, for --mix.
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    released_factor: f64,
    /// Also print the least time of each stage that memory bandwidth and arithmetic allow.
    #[arg(long)]
    roofline: bool,
    /// Board for --roofline: orin-nx-16, agx-orin-64.
    #[arg(long, value_name = "NAME", default_value = "orin-nx-16")]
    board: String,
    /// Memory bandwidth for --roofline, in place of the board's.
    #[arg(long, value_name = "X")]
    bandwidth_gb_s: Option<f64>,
    /// Dense FP16 TFLOP/s for --roofline (INT8 twice that, FP32 an eighth), in place of the board's.
    #[arg(long, value_name = "Y")]
    tflops: Option<f64>,
    /// Rates that were measured on a device, for --roofline in place of a board's: what `bench --roofs --json` printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["board", "bandwidth_gb_s", "tflops"])]
    roofs: Option<PathBuf>,
    /// Denoising steps for --roofline; default: the policy's.
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
}

/// What runs the stages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    /// TensorRT engines, built or not.
    Tensorrt,
    /// Lists of operations on CUDA.
    Cuda,
    /// ONNX Runtime on the CPU.
    Onnx,
}

/// Runs the command.
///
/// # Errors
/// A policy that cannot be read, an invalid load order, an unknown board, or a mix with an unknown stage.
pub(crate) fn run(args: &PlanArguments) -> anyhow::Result<Outcome> {
    check_factors(args)?;
    let machines = roofline::Machines::new(args)?;
    let (kind, name) = match args.engine_kind {
        Kind::Tensorrt => (EngineKind::Tensorrt, "TensorRT"),
        Kind::Cuda => (EngineKind::Cuda, "CUDA"),
        Kind::Onnx => (EngineKind::Onnx, "ONNX Runtime"),
    };
    if kind != EngineKind::Tensorrt && !args.mix.is_empty() {
        bail!(
            "--mix compares TensorRT engines; {name} takes a network in the types that it has: leave one of both out"
        );
    }
    let (mut all_fit, mut floors) = (true, Vec::new());
    for (at, folder) in args.policies.iter().enumerate() {
        if at > 0 {
            println!();
        }
        let spec = PolicySpec::load(folder)?;
        let stages: Vec<Stage> = spec.stages.iter().map(|stage| spec.stage_for(stage, kind)).collect();
        let plan = planned(args, kind, &stages, !args.keep_host_copy)?;
        println!("policy {}, {} stages on {name}, loaded as {}", spec.name, stages.len(), plan.order().join(", "));
        all_fit &= judge(args, &plan, &stages, kind);
        print_notes(&plan, &stages, kind);
        let mixed = mixes::stages(&args.mix, &stages)?;
        if !mixed.is_empty() {
            mixes::print(args, kind, &mixed)?;
        }
        if args.roofline {
            let own = if mixed.is_empty() { vec![("policy.yaml".to_owned(), stages)] } else { mixed };
            floors.extend(machines.print(folder, &spec, &own, args.steps.unwrap_or(spec.denoise.default)));
        }
    }
    if args.roofline {
        machines.print_summary(&floors);
    }
    Ok(if all_fit { Outcome::Success } else { Outcome::DoesNotFit })
}

fn check_factors(args: &PlanArguments) -> anyhow::Result<()> {
    for (flag, value) in [("--kept-factor", args.kept_factor), ("--released-factor", args.released_factor)] {
        if !(0.0..=4.0).contains(&value) {
            bail!("{flag}: expected a part of the engine's file from 0 to 4, found {value}");
        }
    }
    Ok(())
}

/// The plan of these stages in the requested order; with `release`, host copies are released where the records allow it.
fn planned(
    args: &PlanArguments,
    kind: EngineKind,
    stages: &[Stage],
    release: bool,
) -> anyhow::Result<memory::MemoryPlan> {
    let plan = pipeline::plan(kind, stages, args.order.as_deref(), release, None)?;
    Ok(if kind == EngineKind::Tensorrt { plan.with_host_copies(args.kept_factor) } else { plan })
}

/// The admission rule and the memory of this machine; no memory with a budget, which describes another machine.
fn bounds(args: &PlanArguments, kind: EngineKind) -> (Admission, Option<Pool>) {
    let reserve_mib = args.reserve_mib.unwrap_or(if args.budget_mib.is_some() { 0 } else { RESERVE_MIB });
    let admission = Admission {
        budget: args.budget_mib.map(to_bytes),
        reserve: to_bytes(reserve_mib),
        count_available: args.count_available,
    };
    (admission, if args.budget_mib.is_some() { None } else { Some(vla_runtime::devices::pool(kind)) })
}

/// A policy by its folder, which distinguishes exports of one checkpoint.
fn folder_name(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Prints the plan and the verdict.
fn judge(args: &PlanArguments, plan: &memory::MemoryPlan, stages: &[Stage], kind: EngineKind) -> bool {
    let (admission, pool) = bounds(args, kind);
    let reserve_mib = mib(admission.reserve);
    if kind != EngineKind::Onnx && pool.is_some_and(|pool| pool.device_free.is_none()) {
        println!("no CUDA driver answers here: free memory is the host's, as on a device where they are one");
    }
    println!("{}", plan.timeline());
    let admitted = match pool {
        Some(_) => pipeline::admit(plan, admission, stages, &mut || vla_runtime::devices::pool(kind)),
        None => plan.admit(admission, None),
    };
    match admitted {
        Ok(()) => {
            print!("{plan}");
            let needed = mib(plan.smallest_budget());
            match (args.budget_mib, pool) {
                (None, Some(pool)) => println!(
                    "fits: {needed:.1} MiB needed, {:.1} MiB free on this machine less a reserve of {reserve_mib} MiB",
                    mib(pool.free(admission.count_available))
                ),
                (budget, _) => println!(
                    "fits: {needed:.1} MiB needed of {} MiB less a reserve of {reserve_mib} MiB",
                    budget.unwrap_or_default()
                ),
            }
            true
        }
        Err(shortage) => {
            println!("does not fit: {shortage}\n{}", remedies::shortage(&shortage));
            false
        }
    }
}

fn to_bytes(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
}

fn print_notes(plan: &memory::MemoryPlan, stages: &[Stage], kind: EngineKind) {
    let unbuilt: Vec<&str> =
        stages.iter().filter(|stage| !stage.file.is_file()).map(|stage| stage.name.as_str()).collect();
    if kind == EngineKind::Tensorrt && !unbuilt.is_empty() {
        println!("~ estimated from the network, no engine is built yet: {}", unbuilt.join(", "));
    } else if plan.stages.iter().any(memory::Footprint::is_estimated) {
        println!("~ estimated");
    }
    for stage in stages {
        let Some(network) = estimate::network(stage) else {
            println!("{}: {} cannot be read, its activation is not in the plan", stage.name, stage.onnx.display());
            continue;
        };
        let symbols = estimate::symbols(stage, Some(&network), estimate::Size::Most);
        let unknown = network.cost(&symbols, cost::float_bytes(&stage.precision, 1)).unknown;
        if !unknown.is_empty() {
            println!("{}: sizes after {} are not known and not counted", stage.name, unknown.join(", "));
        }
    }
}
