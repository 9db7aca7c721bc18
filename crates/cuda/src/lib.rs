//! CUDA: the engine kind that runs a network's list of operations.

pub mod kernels;
pub mod launch;
pub mod plan;
pub mod tactics;
