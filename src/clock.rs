//! ROS time: the system clock, or `/clock` when `use_sim_time` is set.

use std::sync::{Arc, Mutex, PoisonError};

use r2r::{Clock, Node};

use super::error::Error;
use vla_base::time::Stamp;

r2r::assert_compiled_with_use_sim_time_support!();

/// Reads ROS time. Cheap to clone; the lock is r2r's own and held for one reading.
#[derive(Clone)]
pub(crate) struct RosClock {
    clock: Arc<Mutex<Clock>>,
    simulated: bool,
}

impl RosClock {
    /// The node's clock, following `/clock` from now on when `simulated`.
    ///
    /// # Errors
    /// When `/clock` cannot be subscribed to.
    pub(crate) fn of(node: &mut Node, simulated: bool) -> Result<Self, Error> {
        if simulated {
            let source = node.get_time_source();
            source.enable_sim_time(node).map_err(|e| Error::endpoint("topic", "/clock", e))?;
        }
        Ok(Self { clock: node.get_ros_clock(), simulated })
    }

    /// The time now; zero in simulation until the first `/clock` message.
    pub(crate) fn now(&self) -> Stamp {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        // Only an uninitialised clock fails to read; the age checks then refuse every input.
        let now = clock.get_now().unwrap_or_default();
        Stamp::from_nanos(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whether time comes from `/clock`.
    pub(crate) fn simulated(&self) -> bool {
        self.simulated
    }
}
