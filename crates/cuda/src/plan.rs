//! Stand-in of this branch for the planner.

use vla_engines::operations::Program;

use crate::launch::{Address, Launch};
use crate::tactics::Choose;

mod arena;
mod error;
mod operand {
    pub(super) fn element_size(dtype: vla_base::tensor::DType) -> u64 {
        dtype.size() as u64
    }
}
mod sizes;
mod weights;

pub use error::PlanError;
pub use sizes::Sizes;
pub use weights::WeightLayout;

/// Stand-in.
pub struct Plan;

/// Addresses.
pub struct Bases<'a> {
    /// Of the weights' block.
    pub weights: Address,
    /// Of the arena.
    pub arena: Address,
    /// Of inputs.
    pub inputs: &'a [Address],
    /// Of outputs.
    pub outputs: &'a [Address],
}

impl Plan {
    /// Stand-in.
    pub fn new(_: &Program, _: &WeightLayout, _: &Sizes, _: &dyn Choose) -> Result<Self, PlanError> {
        Err(PlanError::Shared { value: 0 })
    }

    /// Bytes.
    pub fn arena_bytes(&self) -> u64 {
        0
    }

    /// Keys.
    pub fn keys(&self) -> Vec<crate::tactics::Key> {
        Vec::new()
    }

    /// Launches.
    pub fn launches(&self, _: &Bases<'_>) -> Result<Vec<Launch>, PlanError> {
        Ok(Vec::new())
    }
}
