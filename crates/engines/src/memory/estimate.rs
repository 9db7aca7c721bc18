//! Footprints estimated from files, before anything is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{Figure, Footprint, READ_WINDOW};
use crate::Error;
use crate::frames::FrameSlots;
use crate::graph::{Stage, Symbols};
use crate::onnx::{Network, Product, cost};
use crate::operations::{Operation, Program, Source};
use crate::provenance::{self, Provenance};
use crate::quantized::engine_precision;
use vla_base::tensor::{DType, Dim};

/// TensorRT 8.6 keeps a host copy as large as the engine file; other versions are assumed to do the same.
const HOST_COPY: f64 = 1.0;

/// A size of a stage's profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Smallest.
    Least = 0,
    /// Usual.
    Usual = 1,
    /// Largest.
    Most = 2,
}

/// The stage's network file, read for planning; `None` if it is not a valid ONNX model (loading it reports why).
pub fn network(stage: &Stage) -> Option<Network> {
    let read = Network::open(&stage.onnx);
    read.inspect_err(|error| tracing::debug!(stage = %stage.name, %error, "no estimate from the network")).ok()
}

/// Values of the stage's symbolic dimensions, under the names of policy.yaml and under those of the network.
pub fn symbols(stage: &Stage, network: Option<&Network>, size: Size) -> Symbols {
    let mut symbols: Symbols = stage.profile.iter().map(|(name, range)| (name.clone(), range[size as usize])).collect();
    let Some(network) = network else { return symbols };
    let described = stage.inputs.iter().map(|input| (&input.tensor, &input.dims));
    let described = described.chain(stage.outputs.iter().map(|output| (&output.tensor, &output.dims)));
    for (tensor, dims) in described {
        let Some(dims) = dims else { continue };
        let own = network.inputs.iter().chain(&network.outputs).find(|spec| spec.name == *tensor);
        for (own, described) in own.iter().flat_map(|spec| &spec.dims).zip(dims) {
            let value = match described {
                Dim::Fixed(n) => Some(*n),
                Dim::Symbol(name) => symbols.get(name).copied(),
            };
            if let (Dim::Symbol(own), Some(value)) = (own, value) {
                symbols.entry(own.clone()).or_insert(value);
            }
        }
    }
    symbols
}

impl Footprint {
    /// A stage on ONNX Runtime's CPU provider, which holds the weights once, in its own layout and in single precision:
    /// those in half precision are converted, and quantised ones are dequantised when the session is made (both
    /// measured with ONNX Runtime 1.32). With `integer_kernels` 8-bit weights stay as they are.
    ///
    /// # Errors
    /// [`Error::Load`] when a file is missing, or shorter than the network's weights.
    pub fn of_onnx(stage: &Stage, integer_kernels: bool) -> Result<Self, Error> {
        let network = network(stage);
        let model = size_of(stage, &stage.file)?;
        whole(stage, network.as_ref())?;
        let beside = network.iter().flat_map(|network| &network.data_files).map(|file| size_of(stage, file));
        let data = beside.sum::<Result<u64, Error>>()?;
        let file = model.saturating_add(data);
        let activation = network.as_ref().map(|network| activation(stage, network, "fp32"));
        let (held, converted) = network.as_ref().map_or((file, 0), |network| on_cpu(network, integer_kernels));
        Ok(Self {
            stage: stage.name.clone(),
            file: Figure::measured(file),
            weights: Figure::estimated(held),
            activation: Figure::estimated(activation.map_or(0, |(most, _)| most)),
            // The model file is parsed in memory; weights beside it are mapped, or read where they are converted.
            transient: Figure::estimated(model.saturating_add(converted)),
            at_usual: activation.map(|(_, usual)| (usual, 0)),
            ..Self::default()
        })
    }

