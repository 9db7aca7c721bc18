//! `vla-trt plan --mix`: in which load orders each mix of precisions is admitted, with host copies kept or released.

use anyhow::anyhow;

use super::PlanArguments;
use vla_engines::memory;
use vla_engines::memory::{Fit, mib};
use vla_engines::{EngineKind, Mix, Stage};

/// Name of a mix, and the stages with its precisions.
pub(crate) type MixStages = (String, Vec<Stage>);

/// Applies each mix to the stages.
///
/// # Errors
/// A mix with an unknown stage.
pub(crate) fn stages(mixes: &[Mix], stages: &[Stage]) -> anyhow::Result<Vec<MixStages>> {
    let of = |mix: &Mix| Ok((mix.to_string(), mix.apply(stages).map_err(|words| anyhow!("--mix: {words}"))?));
    mixes.iter().map(of).collect()
}

/// Prints the table.
///
/// # Errors
/// An invalid load order, or a missing file.
pub(crate) fn print(args: &PlanArguments, kind: EngineKind, mixes: &[MixStages]) -> anyhow::Result<()> {
    let (admission, pool) = super::bounds(args, kind);
    let allowed = match (admission.budget, pool) {
        (None, Some(pool)) => format!("{:.0} MiB free here", mib(pool.free(admission.count_available))),
        (budget, _) => format!("{:.0} MiB", mib(budget.unwrap_or_default())),
    };
    println!(
        "mixes of precisions in {allowed} less a reserve of {:.0} MiB; host copies kept: {} of each engine's file, or what \
         its record says; released: {} after its load, all of it during it",
        mib(admission.reserve),
        args.kept_factor,
        args.released_factor
    );
    let width = mixes.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("MiB".len());
    println!(
        "  {:width$} {:9} {:>10} {:>10} {:>10} {:>11} {:>11}  admitted",
        "MiB", "copies", "weights", "host", "running", "best order", "worst order"
    );
    for (name, stages) in mixes {
        let kept = super::planned(args, kind, stages, false)?;
        print_row(name, width, "kept", &kept, kept.fit(admission, pool));
        let released = kept.with_released_host_copies(args.released_factor);
        print_row(name, width, "released", &released, released.fit(admission, pool));
    }
    println!(
        "  best and worst order: the smallest budget in the load order that needs least and most, margin included"
    );
    Ok(())
}

fn print_row(name: &str, width: usize, copies: &str, plan: &memory::MemoryPlan, fit: Fit) {
    let (running, best) = (plan.running(), plan.best_order());
    let weights: u64 = plan.stages.iter().map(|stage| stage.weights.bytes).fold(0, u64::saturating_add);
    println!(
        "  {name:width$} {copies:9} {:>10.0} {:>10.0} {:>10.0} {:>11.0} {:>11.0}  {}",
        mib(weights),
        mib(running.host),
        mib(running.total()),
        mib(best.smallest_budget()),
        mib(plan.worst_order().smallest_budget()),
        match fit {
            Fit::AnyOrder => "in any order".to_owned(),
            Fit::BestOrder => format!("as {}", best.order().join(", ")),
            Fit::None => "no".to_owned(),
        }
    );
}
