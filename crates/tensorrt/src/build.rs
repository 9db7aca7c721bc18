//! Builds an engine from an ONNX file: takes options, writes the plan to a writer, reports progress.

mod callbacks;
mod nodes;
mod options;
mod session;
mod weights;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

pub use callbacks::{BuildProgress, Calibrator};
pub use options::{BuildOptions, Constraints, TacticSources};

use super::result::Error;
use super::{Library, Log, Tensor};
use session::Session;

/// Results of a build.
#[derive(Debug)]
pub struct Built {
    /// Size of the plan in bytes.
    pub bytes: u64,
    /// TensorRT's timing cache; pass it to the next build.
    pub timing_cache: Vec<u8>,
    /// Whether the given timing cache was used. A cache of another device or version is not.
    pub timing_cache_used: bool,
    /// Inputs of the network as TensorRT's parser sees them (int64 becomes int32 on 8.x).
    pub inputs: Vec<Tensor>,
    /// Its outputs, including [`BuildOptions::outputs`].
    pub outputs: Vec<Tensor>,
    /// Layers of the network before fusion.
    pub layers: usize,
    /// Those layers by type, such as `matrix_multiply` and `dequantize`.
    pub layer_types: BTreeMap<String, usize>,
    /// Layers kept in single precision by [`BuildOptions::fp32_layers`].
    pub fp32_layers: usize,
}

/// Builds an engine from an ONNX file with its external data beside it. Writes the plan to `out` in pieces.
///
/// `progress` is also called from TensorRT's threads, one call at a time. Returning false cancels the build at its next step
/// with TensorRT 10 and later. TensorRT 8 reports log lines only and cannot be cancelled.
///
/// # Errors
/// [`Error::Parse`] with every error of the parser, [`Error::Argument`] for options that do not fit the network,
/// [`Error::Unsupported`] for options that this version lacks, [`Error::Refused`] with TensorRT's log lines,
/// [`Error::Cancelled`], [`Error::Io`].
pub fn build(
    library: &Library,
    log: &Log,
    onnx: &Path,
    options: &BuildOptions,
    out: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send),
) -> Result<Built, Error> {
    run(library, log, onnx, options, None, out, progress)
}

/// [`build`] with INT8 calibration (TensorRT 8 and 10): batches from `calibrator`, or its cache.
///
/// # Errors
/// As [`build`], and [`Error::Calibration`].
pub fn build_calibrated(
    library: &Library,
    log: &Log,
    onnx: &Path,
    options: &BuildOptions,
    calibrator: &mut (dyn Calibrator + Send),
    out: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send),
) -> Result<Built, Error> {
    run(library, log, onnx, options, Some(calibrator), out, progress)
}

fn run(
    library: &Library,
    log: &Log,
    onnx: &Path,
    options: &BuildOptions,
    calibrator: Option<&mut (dyn Calibrator + Send)>,
    out: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(BuildProgress<'_>) -> bool + Send),
) -> Result<Built, Error> {
    // Checked first: for a missing file the parser reports a protobuf error.
    std::fs::File::open(onnx).map_err(|source| Error::Io { action: format!("reading {}", onnx.display()), source })?;
    let watcher = callbacks::Watcher::new(progress);
    let mut calibration = calibrator.map(callbacks::Calibration::new);
    let mut session = Session::new(library, log, &watcher, options.strongly_typed)?;
    session.parse(onnx)?;
    let inputs = session.tensors(true)?;
    session.mark_outputs(&options.outputs)?;
    session.configure(options)?;
    let fp32_layers = session.hold_in_fp32(&options.fp32_layers)?;
    session.profiles(options, &inputs, calibration.is_some())?;
    let timing_cache_used = session.timing_cache(options.timing_cache.as_deref())?;
    if let Some(calibration) = &mut calibration {
        session.calibrator(calibration)?;
    }
    session.progress(&watcher)?;
    let mut sink = callbacks::Out::new(out);
    let built = session.run(&mut sink);
    // An error from a callback is more specific than TensorRT's status.
    if let Some(reason) = calibration.as_mut().and_then(callbacks::Calibration::failure) {
        return Err(Error::Calibration(reason));
    }
    if let Some(source) = sink.failure() {
        return Err(Error::Io { action: "writing the engine".to_owned(), source });
    }
    built?;
    Ok(Built {
        bytes: sink.bytes(),
        timing_cache: session.timing_cache_out()?,
        timing_cache_used,
        layers: session.layers()?,
        layer_types: session.layer_types()?,
        outputs: session.tensors(false)?,
        inputs,
        fp32_layers,
    })
}
