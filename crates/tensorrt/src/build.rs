//! ONNX -> engine: options in, plan out through a writer, progress on the way.

mod callbacks;
mod nodes;
mod options;
mod session;
mod weights;

use std::io::Write;
use std::path::Path;

pub use callbacks::{BuildProgress, Calibrator};
pub use options::{BuildOptions, Constraints, TacticSources};

use super::result::Error;
use super::{Library, Log, Tensor};
use session::Session;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// Size of the plan that was written.
    pub bytes: u64,
    /// TensorRT's measurements of this device; give them to the next build.
    pub timing_cache: Vec<u8>,
    /// Whether the timing cache that was given was used: one of another device or version is not.
    pub timing_cache_used: bool,
    /// Inputs of the network, by TensorRT's reading of the ONNX file (int64 reads as int32 on 8.x).
    pub inputs: Vec<Tensor>,
    /// Its outputs, [`BuildOptions::outputs`] among them.
    pub outputs: Vec<Tensor>,
    /// Layers of the network before fusion.
    pub layers: usize,
    /// Layers that were held in single precision by [`BuildOptions::fp32_layers`].
    pub fp32_layers: usize,
}

/// Builds an engine from an ONNX file; external data is looked for beside it. The plan goes to `out` in pieces.
///
/// `progress` is called from TensorRT's threads too, one call at a time; returning false cancels the build at its next
/// step on TensorRT 10 and later. TensorRT 8 has no phases and cannot be cancelled: there only log lines come.
///
/// # Errors
/// [`Error::Parse`] with everything that the parser says, [`Error::Argument`] for options that do not fit the network,
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
    // Asked first: the parser's own words for a missing file are about protobuf.
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
    // What our own callbacks met says more than TensorRT's status.
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
        outputs: session.tensors(false)?,
        inputs,
        fp32_layers,
    })
}
