//! Footprints in load order: memory before, during and after each load, and while the engines run.

use super::pool::{Admission, Pool};
use super::shortage::{Limit, Shortage};
use super::{Alternatives, Footprint, Growth};

/// Smallest margin for allocations that are not itemised: rounding of allocators, kernels that a runtime loads.
const LEAST_MARGIN: u64 = 16 << 20;
/// The margin is the peak divided by this.
const MARGIN_PART: u64 = 20;

/// Memory in two places, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// On the host.
    pub host: u64,
    /// Where the engines run.
    pub device: u64,
}

impl Usage {
    /// Both together, as in a unified pool.
    pub fn total(self) -> u64 {
        self.host.saturating_add(self.device)
    }

    fn plus(self, other: Self) -> Self {
        Self { host: self.host.saturating_add(other.host), device: self.device.saturating_add(other.device) }
    }
}

/// Peaks in bytes; those of host and device may occur at different times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Peak {
    /// Most on the host.
    pub host: u64,
    /// Most where the engines run.
    pub device: u64,
    /// Most of both together.
    pub total: u64,
}

impl Peak {
    fn with(self, usage: Usage) -> Self {
        Self {
            host: self.host.max(usage.host),
            device: self.device.max(usage.device),
            total: self.total.max(usage.total()),
        }
    }
}

/// One load of the plan, or the running engines after the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// Held when it begins.
    pub before: Usage,
    /// Held at its worst moment.
    pub peak: Usage,
    /// Held when it is done.
    pub after: Usage,
}

/// Memory of the engines in load order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryPlan {
    /// One a stage, in load order.
    pub stages: Vec<Footprint>,
    /// Measured memory of the loaded stages.
    pub measured: Vec<Growth>,
    /// All stages share one activation arena, as large as the largest needs; else each keeps its own.
    pub shared_arena: bool,
}

impl MemoryPlan {
    /// A plan with nothing loaded.
    pub fn new(stages: Vec<Footprint>, shared_arena: bool) -> Self {
        Self { stages, measured: Vec::new(), shared_arena }
    }

    /// Names in load order.
    pub fn order(&self) -> Vec<&str> {
        self.stages.iter().map(|stage| stage.stage.as_str()).collect()
    }

    /// Every load, in order.
    pub fn steps(&self) -> Vec<Step> {
        let mut held = Usage::default();
        let step = |stage: &Footprint| {
            let before = held;
            held = held.plus(Usage { host: stage.host_copy.bytes, device: stage.weights.bytes });
            // The file is still on the host when its copies are there.
            let peak = held.plus(Usage { host: stage.transient.bytes, device: 0 });
            Step { before, peak, after: held }
        };
        self.stages.iter().map(step).collect()
    }

    /// Memory of the running engines, after the last load.
    pub fn running(&self) -> Usage {
        let held = self.steps().last().map(|step| step.after).unwrap_or_default();
        held.plus(Usage { host: 0, device: self.activation().saturating_add(self.io()) })
    }

    /// Activation memory of all stages together.
    pub fn activation(&self) -> u64 {
        let each = self.stages.iter().map(|stage| stage.activation.bytes);
        if self.shared_arena { each.max().unwrap_or(0) } else { each.fold(0, u64::saturating_add) }
    }

    /// Inputs and outputs of all stages together.
    pub fn io(&self) -> u64 {
        self.stages.iter().map(|stage| stage.io.bytes).fold(0, u64::saturating_add)
    }

    /// Peak from load `next` on (`next` = number of stages: only running).
    pub fn peak_from(&self, next: usize) -> Peak {
        let running = Peak::default().with(self.running());
        self.steps().iter().skip(next).fold(running, |peak, step| peak.with(step.peak))
    }

    /// Margin for allocations that are not itemised: 5 %, at least 16 MiB.
    pub fn margin(&self) -> u64 {
        (self.peak_from(0).total / MARGIN_PART).max(LEAST_MARGIN)
    }

    /// Smallest budget, in bytes, that admits this plan.
    pub fn smallest_budget(&self) -> u64 {
        self.peak_from(0).total.saturating_add(self.margin())
    }

