//! The same on TensorRT: each network is built in a temporary folder.

use std::path::Path;

use super::{Effort, Multiplied, Network, multiplying, reading, seconds};
use vla_base::tensor::DType;
use vla_builder::{Request, build};
use vla_engines::provenance::{DeviceIdentity, rfc3339};
use vla_engines::roofline::{ROOFS_FORMAT, Roofs};
use vla_engines::{Launch, Precision};
use vla_tensorrt::device::{Options, Tensorrt};

/// Measures the GPU with TensorRT; `folder` takes networks and engines.
///
/// # Errors
/// Errors of a build and of running an engine.
pub fn on_tensorrt(effort: Effort, folder: &Path) -> Result<Roofs, vla_builder::Error> {
    let device = vla_builder::device()?;
    let rate = |name: &str, network: &Network, precision: Precision| {
        let stage = network.write(folder, name)?;
        let engine = folder.join(name).with_extension("engine");
        // Where there are no precision flags, the network's types say it all.
        let precision = if precision.lacking(&device).is_some() { Precision::FP32 } else { precision };
        let request = Request { onnx: stage.onnx, engine: engine.clone(), precision, ..Request::default() };
        build(&request, &mut |_| true)?;
        let mut tensorrt = Tensorrt::open(Options { launch: Launch::StepByStep, ..Options::default() })?;
        let loaded = tensorrt.load_file(name, &engine)?;
        Ok::<f64, vla_builder::Error>(network.work as f64 / seconds(&mut tensorrt, loaded, effort)?)
    };
    let (side, integers) = (effort.side, form(&device));
    Ok(Roofs {
        format: ROOFS_FORMAT,
        device: format!("{}, SM {}, {} SMs", device.gpu, device.sm_version, device.sm_count),
        engine: format!("TensorRT {}", device.tensorrt),
        at: rfc3339(std::time::SystemTime::now()),
        read_bytes_per_s: rate("reading", &reading(DType::F16, effort.read_bytes), Precision::FP16)?,
        fp32_flops_per_s: rate("fp32", &multiplying(Multiplied::F32, side), Precision::FP32)?,
        fp16_flops_per_s: rate("fp16", &multiplying(Multiplied::F16, side), Precision::FP16)?,
        int8_ops_per_s: rate("int8", &multiplying(integers, side), Precision::INT8_FP16)?,
    })
}

/// The form of quantised weights that this TensorRT builds.
fn form(device: &DeviceIdentity) -> Multiplied {
    let major = device.tensorrt.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < 10) { Multiplied::I8Floating } else { Multiplied::I8 }
}
