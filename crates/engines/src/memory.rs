//! Memory: what is there, what each stage takes, whether the engines fit in the order in which they are loaded, and
//! what would make them fit.
//!
//! All of it is arithmetic on plain values: [`Pool`] says what a machine has, [`Footprint`] what a stage takes,
//! [`Plan`] puts the footprints in load order, and [`Plan::admit`] holds them against the pool. A device fills the
//! values in. On a Jetson the GPU allocates from the machine's only memory, so there is one pool; a card of its own is
//! judged apart from the host.

mod advice;
pub mod estimate;
mod footprint;
mod peak;
mod plan;
mod pool;
mod precision;
mod refusal;
mod usage;
mod what_if;

pub use advice::Advice;
pub use footprint::{Figure, Footprint, Origin, READ_WINDOW};
pub use peak::AnonymousPeak;
pub use plan::{Peak, Plan, Step, Usage};
pub use pool::{Admission, Pool};
pub use precision::LowerPrecision;
pub use refusal::{Cause, Refusal, Timeline};
pub use usage::{Growth, MemoryUse, field};
pub use what_if::Fit;

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes as MiB, for people.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

#[cfg(test)]
mod tests;
