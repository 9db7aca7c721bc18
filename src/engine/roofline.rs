//! The least time that a stage can take on a machine of given memory bandwidth and arithmetic: a prediction from bytes
//! and operations, not a measurement.

use super::memory::estimate::{self, Size};
use super::wiring::Stage;
use crate::onnx::cost;

/// A machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Machine {
    /// Memory bandwidth, bytes a second.
    pub bytes_per_s: f64,
    /// Dense FP16 operations a second. INT8 counts twice as fast, FP32 (as TF32) half as fast.
    pub fp16_flops_per_s: f64,
}

/// What bounds a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Bytes.
    Memory,
    /// Operations.
    Compute,
}

/// One stage, all its repetitions together.
#[derive(Clone, PartialEq, Debug)]
pub struct Floor {
    /// The stage.
    pub stage: String,
    /// Its precision.
    pub precision: String,
    /// Runs in one inference.
    pub runs: u32,
    /// Bytes of weights, read anew in each run.
    pub weight_bytes: u64,
    /// Bytes of inputs and outputs of a run, at the profile's usual size.
    pub io_bytes: u64,
    /// Operations of a run: MatMul, Gemm and Conv, at the profile's usual size.
    pub flops: u64,
    /// Operators that are not counted, because their sizes are not known.
    pub unknown: Vec<String>,
    /// Time that the bytes of all runs take, seconds.
    pub memory_s: f64,
    /// Time that the operations of all runs take, seconds.
    pub compute_s: f64,
}

impl Floor {
    /// The floor of a stage; `None` when its network cannot be read. `repetitions`: denoising steps.
    pub fn of(stage: &Stage, repetitions: u32, machine: Machine) -> Option<Self> {
        let network = estimate::network(stage)?;
        let symbols = estimate::symbols(stage, Some(&network), Size::Usual);
        let cost = network.cost(&symbols, cost::float_bytes(&stage.precision, 1));
        let runs = if stage.repeat { repetitions } else { 1 };
        let weight_bytes = network.weight_bytes_in(&stage.precision);
        let io_bytes = estimate::traffic(stage, Some(&network), Size::Usual);
        // Of a matrix element: 1 byte at INT8, 2 at FP16, 4 at FP32.
        let speed = 2.0 / cost::float_bytes(&stage.precision, 2) as f64;
        let all = f64::from(runs);
        Some(Self {
            stage: stage.name.clone(),
            precision: stage.precision.clone(),
            runs,
            weight_bytes,
            io_bytes,
            flops: cost.flops,
            unknown: cost.unknown,
            memory_s: all * (weight_bytes + io_bytes) as f64 / machine.bytes_per_s,
            compute_s: all * cost.flops as f64 / (machine.fp16_flops_per_s * speed),
        })
    }

    /// The larger of both times, seconds.
    pub fn seconds(&self) -> f64 {
        self.memory_s.max(self.compute_s)
    }

    /// Which of both it is.
    pub fn bound(&self) -> Bound {
        if self.memory_s >= self.compute_s { Bound::Memory } else { Bound::Compute }
    }
}
