//! Changes that would make the engines fit, with their figures.

use super::plan::MemoryPlan;
use super::pool::{Admission, Pool};
use super::precision::LowerPrecision;
use super::shortage::Limit;

/// Changes that reduce the engines' memory or increase the budget. All figures are bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Alternatives {
    /// Missing memory.
    pub missing: u64,
    /// The reserve in force.
    pub reserve: u64,
    /// A load order with a lower peak, and the difference.
    pub order: Option<(Vec<String>, u64)>,
    /// Whether that order alone is enough.
    pub order_fits: bool,
    /// Saving of profiles whose maximum is their optimal size; `None`: not known.
    pub profile: Option<u64>,
    /// Largest reserve that fits; `None`: none does, or the reserve is not the exceeded limit.
    pub fitting_reserve: Option<u64>,
    /// Smallest budget that fits, when the budget is the exceeded limit.
    pub fitting_budget: Option<u64>,
    /// Page cache that `MemAvailable` counts as free and the GPU driver does not, where it would be enough.
    pub page_cache: Option<u64>,
    /// Stages whose engines would be smaller in a lower precision.
    pub lower_precision: LowerPrecision,
    /// GPU and CPU share one memory, or engines run on the CPU: other programs compete for it.
    pub unified: bool,
}

impl Alternatives {
    pub(super) fn new(plan: &MemoryPlan, limit: &Limit, admission: Admission, pool: Option<Pool>) -> Self {
        let mut alternatives = Self {
            reserve: admission.reserve,
            lower_precision: LowerPrecision::of(&plan.stages),
            unified: pool.is_none_or(Pool::unified),
            profile: plan
                .at_usual_sizes()
                .map(|smaller| plan.peak_from(0).total.saturating_sub(smaller.peak_from(0).total)),
            ..Self::default()
        };
        match *limit {
            Limit::Budget { needed, allowed } => {
                alternatives.missing = needed.saturating_sub(allowed);
                let reserve = if pool.is_some() { 0 } else { admission.reserve };
                alternatives.fitting_budget = Some(needed.saturating_add(reserve));
            }
            Limit::Machine { needed, free } => {
                alternatives.missing = needed.saturating_sub(free.saturating_sub(admission.reserve));
                alternatives.fitting_reserve = free.checked_sub(needed);
            }
            Limit::Device { needed, free } => alternatives.missing = needed.saturating_sub(free),
            Limit::Runtime { .. } => {}
        }
        alternatives.find_order(plan, admission, pool);
        alternatives.page_cache = pool.and_then(|pool| Self::page_cache(plan, limit, admission, pool));
        alternatives
    }

    /// Size of the page cache, if the device's figure refuses and `MemAvailable` would admit.
    fn page_cache(plan: &MemoryPlan, limit: &Limit, admission: Admission, pool: Pool) -> Option<u64> {
        let counted = Admission { count_available: true, ..admission };
        let refuses = matches!(limit, Limit::Machine { .. }) && !admission.count_available;
        let cached = pool.free(true).saturating_sub(pool.free(false));
        (refuses && cached > 0 && plan.exceeded_limit(counted, Some(pool)).is_none()).then_some(cached)
    }

    /// The best order, when it lowers the worst moment. What is loaded already would be freed, so it starts anew: the
    /// pool then has what is held now besides.
    fn find_order(&mut self, plan: &MemoryPlan, admission: Admission, pool: Option<Pool>) {
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
        self.order_fits = best.exceeded_limit(admission, emptied).is_none();
        self.order = Some((best.order().into_iter().map(str::to_owned).collect(), gain));
    }
}