    /// A stage on TensorRT: from its engine and record where they exist, else from the network and the stage's precision.
    /// With `release`, the runtime's host copy is released where a test showed that this works: it then counts while the
    /// engine is loaded, and the part that the test kept counts afterwards. `tensorrt`: the version that would build the engine,
    /// if known.
    ///
    /// # Errors
    /// [`Error::Load`] when neither engine nor network can be read, or when the engine is not built and the network's weights
    /// are not whole.
    pub fn of_tensorrt(
        stage: &Stage,
        provenance: Option<&Provenance>,
        release: bool,
        tensorrt: Option<&str>,
    ) -> Result<Self, Error> {
        let network = network(stage);
        let engine = fs::metadata(&stage.file).ok().filter(|_| stage.file != stage.onnx).map(|meta| meta.len());
        if engine.is_none() {
            whole(stage, network.as_ref())?;
        }
        let held = |network: &Network| network.weight_bytes_in(engine_precision(network, &stage.precision, tensorrt));
        let in_precision = network.as_ref().map(held);
        let file = match (engine, in_precision) {
            (Some(bytes), _) => Figure::measured(bytes),
            (None, Some(bytes)) => Figure::estimated(bytes),
            (None, None) => Figure::estimated(size_of(stage, &stage.onnx)?),
        };
        let memory = provenance.map(|provenance| &provenance.memory);
        let factor = memory.and_then(|memory| memory.kept_factor);
        let loaded = (file.bytes as f64 * factor.unwrap_or(HOST_COPY)) as u64;
        let trial = memory.and_then(|memory| memory.release.as_ref()).filter(|trial| release && trial.works);
        let released = trial.and_then(|trial| trial.kept_factor).map(|kept| (file.bytes as f64 * kept) as u64);
        let kept = released.unwrap_or(loaded).min(loaded);
        let estimate = network.as_ref().map(|network| activation(stage, network, &stage.precision));
        let stated = memory.and_then(|memory| memory.activation_bytes);
        Ok(Self {
            stage: stage.name.clone(),
            file,
            weights: memory.and_then(|m| m.weight_bytes).map_or(Figure::estimated(file.bytes), Figure::declared),
            host_copy: if factor.is_some() { Figure::measured(kept) } else { Figure::estimated(kept) },
            activation: stated.map_or(Figure::estimated(estimate.map_or(0, |(most, _)| most)), Figure::declared),
            transient: Figure::declared(file.bytes.min(READ_WINDOW).saturating_add(loaded - kept)),
            // The arena of a built engine is fixed; the need of a smaller profile is an estimate.
            at_usual: estimate.map(|(most, usual)| (stated.map_or(usual, |stated| scaled(stated, usual, most)), 0)),
            // A quantised network says by itself what it computes in.
            precision: stage.precision.parse().ok().filter(|_| !network.is_some_and(|network| network.is_quantized())),
            ..Self::default()
        })
    }
}

impl Footprint {
    /// Memory for products that cuBLASLt may use, one block for all stages.
    pub const PRODUCT_WORKSPACE: u64 = 64 << 20;
    /// Memory for weights that are rounded to 8 bits, while a stage is loaded.
    pub const ROUNDED_ROWS: u64 = 16 << 20;

    /// A stage as a list of operations on CUDA: the weights that the list names, once and as they are or in 8 bits, and the values between
    /// the operations, with the workspace of the products.
    ///
    /// # Errors
    /// [`Error::Provenance`] when the list cannot be run; [`Error::Load`] when a file is missing, or shorter than the network's
    /// weights.
    pub fn of_operations(stage: &Stage) -> Result<Self, Error> {
        let (program, network) = provenance::operations(stage)?;
        whole(stage, Some(&network))?;
        let beside = network.data_files.iter().map(|file| size_of(stage, file)).sum::<Result<u64, Error>>()?;
        let file = size_of(stage, &stage.onnx)?.saturating_add(beside).saturating_add(size_of(stage, &stage.file)?);
        let bytes =
            |dims: &[usize], size| dims.iter().fold(size as u64, |bytes, dim| bytes.saturating_mul(*dim as u64));
        let eight_bits = provenance::eight_bit_weights(stage, &program);
        let weights = program.weights.iter().enumerate().map(|(index, weight)| match eight_bits.contains(&index) {
            // A byte an element, and a scale an output.
            true => bytes(&weight.dims, 1).saturating_add(bytes(weight.dims.get(..1).unwrap_or_default(), 4)),
            false => bytes(&weight.dims, weight.dtype.size()),
        });
        let at = |size| {
            let live = live_bytes(&program, &eight_bits, &symbols(stage, Some(&network), size));
            live.saturating_add(Self::PRODUCT_WORKSPACE)
        };
        let frames = |size| frame_bytes(&program, &symbols(stage, Some(&network), size));
        let (most, usual) = (at(Size::Most), at(Size::Usual));
        let rounded = if eight_bits.is_empty() { 0 } else { Self::ROUNDED_ROWS };
        Ok(Self {
            stage: stage.name.clone(),
            file: Figure::measured(file),
            weights: Figure::declared(weights.fold(0, u64::saturating_add)),
            activation: Figure::estimated(most),
            io: Figure::declared(frames(Size::Most)),
            transient: Figure::declared(file.min(READ_WINDOW).saturating_add(rounded)),
            at_usual: Some((usual, frames(Size::Usual))),
            ..Self::default()
        })
    }
}

