//! Memory bandwidth and matrix rates of the device that runs engines, measured with small networks through the engine kind itself.
//!
//! Two networks. *Reading*: products of one row with weights that no cache holds; the rate is the bytes of the weights
//! over the time of a run. *Multiplying*: a chain of products of square matrices in FP32, FP16 and INT8 (QuantizeLinear and
//! DequantizeLinear); the rate is their operations over the time. Both run until the clocks are up, then the median counts.

use std::path::Path;
use std::time::{Duration, Instant};

use vla_base::tensor::{DType, Dim};
use vla_engines::{Backend, BufferSpec, Error, Stage};

mod network;
#[cfg(feature = "tensorrt")]
mod tensorrt;

pub use network::{Multiplied, Network, multiplying, reading};
#[cfg(feature = "tensorrt")]
pub use tensorrt::on_tensorrt;

use vla_engines::ProvenanceStatus;
use vla_engines::onnx_runtime::Onnx;
use vla_engines::provenance::rfc3339;
use vla_engines::roofline::{ROOFS_FORMAT, Roofs};

/// How long and on what a rate is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// Rows and columns of the square matrices.
    pub side: usize,
    /// Bytes of the weights that are read.
    pub read_bytes: usize,
    /// Runs before the first counted one take at least this long.
    pub warm_up: Duration,
    /// Counted runs take at least this long, and are at least [`LEAST_RUNS`].
    pub counted: Duration,
}

/// Counted runs at least.
pub const LEAST_RUNS: usize = 5;

impl Effort {
    /// For a CPU: weights beyond its caches, and matrices of about a second in all.
    pub const CPU: Self = Self {
        side: 1024,
        read_bytes: 256 << 20,
        warm_up: Duration::from_millis(500),
        counted: Duration::from_secs(2),
    };
    /// For a GPU: weights beyond its L2 cache, matrices that fill it.
    pub const GPU: Self =
        Self { side: 4096, read_bytes: 512 << 20, warm_up: Duration::from_secs(2), counted: Duration::from_secs(2) };
}

/// Measures ONNX Runtime's CPU provider; `folder` takes the networks. INT8 with its integer kernels.
///
/// # Errors
/// [`Error`] of ONNX Runtime; [`Error::Device`] when a network cannot be written.
pub fn on_cpu(threads: usize, effort: Effort, folder: &Path) -> Result<Roofs, Error> {
    let rate = |network: &Network, integers: bool| {
        let device = Onnx::new(threads)?;
        let mut device = if integers { device.with_integer_kernels() } else { device };
        let stage = network.write(folder, "roof")?;
        let engine = device.load(&stage, &ProvenanceStatus::NotApplicable)?;
        Ok::<f64, Error>(network.work as f64 / seconds(&mut device, engine, effort)?)
    };
    let (side, version) = (effort.side, Onnx::new(threads)?.version());
    Ok(Roofs {
        format: ROOFS_FORMAT,
        device: format!("CPU, {threads} threads"),
        engine: format!("ONNX Runtime {}", version.as_deref().unwrap_or("of unknown version")),
        at: rfc3339(std::time::SystemTime::now()),
        read_bytes_per_s: rate(&reading(DType::F32, effort.read_bytes), false)?,
        fp32_flops_per_s: rate(&multiplying(Multiplied::F32, side), false)?,
        fp16_flops_per_s: rate(&multiplying(Multiplied::F16, side), false)?,
        int8_ops_per_s: rate(&multiplying(Multiplied::I8, side), true)?,
    })
}

/// Median time of a run in seconds, after the warm-up.
fn seconds<B: Backend>(device: &mut B, mut engine: B::Engine, effort: Effort) -> Result<f64, Error> {
    let dims = |dims: &[Dim]| dims.iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { 1 }).collect();
    let (mut buffers, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for spec in device.inputs(&engine) {
        inputs.push((spec.name.clone(), buffers.len()));
        buffers.push(BufferSpec { dtype: spec.dtype, dims: dims(&spec.dims), upload: true, download: false });
    }
    for spec in device.outputs(&engine) {
        outputs.push((spec.name.clone(), buffers.len()));
        buffers.push(BufferSpec { dtype: spec.dtype, dims: dims(&spec.dims), upload: false, download: true });
    }
    let mut workspace = device.workspace(&buffers, 0)?;
    for (_, index) in &inputs {
        let BufferSpec { dtype, dims, .. } = &buffers[*index];
        if let Some(tensor) = network::ramp(*dtype, dims) {
            device.write(&mut workspace, *index, &tensor)?;
        }
    }
    let mut bound = device.bind(&mut engine, &mut workspace, &inputs, &outputs)?;
    device.upload(&mut workspace)?;
    device.finish()?;
    let mut run = || -> Result<f64, Error> {
        let started = Instant::now();
        device.run(&mut engine, &mut bound, &mut workspace)?;
        device.finish()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let warm_up = Instant::now();
    while warm_up.elapsed() < effort.warm_up {
        run()?;
    }
    let (started, mut times) = (Instant::now(), Vec::new());
    while times.len() < LEAST_RUNS || started.elapsed() < effort.counted {
        times.push(run()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// An error of writing a network.
fn unwritten(path: &Path, error: vla_base::sys::fs::Error) -> Error {
    Error::Device { action: format!("writing {}", path.display()), source: error.into() }
}

/// The stage that a network alone is.
fn stage(file: &Path) -> Stage {
    Stage {
        name: "roof".to_owned(),
        file: file.to_owned(),
        onnx: file.to_owned(),
        repeat: false,
        inputs: Vec::new(),
        outputs: Vec::new(),
        precision: String::new(),
        profile: Vec::new(),
        allow_unverified: false,
        allow_inaccurate: false,
    }
}

#[cfg(test)]
mod tests;