    /// Planned memory of the loaded stages.
    fn held(&self) -> Usage {
        self.measured
            .len()
            .checked_sub(1)
            .and_then(|last| self.steps().get(last).copied())
            .map_or_else(Usage::default, |s| s.after)
    }

    /// Checks that the stages that are not loaded yet fit. `pool` is the current memory of the machine, with the loaded stages
    /// in it; `None`: only the budget is checked, for another machine.
    ///
    /// # Errors
    /// [`Shortage`] with the first exceeded limit, the plan, and changes that would help.
    pub fn admit(&self, admission: Admission, pool: Option<Pool>) -> Result<(), Box<Shortage>> {
        match self.exceeded_limit(admission, pool) {
            None => Ok(()),
            Some(limit) => Err(self.shortage(limit, admission, pool)),
        }
    }

    /// The report of a shortage, such as a failed allocation of a runtime.
    pub fn shortage(&self, limit: Limit, admission: Admission, pool: Option<Pool>) -> Box<Shortage> {
        let next = self.measured.len();
        let stage = self.stages.get(next).map(|stage| stage.stage.clone());
        let alternatives = Alternatives::new(self, &limit, admission, pool);
        Box::new(Shortage { stage, limit, plan: self.clone(), alternatives })
    }

    /// The first limit that the remaining loads exceed.
    pub(super) fn exceeded_limit(&self, admission: Admission, pool: Option<Pool>) -> Option<Limit> {
        let next = self.measured.len();
        let (held, margin) = (self.held(), self.margin());
        let peak = self.peak_from(next);
        let breaks = |needed: u64, allowed: u64| (needed > allowed).then_some((needed, allowed));
        if let Some(budget) = admission.budget {
            // The margin covers memory that was measured beyond the plan, up to its size.
            let beyond = self.measured_kept().saturating_sub(held.total());
            let needed = peak.total.saturating_add(beyond.max(margin));
            // A budget for another machine includes the reserve.
            let allowed = if pool.is_some() { budget } else { budget.saturating_sub(admission.reserve) };
            if let Some((needed, allowed)) = breaks(needed, allowed) {
                return Some(Limit::Budget { needed, allowed });
            }
        }
        let pool = pool?;
        if pool.unified() {
            let needed = peak.total.saturating_sub(held.total()).saturating_add(margin);
            let free = pool.free(admission.count_available);
            let allowed = free.saturating_sub(admission.reserve);
            return breaks(needed, allowed).map(|(needed, _)| Limit::Machine { needed, free });
        }
        let device_free = pool.device_free.unwrap_or(0);
        let needed = peak.device.saturating_sub(held.device).saturating_add(margin);
        if breaks(needed, device_free).is_some() {
            return Some(Limit::Device { needed, free: device_free });
        }
        let needed = peak.host.saturating_sub(held.host).saturating_add(margin);
        let allowed = pool.available.saturating_sub(admission.reserve);
        breaks(needed, allowed).map(|(needed, _)| Limit::Machine { needed, free: pool.available })
    }

    fn measured_kept(&self) -> u64 {
        self.measured.iter().map(|growth| growth.kept()).fold(0, u64::saturating_add)
    }

    /// The same stages, nothing loaded, in the load order with the lowest peak: stages with the largest temporary memory
    /// first, while little else is resident. Swapping two neighbours that are in the other order never raises the higher of
    /// their two peaks, so this order is optimal.
    pub fn best_order(&self) -> Self {
        let mut stages = self.stages.clone();
        stages.sort_by_key(|stage| std::cmp::Reverse(stage.transient.bytes));
        Self::new(stages, self.shared_arena)
    }

    /// The same stages, nothing loaded, with each profile's maximum at its optimal size; `None` when no stage has that figure.
    pub fn at_usual_sizes(&self) -> Option<Self> {
        let mut smaller = Self::new(self.stages.clone(), self.shared_arena);
        for stage in &mut smaller.stages {
            if let Some((activation, io)) = stage.at_usual {
                stage.activation.bytes = stage.activation.bytes.min(activation);
                stage.io.bytes = stage.io.bytes.min(io);
            }
        }
        self.stages.iter().any(|stage| stage.at_usual.is_some()).then_some(smaller)
    }
}
