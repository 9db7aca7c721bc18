//! Memory: free memory, the needs of each stage, whether the engines fit in their load order, and changes that would
//! make them fit.
//!
//! All of it is arithmetic on plain values: [`Pool`] is the memory of a machine, [`Footprint`] that of a stage,
//! [`MemoryPlan`] puts the footprints in load order, and [`MemoryPlan::admit`] compares them with the pool. A backend
//! provides the values. On a Jetson the GPU allocates from the memory of the host, so there is one pool; the memory of a
//! discrete GPU is checked separately.

mod alternatives;
pub mod estimate;
mod footprint;
mod peak;
mod plan;
mod pool;
mod precision;
mod shortage;
mod table;
mod usage;
mod what_if;

pub use alternatives::Alternatives;
pub use footprint::{Figure, Footprint, Origin, READ_WINDOW};
pub use peak::AnonymousPeak;
pub use plan::{MemoryPlan, Peak, Step, Usage};
pub use pool::{Admission, Pool};
pub use precision::LowerPrecision;
pub use shortage::{Limit, Shortage};
pub use table::Timeline;
pub use usage::{Growth, MemoryUse, field};
pub use what_if::Fit;

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes as MiB, for people.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

#[cfg(test)]
mod tests;