/// Bytes in which frames become pixels on the device, beside the pixels: what is uploaded, and images between steps. Counted whether
/// frames are resampled there or not, but only for a single input of pixels: several are always resampled by the host.
fn frame_bytes(program: &Program, symbols: &Symbols) -> u64 {
    // Sizes that contradict each other are refused where the list is bound.
    let Ok(dims) = program.dims(symbols) else { return 0 };
    let mut pixels = program.inputs.iter().filter_map(|&input| match dims[input][..] {
        [images, 3, height, width] if program.values[input].dtype == DType::F32 => Some((images, [width, height])),
        _ => None,
    });
    match (pixels.next(), pixels.next()) {
        (Some((images, size)), None) => FrameSlots::words_beside(images, size).saturating_mul(4) as u64,
        _ => 0,
    }
}

/// Bytes of the inner values of a list that live at the same time, at most, and of the largest result in parts: eight in single
/// precision, of products with no more outputs than inputs; of a product in 8 bits also its rows in 8 bits with their scales, and its
/// sums.
fn live_bytes(program: &Program, eight_bits: &BTreeSet<usize>, symbols: &Symbols) -> u64 {
    const PARTS: u64 = 8 * 4;
    const ALIGNMENT: u64 = 256;
    // Sizes that contradict each other are refused where the list is bound.
    let Ok(dims) = program.dims(symbols) else { return 0 };
    let elements = |value: usize| dims[value].iter().fold(1_u64, |product, size| product.saturating_mul(*size as u64));
    let mut last = vec![0; dims.len()];
    for (at, operation) in program.operations.iter().enumerate() {
        for operand in operation.operands() {
            if let Source::Value(value) = operand.source {
                last[value] = at;
            }
        }
    }
    let (mut living, mut peak, mut parts, mut quantized) = (Vec::new(), 0, 0, 0);
    for (at, operation) in program.operations.iter().enumerate() {
        let out = operation.out();
        if let Operation::Linear { x, activation: None, .. } = operation
            && dims[out].last().is_some_and(|to| *to <= x.columns)
        {
            parts = elements(out).saturating_mul(PARTS).saturating_add(ALIGNMENT).max(parts);
        }
        if operation.weights().iter().any(|weight| eight_bits.contains(weight))
            && let Operation::Linear { x, .. } = operation
        {
            let rows = elements(out) / dims[out].last().map_or(1, |to| (*to).max(1)) as u64;
            let bytes = rows.saturating_mul(x.columns as u64 + 4).saturating_add(elements(out).saturating_mul(4));
            quantized = bytes.saturating_add(3 * ALIGNMENT).max(quantized);
        }
        if !program.outputs.contains(&out) {
            living.push(out);
        }
        let bytes = |value: &usize| {
            let size = program.values[*value].dtype.size() as u64;
            elements(*value).saturating_mul(size).saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
        };
        peak = living.iter().map(bytes).fold(0, u64::saturating_add).max(peak);
        living.retain(|value| last[*value] > at);
    }
    peak.saturating_add(parts).saturating_add(quantized)
}

/// Bytes of weights that ONNX Runtime holds, and the stored bytes of those that it converts to single precision.
fn on_cpu(network: &Network, integer_kernels: bool) -> (u64, u64) {
    let products = network.products();
    let mut matrices: BTreeMap<&str, &Product> = BTreeMap::new();
    for product in &products {
        matrices.insert(&product.weight, product);
    }
    network.weights.iter().fold((0, 0), |(held, converted), weight| {
        let Some(product) = matrices.get(weight.name.as_str()) else {
            return (u64::saturating_add(held, weight.bytes), converted);
        };
        let stays =
            if integer_kernels && product.is_int8() { product.elements } else { product.elements.saturating_mul(4) };
        let read = if stays == weight.bytes && product.bits.is_none() { 0 } else { weight.bytes };
        (held.saturating_add(stays), u64::saturating_add(converted, read))
    })
}

/// Refuses a network whose files of weights are missing or cut.
fn whole(stage: &Stage, network: Option<&Network>) -> Result<(), Error> {
    match network.and_then(|network| network.data_problems().into_iter().next()) {
        None => Ok(()),
        Some(problem) => {
            Err(Error::Load { stage: stage.name.clone(), file: stage.onnx.clone(), source: problem.into() })
        }
    }
}

