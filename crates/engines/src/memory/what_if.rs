//! The same engines with another host copy or in another load order.

use super::{Admission, Figure, Footprint, MemoryPlan, Pool};

/// In which load orders a plan is admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// In every one.
    AnyOrder,
    /// In the best one, not in every one.
    BestOrder,
    /// In none.
    None,
}

impl MemoryPlan {
    /// Nothing loaded, with a host copy of `factor` times each engine's file; figures of records are kept.
    pub fn with_host_copies(&self, factor: f64) -> Self {
        self.changed(|stage| {
            if stage.host_copy.origin == super::Origin::Estimated {
                stage.host_copy = Figure::estimated(part(stage.file.bytes, factor));
            }
        })
    }

    /// Nothing loaded, with a host copy as large as the file of which all but `factor` is released after the load: the whole
    /// copy exists for one engine at a time.
    pub fn with_released_host_copies(&self, factor: f64) -> Self {
        self.changed(|stage| {
            let kept = part(stage.file.bytes, factor);
            stage.host_copy = Figure::estimated(kept.min(stage.host_copy.bytes));
            let gone = stage.file.bytes.saturating_sub(stage.host_copy.bytes);
            stage.transient = Figure::estimated(stage.transient.bytes.max(gone));
        })
    }

    /// In which orders it is admitted. Orders differ by what a load needs for a moment only: no order is worse than
    /// that of [`Self::best_order`] from behind, by the same argument.
    pub fn fit(&self, admission: Admission, pool: Option<Pool>) -> Fit {
        if self.worst_order().exceeded_limit(admission, pool).is_none() {
            Fit::AnyOrder
        } else if self.best_order().exceeded_limit(admission, pool).is_none() {
            Fit::BestOrder
        } else {
            Fit::None
        }
    }

    /// The same stages, nothing loaded, in the load order with the highest peak.
    pub fn worst_order(&self) -> Self {
        let mut worst = self.best_order();
        worst.stages.reverse();
        worst
    }

    fn changed(&self, change: impl FnMut(&mut Footprint)) -> Self {
        let mut stages = self.stages.clone();
        stages.iter_mut().for_each(change);
        Self::new(stages, self.shared_arena)
    }
}

fn part(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}
