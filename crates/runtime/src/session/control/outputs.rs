//! What outputs take besides joints, and whether they take commands at all.

use std::sync::Arc;

use super::{Control, State, lock};
use crate::parameters::{OutputSettings, Route, Settings};
use vla_base::time::Stamp;
use vla_motion::{ColumnGroup, ColumnKind, ColumnPlan};

impl Control {
    /// The plan of the columns that outputs take.
    pub fn column_plan(&self) -> Option<Arc<ColumnPlan>> {
        lock(&self.column_plan).clone()
    }

    /// Brings the columns to rest on a clock that was set back: they are sent one by one, so the controller has no plan that ends.
    pub(super) fn set_columns_back(&self, state: &mut State, before: Stamp, now: Stamp) {
        state.columns.set_back(before, now);
        *lock(&self.column_plan) = state.columns.plan().cloned();
    }

    /// Sets why an output takes no commands: until it does, chunks move nothing. `None`: every output takes them.
    pub fn set_unready(&self, reason: Option<Arc<str>>) {
        let mut state = self.lock();
        if state.unready != reason {
            match &reason {
                Some(reason) => tracing::warn!("nothing may move: {reason}"),
                None => tracing::info!("every output takes commands"),
            }
            state.unready = reason;
        }
    }
}

/// The columns that outputs take, in the order of the outputs.
pub(super) fn column_groups(settings: &Settings) -> Vec<ColumnGroup> {
    let group = |output: &OutputSettings| {
        let kind = match &output.route {
            Route::Twist(twist) => {
                ColumnKind::Velocity { max: twist.max.clone(), max_acceleration: twist.max_acceleration.clone() }
            }
            Route::Pose(pose) => ColumnKind::Pose(pose.layout),
            _ => return None,
        };
        Some(ColumnGroup { name: output.name.clone(), columns: output.columns.clone(), kind })
    };
    settings.outputs.iter().filter_map(group).collect()
}