/// `stated` by the proportion of two estimates.
fn scaled(stated: u64, usual: u64, most: u64) -> u64 {
    if most == 0 { stated } else { (stated as f64 * usual as f64 / most as f64) as u64 }
}

/// Bytes between the layers at the profile's largest and usual sizes.
fn activation(stage: &Stage, network: &Network, precision: &str) -> (u64, u64) {
    let at = |size| network.cost(&symbols(stage, Some(network), size), cost::float_bytes(precision, 1)).live_bytes;
    (at(Size::Most), at(Size::Usual))
}

/// Adds each stage's inputs and outputs, given in run order; footprints may be in any order. A tensor counts where
/// it is made, one that the host writes where it is first read.
pub fn add_io(stages: &[Stage], footprints: &mut [Footprint]) {
    let mut seen: Vec<&str> = Vec::new();
    for stage in stages {
        let network = network(stage);
        let (mut most, mut usual) = (0u64, 0u64);
        let mut add = |name, tensor: &str, dtype: Option<DType>, dims: Option<&[Dim]>| {
            if seen.contains(&name) {
                return;
            }
            seen.push(name);
            for (sum, size) in [(&mut most, Size::Most), (&mut usual, Size::Usual)] {
                let symbols = symbols(stage, network.as_ref(), size);
                *sum = sum.saturating_add(tensor_bytes(network.as_ref(), tensor, dtype, dims, &symbols));
            }
        };
        for input in stage.inputs.iter().filter(|input| input.constants.is_none()) {
            add(input.name.as_str(), &input.tensor, input.dtype, input.dims.as_deref());
        }
        for output in &stage.outputs {
            add(output.name.as_str(), &output.tensor, output.dtype, output.dims.as_deref());
        }
        // One row a repetition: no more than the whole table.
        let tables = stage.inputs.iter().filter_map(|input| fs::metadata(input.constants.as_ref()?).ok());
        let tables = tables.map(|meta| meta.len()).fold(0, u64::saturating_add);
        (most, usual) = (most.saturating_add(tables), usual.saturating_add(tables));
        if let Some(footprint) = footprints.iter_mut().find(|footprint| footprint.stage == stage.name) {
            let (activation, beside) = footprint.at_usual.unwrap_or((footprint.activation.bytes, footprint.io.bytes));
            footprint.io += Figure::declared(most);
            footprint.at_usual = Some((activation, beside.saturating_add(usual)));
        }
    }
}

/// Bytes of all inputs and outputs of one run; `constants` count one row.
pub fn traffic(stage: &Stage, network: Option<&Network>, size: Size) -> u64 {
    let symbols = symbols(stage, network, size);
    let bytes = |tensor: &str, dtype, dims| tensor_bytes(network, tensor, dtype, dims, &symbols);
    let inputs = stage.inputs.iter().map(|input| bytes(&input.tensor, input.dtype, input.dims.as_deref()));
    let outputs = stage.outputs.iter().map(|output| bytes(&output.tensor, output.dtype, output.dims.as_deref()));
    inputs.chain(outputs).fold(0, u64::saturating_add)
}

/// Bytes of a tensor by policy.yaml, or where that is silent by the network; unknown sizes count as 1.
fn tensor_bytes(
    network: Option<&Network>,
    tensor: &str,
    dtype: Option<DType>,
    dims: Option<&[Dim]>,
    symbols: &Symbols,
) -> u64 {
    let own = network.and_then(|n| n.inputs.iter().chain(&n.outputs).find(|spec| spec.name == tensor));
    let dims = dims.or(own.map(|spec| spec.dims.as_slice())).unwrap_or_default();
    let dtype = dtype.or(own.map(|spec| spec.dtype)).unwrap_or(DType::F32);
    let size = |dim: &Dim| match dim {
        Dim::Fixed(n) => *n as u64,
        Dim::Symbol(name) => symbols.get(name).copied().unwrap_or(1) as u64,
    };
    dims.iter().map(size).fold(dtype.size() as u64, u64::saturating_mul)
}

fn size_of(stage: &Stage, file: &Path) -> Result<u64, Error> {
    let found = fs::metadata(file).map_err(|error| Error::Load {
        stage: stage.name.clone(),
        file: file.to_owned(),
        source: error.into(),
    });
    Ok(found?.len())
}
