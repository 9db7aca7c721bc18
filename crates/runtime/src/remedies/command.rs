//! Command lines of `vla-trt` for an engine.

use std::path::Path;

use vla_engines::Stage;
use vla_engines::onnx::Network;
use vla_engines::provenance::Provenance;

/// Builds the engine of a stage on this device, or ahead of time for the GPUs of the record, with the settings of the policy and
/// of the record.
pub fn build(stage: &Stage, record: Option<&Provenance>) -> String {
    let mut command = format!(
        "vla-trt build --onnx {} --engine {} --precision {}",
        quoted(&stage.onnx),
        quoted(&stage.file),
        stage.precision
    );
    for (symbol, [min, opt, max]) in &stage.profile {
        command += &format!(" --profile {}={min}:{opt}:{max}", quoted(Path::new(symbol)));
    }
    if let Some(portable) = record.and_then(|record| record.portable.as_ref()) {
        let capabilities = portable.compute_capabilities.iter().map(|sm| format!("sm{}", sm.number()));
        command += &format!(" --for {}", capabilities.collect::<Vec<_>>().join(","));
    }
    if let Some(settings) = record.map(|record| &record.flags) {
        if let Some(level) = settings.optimization_level {
            command += &format!(" --opt-level {level}");
        }
        if let Some(mib) = settings.workspace_mib {
            command += &format!(" --workspace-mib {mib}");
        }
        if settings.own_kernels {
            command += " --low-memory-mode";
        }
    }
    if stage.precision.split('+').any(|part| part == "int8") {
        command += &scales(stage, record);
    }
    command
}

/// Writes a record for an engine that another tool built on this device.
pub fn adopt(stage: &Stage) -> String {
    format!("vla-trt adopt {} --onnx {}", quoted(&stage.file), quoted(&stage.onnx))
}

/// Source of INT8 scales: that of the record, else a calibration file that is still to be recorded.
fn scales(stage: &Stage, record: Option<&Provenance>) -> String {
    let is_stem = stage.onnx.file_stem().is_some_and(|stem| stem == stage.name.as_str());
    let named = if is_stem { String::new() } else { format!(" --calib-stage {}", quoted(Path::new(&stage.name))) };
    let Some(calibration) = record.and_then(|record| record.calibration.as_ref()) else {
        let has_scales = Network::open(&stage.onnx).is_ok_and(|network| network.is_quantized());
        return if has_scales { String::new() } else { format!(" --calib-data calib.npz{named}") };
    };
    let cache = stage.file.parent().unwrap_or(Path::new("")).join(&calibration.file);
    let data = calibration.data.as_deref().map(|data| format!(" --calib-data {}{named}", quoted(data)));
    format!("{} --calib-cache {}", data.unwrap_or_default(), quoted(&cache))
}

/// A path, quoted for a shell where that is needed.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
