//! The least time that a stage can take on a machine of given memory bandwidth and arithmetic: a prediction from bytes
//! and operations, not a measurement.
//!
//! A floor is max(bytes / bandwidth, operations / rate) (the roofline model: Williams, Waterman, Patterson, 2009). Bytes
//! are the weights, once in each run, and a run's inputs and outputs, keys and values among them. What passes between the
//! layers of a stage is taken to cost nothing, and both memory and arithmetic to be busy at their peak all the time: a
//! real engine is slower. No board reads memory at the rate of its pins: [`REACHED_SHARE`] of it was measured elsewhere.

use super::graph::Stage;
use super::memory::estimate::{self, Size};
use crate::onnx::cost;

mod board;
mod roofs;

pub use board::{BOARDS, Board, Mode, Published};
pub use roofs::{FORMAT as ROOFS_FORMAT, Roofs};

/// The share of the pin rate that another project measured on an AGX Orin.
pub const REACHED_SHARE: f64 = 0.746;

/// A machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Machine {
    /// Memory bandwidth, bytes a second.
    pub bytes_per_s: f64,
    /// Dense FP16 and BF16 operations a second.
    pub fp16_flops_per_s: f64,
    /// Dense INT8 operations a second.
    pub int8_ops_per_s: f64,
    /// FP32 operations a second, TF32 not used: engines are built without it.
    pub fp32_flops_per_s: f64,
}

impl Machine {
    /// Tensor cores of Orin do eight FP16 operations in the time of one FP32 operation elsewhere.
    const FP16_BY_FP32: f64 = 8.0;

    /// Peak rates of a GPU whose INT8 rate is twice and whose FP32 rate is an eighth of its FP16 rate, as on Orin.
    pub fn new(bytes_per_s: f64, fp16_flops_per_s: f64) -> Self {
        Self {
            bytes_per_s,
            fp16_flops_per_s,
            int8_ops_per_s: 2.0 * fp16_flops_per_s,
            fp32_flops_per_s: fp16_flops_per_s / Self::FP16_BY_FP32,
        }
    }

    /// The same arithmetic with a share of the memory bandwidth.
    pub fn with_bandwidth_share(self, share: f64) -> Self {
        Self { bytes_per_s: self.bytes_per_s * share, ..self }
    }

    /// Seconds that the operations of one run take, `int8` of them on integers.
    fn compute_s(&self, precision: &str, flops: u64, int8: u64) -> f64 {
        // Of a vector element: 2 bytes at FP16, 4 at FP32.
        let rate = if cost::float_bytes(precision, 1) == 2 { self.fp16_flops_per_s } else { self.fp32_flops_per_s };
        int8 as f64 / self.int8_ops_per_s + flops.saturating_sub(int8) as f64 / rate
    }
}

/// What bounds a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Bytes.
    Memory,
    /// Operations.
    Compute,
}

/// What all repetitions of one stage move and compute; no machine yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Work {
    /// The stage.
    pub stage: String,
    /// Its precision in policy.yaml.
    pub precision: String,
    /// Precision of everything that is not an integer.
    pub floating: String,
    /// Runs in one inference.
    pub runs: u32,
    /// Bytes of weights, read anew in each run; of a table only the rows that are picked.
    pub weight_bytes: u64,
    /// Bytes of inputs and outputs of a run, at the profile's usual size.
    pub io_bytes: u64,
    /// Operations of a run: MatMul, Gemm and Conv, at the profile's usual size.
    pub flops: u64,
    /// Those of them on 8-bit integers: products that the network quantises. Of a network that does not quantise, with
    /// `int8` in the precision: all products with weights, as if a calibrated build took INT8 for each.
    pub int8_flops: u64,
    /// Operators that are not counted, because their sizes are not known.
    pub unknown: Vec<String>,
}

impl Work {
    /// The work of a stage; `None` when its network cannot be read. `repetitions`: denoising steps.
    pub fn of(stage: &Stage, repetitions: u32) -> Option<Self> {
        let network = estimate::network(stage)?;
        let symbols = estimate::symbols(stage, Some(&network), Size::Usual);
        let own = network.is_quantized();
        let floating = cost::without_integers(&stage.precision);
        let cost = network.cost(&symbols, cost::float_bytes(&stage.precision, 1));
        let calibrated = !own && cost::float_bytes(&stage.precision, 2) == 1;
        Some(Self {
            stage: stage.name.clone(),
            precision: stage.precision.clone(),
            floating: if own { floating } else { stage.precision.clone() },
            runs: if stage.repeat { repetitions } else { 1 },
            weight_bytes: network.weight_bytes_read_in(&stage.precision, &cost),
            io_bytes: estimate::traffic(stage, Some(&network), Size::Usual),
            flops: cost.flops,
            int8_flops: if calibrated { cost.weight_flops } else { cost.int8_flops },
            unknown: cost.unknown,
        })
    }

    /// The floor of all runs on a machine.
    pub fn on(&self, machine: Machine) -> Floor {
        let runs = f64::from(self.runs);
        Floor {
            memory_s: runs * self.weight_bytes.saturating_add(self.io_bytes) as f64 / machine.bytes_per_s,
            compute_s: runs * machine.compute_s(&self.floating, self.flops, self.int8_flops),
        }
    }
}

/// One stage, all its repetitions together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Floor {
    /// Time that the bytes of all runs take, seconds.
    pub memory_s: f64,
    /// Time that the operations of all runs take, seconds.
    pub compute_s: f64,
}

impl Floor {
    /// The larger of both times, seconds.
    pub fn seconds(&self) -> f64 {
        self.memory_s.max(self.compute_s)
    }

    /// Which of both it is.
    pub fn bound(&self) -> Bound {
        if self.memory_s >= self.compute_s { Bound::Memory } else { Bound::Compute }
    }
}
