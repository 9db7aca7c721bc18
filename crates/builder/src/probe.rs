//! Loads one engine in a separate process and runs it once: checks its outputs and measures its memory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec};
use vla_engines::host_copy;
use vla_engines::host_copy::MappingSnapshot;
use vla_engines::memory::{AnonymousPeak, MemoryUse};
use vla_engines::profile::Profile;
use vla_engines::provenance::{DeviceIdentity, Memory};
use vla_engines::{Backend as _, BufferSpec, Cause, Launch};
use vla_tensorrt::device::{LoadedEngine, Options, Tensorrt};

/// The driver allocates device memory in blocks of megabytes, also for a small engine.
const ROUNDING: u64 = 64 << 20;

/// Measurements of one load and one run of an engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// The device.
    pub device: DeviceIdentity,
    /// Memory of the engine.
    pub memory: Memory,
    /// Optimisation profile of each input, by the engine's input name.
    pub profiles: BTreeMap<String, Profile>,
}

/// Loads the engine twice and runs it once on small values in the optimal shapes. The second load is measured, because the
/// first includes TensorRT's initialisation of the process.
///
/// # Errors
/// [`Error::Engine`] if it does not load or run; [`Error::Unclean`] if an output is not finite, or if TensorRT warns that
/// another GPU model built it and `emulated` is false (checked before the run).
pub fn probe(engine: &Path, emulated: bool) -> Result<Probe, Error> {
    Ok(Alone::load(engine, emulated)?.probe)
}

/// Like [`probe`], and then tests whether the runtime's host copy of the engine can be released, if it is large enough. Reports
/// the measurements to `progress` before the test. Call it in a separate process: if the runtime writes to its copy, the
/// process ends by `SIGSEGV`.
///
/// # Errors
/// As [`probe`].
pub fn probe_and_try_release(engine: &Path, emulated: bool, progress: &mut dyn FnMut(&Probe)) -> Result<Probe, Error> {
    let mut alone = Alone::load(engine, emulated)?;
    progress(&alone.probe);
    let kept = alone.probe.memory.kept_factor.unwrap_or_default() * alone.bytes as f64;
    if kept >= host_copy::LEAST as f64 {
        alone.probe.memory.release = alone.try_release()?;
    }
    Ok(alone.probe)
}

/// A loaded engine after its run; the only one of the process.
pub(super) struct Alone<'e> {
    pub(super) engine: &'e Path,
    /// Size of its file.
    pub(super) bytes: u64,
    pub(super) loaded: LoadedEngine,
    pub(super) device: Tensorrt,
    /// Memory before the load.
    pub(super) watch: Result<MappingSnapshot, host_copy::Error>,
    /// Outputs of the run.
    pub(super) outputs: Vec<HostTensor>,
    /// Anonymous memory that stayed allocated after the load, in bytes.
    pub(super) kept: u64,
    pub(super) probe: Probe,
}

impl<'e> Alone<'e> {
    fn load(engine: &'e Path, emulated: bool) -> Result<Self, Error> {
        let mut device = Tensorrt::open(Options { launch: Launch::StepByStep, ..Options::default() })?;
        drop(device.load_file("probe", engine)?);
        let (free_before, _) = device.cuda().memory()?;
        let before = MemoryUse::now();
        let watch = MappingSnapshot::take();
        let peak = AnonymousPeak::watch();
        let mut loaded = device.load_file("probe", engine)?;
        let peak = peak.stop();
        let after = MemoryUse::now();
        let (free_after, _) = device.cuda().memory()?;
        let bytes = std::fs::metadata(engine).map_err(Error::io(engine))?.len();
        let kept = after.anonymous.saturating_sub(before.anonymous);
        let memory = Memory {
            kept_factor: Some(factor(kept, bytes)),
            activation_bytes: Some(loaded.activation_bytes()),
            weight_bytes: believable(free_before.saturating_sub(free_after), bytes),
            load_peak_bytes: Some(peak.saturating_sub(before.anonymous)),
            ..Memory::default()
        };
        let probe = Probe { device: device.identity().clone(), memory, profiles: loaded.profiles() };
        // Checked before the run, which would fail with `Cask unknown internal error`.
        if let Some(words) = device.other_model().filter(|_| !emulated) {
            let reason = format!("it was built on another GPU model ({words}); build it on this device");
            return Err(Error::Unclean { engine: engine.to_owned(), source: reason.into() });
        }
        let outputs = outputs(&mut device, &mut loaded, engine)?;
        Ok(Self { engine, bytes, loaded, device, watch, outputs, kept, probe })
    }
}

/// `lost` (the decrease of free device memory) if it is plausible for an engine of this size, whose weights are about as large
/// as its file; `None` otherwise, because other programs then allocated or freed memory meanwhile.
fn believable(lost: u64, bytes: u64) -> Option<u64> {
    (bytes - bytes / 10..=bytes.saturating_mul(2) + ROUNDING).contains(&lost).then_some(lost)
}

