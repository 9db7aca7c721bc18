//! Passes calibration data to the builder: one sample at a time on the device, all of the same shape.

use std::path::Path;

use super::scales::group;
use super::{Error, Request, Scales};
use crate::calibration::Calibration;
use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec};
use vla_engines::BufferSpec;
use vla_engines::onnx::Network;
use vla_tensorrt::cuda::Cuda;
use vla_tensorrt::{Calibrator, Staging};

/// Number of samples used by a calibration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Calibrated {
    /// Samples used.
    pub samples: usize,
    /// Samples skipped because of their shape: TensorRT calibrates with one shape.
    pub passed_over: usize,
}

/// Provides the builder with a calibration cache, or with samples; in the second case it stores the resulting cache.
pub(crate) struct RecordedInputs<'a> {
    scales: &'a Scales,
    onnx_sha256: &'a str,
    tensorrt: String,
    cache: Option<Vec<u8>>,
    samples: Option<Samples>,
}

/// Reader of the samples.
struct Samples {
    file: Calibration,
    inputs: Vec<TensorSpec>,
    dims: Vec<Vec<usize>>,
    /// TensorRT reads 64-bit integers as 32-bit ones.
    narrow: bool,
    staging: Staging,
    sample: Vec<HostTensor>,
    done: Calibrated,
}

impl<'a> RecordedInputs<'a> {
    /// A calibrator that provides `cache`.
    pub(crate) fn cached(scales: &'a Scales, cache: Vec<u8>) -> Self {
        Self { scales, onnx_sha256: "", tensorrt: String::new(), cache: Some(cache), samples: None }
    }

    /// A calibrator that provides the recorded inputs of `request` in their most frequent shape, and stores the cache.
    ///
    /// # Errors
    /// [`Error::Request`] if the inputs cannot be read, [`Error::Engine`] if device memory for a sample cannot be allocated.
    pub(crate) fn open(
        request: &Request,
        scales: &'a Scales,
        data: &Path,
        network: &Network,
        onnx_sha256: &'a str,
        (cuda, tensorrt, narrow): (&Cuda, String, bool),
    ) -> Result<Self, Error> {
        let fail = |problem: String| Error::Request { onnx: request.onnx.clone(), problems: vec![problem] };
        let file = Calibration::open(data, &network.inputs, group(request).as_deref())
            .map_err(|error| fail(error.to_string()))?;
        let usual = file.usual();
        let size = |dim: &Dim| match dim {
            Dim::Fixed(n) => *n,
            Dim::Symbol(symbol) => usual.get(symbol).copied().unwrap_or(1),
        };
        let inputs = network.inputs.clone();
        let dims: Vec<Vec<usize>> = inputs.iter().map(|input| input.dims.iter().map(size).collect()).collect();
        let buffers: Vec<BufferSpec> = inputs
            .iter()
            .zip(&dims)
            .map(|(input, dims)| {
                let dtype = if narrow && input.dtype == DType::I64 { DType::I32 } else { input.dtype };
                BufferSpec { dtype, dims: dims.clone(), upload: true, download: false }
            })
            .collect();
        let staging = Staging::new(cuda, &buffers)?;
        let done = Calibrated::default();
        let samples = Samples { file, inputs, dims, narrow, staging, sample: Vec::new(), done };
        Ok(Self { scales, onnx_sha256, tensorrt, cache: None, samples: Some(samples) })
    }

    /// The shape of every input, in the network's order; empty when a cache is used.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.samples.iter().flat_map(|samples| {
            samples.inputs.iter().zip(&samples.dims).map(|(input, dims)| (input.name.as_str(), dims.as_slice()))
        })
    }

    /// The samples used; `None` when a cache was used.
    pub(crate) fn done(&self) -> Option<Calibrated> {
        self.samples.as_ref().map(|samples| samples.done)
    }
}

impl Calibrator for RecordedInputs<'_> {
    fn batch_size(&self) -> usize {
        let dims = self.samples.as_ref().and_then(|samples| samples.dims.first()?.first().copied());
        dims.unwrap_or(1)
    }

    fn next(&mut self, inputs: &[&str], addresses: &mut Vec<u64>) -> Result<bool, String> {
        let Some(samples) = &mut self.samples else { return Ok(false) };
        if !samples.advance()? {
            return Ok(false);
        }
        for name in inputs {
            let at = samples.inputs.iter().position(|input| input.name == *name);
            let at = at.ok_or_else(|| format!("TensorRT asks for an input '{name}' that the network does not have"))?;
            addresses.push(samples.staging.address(at));
        }
        Ok(true)
    }

    fn cache(&self) -> Option<&[u8]> {
        self.cache.as_deref()
    }

    fn store(&mut self, cache: &[u8]) -> Result<(), String> {
        // TensorRT also calls this for a cache that it read.
        if self.cache.is_some() {
            return Ok(());
        }
        if let Some(samples) = self.samples.as_ref().filter(|samples| samples.done.samples == 0) {
            return Err(format!("all {} samples have another shape than the commonest", samples.done.passed_over));
        }
        self.scales.store(cache, self.onnx_sha256, &self.tensorrt)
    }
}

impl Samples {
    /// Uploads the next sample of the calibration shape; false after the last one.
    fn advance(&mut self) -> Result<bool, String> {
        loop {
            if !self.file.next_sample(&mut self.sample).map_err(|error| error.to_string())? {
                return Ok(false);
            }
            if self.sample.iter().zip(&self.dims).all(|(tensor, dims)| tensor.dims() == dims) {
                break;
            }
            self.done.passed_over += 1;
        }
        for (index, tensor) in self.sample.iter().enumerate() {
            let narrowed = if self.narrow { narrowed(tensor)? } else { None };
            let written = self.staging.write(index, narrowed.as_ref().unwrap_or(tensor));
            written.map_err(|error| error.to_string())?;
        }
        self.staging.upload().map_err(|error| error.to_string())?;
        self.done.samples += 1;
        Ok(true)
    }
}

/// Converts 64-bit integers to 32-bit ones.
fn narrowed(tensor: &HostTensor) -> Result<Option<HostTensor>, String> {
    let Data::I64(values) = tensor.data() else { return Ok(None) };
    let narrow = values.iter().map(|value| i32::try_from(*value));
    let values = narrow
        .collect::<Result<Vec<i32>, _>>()
        .map_err(|error| format!("an index does not fit 32 bits, which this TensorRT holds indices in ({error})"))?;
    Ok(HostTensor::from_i32(tensor.dims(), values))
}
