//! `vla-trt plan`: what a policy takes and whether it fits, without loading it.

use std::path::PathBuf;

use anyhow::bail;

use super::Outcome;
use crate::engine::memory::{self, Admission, estimate, mib};
use crate::engine::roofline::{Bound, Floor, Machine};
use crate::engine::{EngineKind, Stage, pipeline};
use crate::onnx::cost;
use crate::policy::PolicySpec;

/// Left to everything else on this machine unless said otherwise, as the node's `memory.reserve_mib`.
const RESERVE_MIB: u64 = 512;

/// Say what a policy takes of memory, stage by stage in load order, and whether it fits. Nothing is loaded.
///
/// Figures with `~` are estimates: of an engine that is not built yet, weights are those of the network in the
/// precision of policy.yaml, and activation is what is alive between its nodes at the profile's maximum (a runtime that
/// fuses nodes needs less). Exit codes: 0 it fits; 1 an error; 2 wrong arguments; 4 it does not fit.
#[derive(clap::Args, Debug)]
pub struct Plan {
    /// Policy folder.
    policy: PathBuf,
    /// Plan for a machine whose engines may take this much, host and GPU memory being one; default: this machine, as it
    /// is now.
    #[arg(long, value_name = "N")]
    budget_mib: Option<u64>,
    /// Leave this much to everything else; default: 512, and 0 with --budget-mib.
    #[arg(long, value_name = "N")]
    reserve_mib: Option<u64>,
    /// Plan as with memory.release_host_copy:=false: TensorRT's host copies stay.
    #[arg(long)]
    keep_host_copy: bool,
    /// Load order, every stage once; default: largest file first.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    order: Option<Vec<String>>,
    /// What runs the stages.
    #[arg(long, value_enum, default_value_t = Kind::Tensorrt)]
    engine_kind: Kind,
    /// Add the least time of each stage by bytes and operations.
    #[arg(long)]
    roofline: bool,
    /// Memory bandwidth for --roofline; the default is an Orin NX's.
    #[arg(long, value_name = "X", default_value_t = 102.4)]
    bandwidth_gb_s: f64,
    /// Dense FP16 TFLOP/s for --roofline (INT8 twice that, FP32 half); the default is an Orin NX's.
    #[arg(long, value_name = "Y", default_value_t = 15.0)]
    tflops: f64,
    /// Denoising steps for --roofline; default: the policy's.
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
}

/// What runs the stages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    /// TensorRT engines, built or not.
    Tensorrt,
    /// ONNX Runtime on the CPU.
    Onnx,
}

/// Runs the command.
///
/// # Errors
/// A policy that cannot be read, or a load order that is none.
pub fn run(args: &Plan) -> anyhow::Result<Outcome> {
    for (flag, value) in [("--bandwidth-gb-s", args.bandwidth_gb_s), ("--tflops", args.tflops)] {
        if !(value.is_finite() && value > 0.0) {
            bail!("{flag}: expected a number above 0, found {value}");
        }
    }
    let spec = PolicySpec::load(&args.policy)?;
    let (kind, name) = match args.engine_kind {
        Kind::Tensorrt => (EngineKind::Tensorrt, "TensorRT"),
        Kind::Onnx => (EngineKind::Onnx, "ONNX Runtime"),
    };
    let stages: Vec<Stage> = spec.stages.iter().map(|stage| spec.stage_for(stage, kind)).collect();
    let plan = pipeline::plan(kind, &stages, args.order.as_deref(), !args.keep_host_copy)?;
    println!("policy {}, {} stages on {name}, loaded as {}", spec.name, stages.len(), plan.order().join(", "));
    let fits = judge(args, &plan, kind);
    print_notes(&plan, &stages, kind);
    if args.roofline {
        print_roofline(args, &spec, &stages);
    }
    Ok(if fits { Outcome::Success } else { Outcome::DoesNotFit })
}

/// Prints the plan and the verdict.
fn judge(args: &Plan, plan: &memory::Plan, kind: EngineKind) -> bool {
    let reserve_mib = args.reserve_mib.unwrap_or(if args.budget_mib.is_some() { 0 } else { RESERVE_MIB });
    let admission = Admission { budget: args.budget_mib.map(to_bytes), reserve: to_bytes(reserve_mib) };
    // A budget stands for another machine: this one's memory says nothing about it.
    let pool = if args.budget_mib.is_some() { None } else { Some(pipeline::pool(kind)) };
    if kind == EngineKind::Tensorrt && pool.is_some_and(|pool| pool.device_free.is_none()) {
        println!("no CUDA driver answers here: free memory is the host's, as on a device where they are one");
    }
    println!("{}", plan.timeline());
    match plan.admit(admission, pool) {
        Ok(()) => {
            print!("{plan}");
            let needed = mib(plan.smallest_budget());
            match (args.budget_mib, pool) {
                (None, Some(pool)) => println!(
                    "fits: {needed:.1} MiB needed, {:.1} MiB free on this machine less a reserve of {reserve_mib} MiB",
                    mib(pool.free())
                ),
                (budget, _) => println!(
                    "fits: {needed:.1} MiB needed of {} MiB less a reserve of {reserve_mib} MiB",
                    budget.unwrap_or_default()
                ),
            }
            true
        }
        Err(refusal) => {
            println!("does not fit: {refusal}");
            false
        }
    }
}

fn to_bytes(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
}

fn print_notes(plan: &memory::Plan, stages: &[Stage], kind: EngineKind) {
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

fn print_roofline(args: &Plan, spec: &PolicySpec, stages: &[Stage]) {
    let machine = Machine { bytes_per_s: args.bandwidth_gb_s * 1e9, fp16_flops_per_s: args.tflops * 1e12 };
    let steps = args.steps.unwrap_or(spec.denoise.default);
    println!(
        "least time at {} GB/s and {} TFLOP/s (FP16 dense; INT8 twice, FP32 half), {steps} denoising steps, usual sizes:\n\
         a prediction from bytes and operations, not a measurement",
        args.bandwidth_gb_s, args.tflops
    );
    let width = stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0).max("inference".len());
    println!(
        "  {:width$} {:>9} {:>5} {:>12} {:>11} {:>9} {:>10} {:>10} {:>9}  bound by",
        "stage", "precision", "runs", "weights MiB", "in/out MiB", "GFLOP", "memory ms", "compute ms", "floor ms"
    );
    let mut all = 0.0;
    for stage in stages {
        let Some(floor) = Floor::of(stage, steps, machine) else { continue };
        all += floor.seconds();
        let Floor { stage, precision, runs, weight_bytes, io_bytes, flops, memory_s, compute_s, .. } = &floor;
        println!(
            "  {stage:width$} {precision:>9} {runs:>5} {:>12.1} {:>11.2} {:>9.2} {:>10.3} {:>10.3} {:>9.3}  {}",
            mib(*weight_bytes),
            mib(*io_bytes),
            *flops as f64 / 1e9,
            memory_s * 1e3,
            compute_s * 1e3,
            floor.seconds() * 1e3,
            match floor.bound() {
                Bound::Memory => "memory",
                Bound::Compute => "compute",
            }
        );
    }
    println!(
        "  {:width$} {:>9} {:>5} {:>12} {:>11} {:>9} {:>10} {:>10} {:>9.3}",
        "inference",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        all * 1e3
    );
}