/// `bytes` as a multiple of the engine's size, rounded to three decimals.
pub(super) fn factor(part: u64, bytes: u64) -> f64 {
    (part as f64 / bytes.max(1) as f64 * 1000.0).round() / 1000.0
}

/// The outputs of one run on small numbers in the optimal shapes, in a new context; all are finite.
pub(super) fn outputs(
    device: &mut Tensorrt,
    loaded: &mut LoadedEngine,
    engine: &Path,
) -> Result<Vec<HostTensor>, Error> {
    let (inputs, outputs) = (device.inputs(loaded).to_vec(), device.outputs(loaded).to_vec());
    let usual = loaded.profiles();
    let mut buffers = Vec::new();
    let mut named = Vec::new();
    for spec in &inputs {
        let fixed = || spec.dims.iter().map(fixed_or_one).collect();
        let dims: Vec<usize> = usual.get(&spec.name).map_or_else(fixed, |profile| profile.opt.clone());
        named.push((spec.name.clone(), buffers.len()));
        buffers.push(BufferSpec { dtype: spec.dtype, dims, upload: true, download: false });
    }
    let shapes: Vec<(String, Vec<usize>)> =
        named.iter().map(|(name, at)| (name.clone(), buffers[*at].dims.clone())).collect();
    let made = device.output_shapes(loaded, &shapes)?;
    let first_output = buffers.len();
    for (spec, dims) in outputs.iter().zip(made) {
        buffers.push(BufferSpec { dtype: spec.dtype, dims, upload: false, download: false });
    }
    let results: Vec<(String, usize)> =
        (first_output..).zip(&outputs).map(|(at, spec)| (spec.name.clone(), at)).collect();
    let mut workspace = device.workspace(&buffers, 0)?;
    for (spec, (_, at)) in inputs.iter().zip(&named) {
        if let Some(tensor) = small_numbers(spec.dtype, &buffers[*at].dims) {
            device.write(&mut workspace, *at, &tensor).map_err(|error| failed(engine, error))?;
        }
    }
    let mut bound = device.bind(loaded, &mut workspace, &named, &results)?;
    device.upload(&mut workspace)?;
    device.run(loaded, &mut bound, &mut workspace).map_err(|error| failed(engine, error))?;
    device.finish()?;
    let mut made = Vec::with_capacity(outputs.len());
    for (spec, (_, at)) in outputs.iter().zip(&results) {
        let Some(mut tensor) = HostTensor::zeros(spec.dtype, &buffers[*at].dims) else { continue };
        device.read(&workspace, *at, &mut tensor).map_err(|error| failed(engine, error))?;
        check_finite(spec, &tensor).map_err(|reason| failed(engine, reason))?;
        made.push(tensor);
    }
    Ok(made)
}

fn failed(engine: &Path, source: impl Into<Cause>) -> Error {
    Error::Unclean { engine: engine.to_owned(), source: source.into() }
}

fn fixed_or_one(dim: &Dim) -> usize {
    match dim {
        Dim::Fixed(n) => *n,
        Dim::Symbol(_) => 1,
    }
}

/// Small values, on which no exported network overflows. Indices are 0, which is always valid.
fn small_numbers(dtype: DType, dims: &[usize]) -> Option<HostTensor> {
    let mut tensor = HostTensor::zeros(dtype, dims)?;
    match tensor.data_mut() {
        Data::F32(values) => values.iter_mut().zip(wave()).for_each(|(value, wave)| *value = wave),
        Data::F16(values) => {
            values.iter_mut().zip(wave()).for_each(|(value, wave)| *value = half::f16::from_f32(wave));
        }
        Data::BF16(values) => {
            values.iter_mut().zip(wave()).for_each(|(value, wave)| *value = half::bf16::from_f32(wave));
        }
        _ => {}
    }
    Some(tensor)
}

fn wave() -> impl Iterator<Item = f32> {
    (0u32..).map(|index| (index % 17) as f32 / 17.0 - 0.5)
}

fn check_finite(spec: &TensorSpec, tensor: &HostTensor) -> Result<(), String> {
    let bad = match tensor.data() {
        Data::F32(values) => values.iter().filter(|value| !value.is_finite()).count(),
        Data::F16(values) => values.iter().filter(|value| !value.is_finite()).count(),
        Data::BF16(values) => values.iter().filter(|value| !value.is_finite()).count(),
        _ => 0,
    };
    let all: usize = tensor.dims().iter().product();
    match bad {
        0 => Ok(()),
        bad => Err(format!(
            "output '{}': {bad} of {all} values are NaN or infinite in a run on small numbers; build the stage in fp32",
            spec.name
        )),
    }
}
