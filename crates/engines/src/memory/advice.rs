//! What would make the engines fit, each with its figure.

use std::fmt;

use super::mib;
use super::plan::Plan;
use super::pool::{Admission, Pool};
use super::precision::LowerPrecision;
use super::refusal::Cause;

/// Remedies of a refusal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Advice {
    /// Bytes missing.
    pub missing: u64,
    /// The reserve in force, bytes.
    pub reserve: u64,
    /// Another load order and the bytes that its worst moment needs less.
    pub order: Option<(Vec<String>, u64)>,
    /// Whether that order is enough by itself.
    pub order_fits: bool,
    /// Bytes that profiles ending at their usual sizes would need less; `None`: not known.
    pub profile: Option<u64>,
    /// Largest reserve that fits, bytes; `None`: none does, or the reserve is not what is in the way.
    pub fitting_reserve: Option<u64>,
    /// Smallest budget that fits, bytes, when the budget is in the way.
    pub fitting_budget: Option<u64>,
    /// Bytes of page cache that the GPU driver does not count as free and `MemAvailable` does, where these would be
    /// enough.
    pub page_cache: Option<u64>,
    /// Stages whose engines would be smaller in a lower precision.
    pub lower_precision: LowerPrecision,
    /// The GPU takes its memory from the host's, or engines run there: other programs compete for the same.
    pub unified: bool,
}

impl Advice {
    pub(super) fn new(plan: &Plan, cause: &Cause, admission: Admission, pool: Option<Pool>) -> Self {
        let mut advice = Self {
            reserve: admission.reserve,
            lower_precision: LowerPrecision::of(&plan.stages),
            unified: pool.is_none_or(Pool::unified),
            profile: plan
                .at_usual_sizes()
                .map(|smaller| plan.peak_from(0).total.saturating_sub(smaller.peak_from(0).total)),
            ..Self::default()
        };
        match *cause {
            Cause::Budget { needed, allowed } => {
                advice.missing = needed.saturating_sub(allowed);
                let reserve = if pool.is_some() { 0 } else { admission.reserve };
                advice.fitting_budget = Some(needed.saturating_add(reserve));
            }
            Cause::Machine { needed, free } => {
                advice.missing = needed.saturating_sub(free.saturating_sub(admission.reserve));
                advice.fitting_reserve = free.checked_sub(needed);
            }
            Cause::Device { needed, free } => advice.missing = needed.saturating_sub(free),
            Cause::Runtime { .. } => {}
        }
        advice.find_order(plan, admission, pool);
        advice.page_cache = pool.and_then(|pool| Self::page_cache(plan, cause, admission, pool));
        advice
    }

    /// What the page cache holds, when the device's figure is what refuses and `MemAvailable` would admit.
    fn page_cache(plan: &Plan, cause: &Cause, admission: Admission, pool: Pool) -> Option<u64> {
        let counted = Admission { count_available: true, ..admission };
        let refuses = matches!(cause, Cause::Machine { .. }) && !admission.count_available;
        let cached = pool.free(true).saturating_sub(pool.free(false));
        (refuses && cached > 0 && plan.broken_bound(counted, Some(pool)).is_none()).then_some(cached)
    }

    /// The best order, when it lowers the worst moment. What is loaded already would be freed, so it starts anew: the
    /// pool then has what is held now besides.
    fn find_order(&mut self, plan: &Plan, admission: Admission, pool: Option<Pool>) {
        let best = plan.best_order();
        let gain = plan.peak_from(0).total.saturating_sub(best.peak_from(0).total);
        if gain == 0 {
            return;
        }
        let freed = plan.measured.iter().map(|growth| growth.kept()).fold(0, u64::saturating_add);
        let emptied = pool.map(|pool| Pool {
            available: pool.available.saturating_add(freed),
            device_free: pool.device_free.map(|free| free.saturating_add(freed)),
            ..pool
        });
        self.order_fits = best.broken_bound(admission, emptied).is_none();
        self.order = Some((best.order().into_iter().map(str::to_owned).collect(), gain));
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  what would help:")?;
        let enough =
            |gain: u64| if self.missing > 0 && gain >= self.missing { "enough" } else { "not enough by itself" };
        if let Some(cached) = self.page_cache {
            writeln!(
                f,
                "    the page cache, {:.1} MiB that MemAvailable counts and the GPU driver does not: drop it (sync; echo 1 | \
                 sudo tee /proc/sys/vm/drop_caches), or count it as free: memory.count_available: true (enough)",
                mib(cached)
            )?;
        }
        match &self.order {
            Some((order, gain)) => {
                let enough = if self.order_fits { "enough" } else { "not enough by itself" };
                let names = order.join(", ");
                writeln!(f, "    engines.load_order: [{names}] needs {:.1} MiB less ({enough})", mib(*gain))?;
            }
            None => writeln!(f, "    another load order: no, none needs less")?,
        }
        match self.profile {
            Some(0) => writeln!(f, "    a lower maximum in the profiles: no, it saves nothing at the worst moment")?,
            Some(gain) => writeln!(
                f,
                "    a lower maximum in the profiles: up to {:.1} MiB less, at their usual sizes ({}); build again after it",
                mib(gain),
                enough(gain)
            )?,
            None => writeln!(f, "    a lower maximum in the profiles: how much it saves is not known here")?,
        }
        if let Some(budget) = self.fitting_budget {
            writeln!(f, "    memory.budget_mib: {} or more", budget.div_ceil(1 << 20))?;
        }
        match self.fitting_reserve {
            Some(reserve) => writeln!(f, "    memory.reserve_mib: {} or less", reserve >> 20)?,
            None if self.reserve > 0 && self.fitting_budget.is_none() => {
                writeln!(f, "    a smaller memory.reserve_mib: no, not even 0 is enough")?;
            }
            None => {}
        }
        if let Some(remedy) = self.lower_precision.remedy() {
            writeln!(f, "    {remedy}")?;
        }
        if self.unified {
            writeln!(
                f,
                "    closing the desktop and other programs (sudo systemctl isolate multi-user.target): what it frees is \
                 not known beforehand"
            )?;
            write!(
                f,
                "    swap or zram: lets the system move other programs' memory away, which raises what is free; memory \
                 that CUDA allocates is never swapped"
            )
        } else {
            write!(
                f,
                "    other programs on the GPU: what they hold is shown by nvidia-smi; swap does not help, CUDA memory is never swapped"
            )
        }
    }
}
