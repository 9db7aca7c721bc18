//! Exclusive access to one engine file: a lock, a check of the free disk space, and no partial file after a failure.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Error, Request};
use vla_base::sys::fs::{Outputs, clear_stale, folder_of, free_space};
use vla_engines::onnx::Network;
use vla_engines::quantized::engine_precision;

/// Size of an engine's parts other than weights: layer descriptions, kernels, constants of fused layers.
const BESIDE_WEIGHTS: u64 = 64 << 20;

/// Exclusive access to an engine's output file until dropped.
///
/// A kernel lock on a file beside the engine, which contains the process number of the holder. The kernel releases it when the
/// process ends for any reason.
#[derive(Debug)]
pub struct Target {
    engine: PathBuf,
    lock: PathBuf,
    _file: File,
}

impl Target {
    /// Locks the request's engine file, and removes temporary files of a killed build. `tensorrt`: the version that builds it.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process builds this engine, [`Error::Space`] if the disk has too little space for the
    /// network's weights in the engine's precision, [`Error::Request`] if a file of the network is missing,
    /// [`Error::Io`] and [`Error::Output`] if a file cannot be written or is the same as another.
    pub fn take(request: &Request, tensorrt: &str) -> Result<Self, Error> {
        let needed = Self::needed(request, Some(tensorrt))?;
        let engine = request.engine.as_path();
        let folder = folder_of(engine);
        Self::look(request)?;
        let lock = beside(engine, "lock");
        let file = hold(engine, &lock)?;
        let target = Self { engine: engine.to_owned(), lock, _file: file };
        target.clear();
        let free = free_space(folder).map_err(Error::io(folder))?;
        if free < needed {
            return Err(Error::Space { folder: folder.to_owned(), needed, free });
        }
        Ok(target)
    }

    /// Bytes that the engine may take on the disk. `tensorrt`: the version that would build it, if known.
    ///
    /// # Errors
    /// [`Error::Request`] when a file of the network is missing.
    pub fn needed(request: &Request, tensorrt: Option<&str>) -> Result<u64, Error> {
        let network = Network::open(&request.onnx)?;
        let problems: Vec<String> = network.data_problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(Error::Request { onnx: request.onnx.clone(), problems });
        }
        let precision = request.precision.to_string();
        Ok(network.weight_bytes_in(engine_precision(&network, &precision, tensorrt)).saturating_add(BESIDE_WEIGHTS))
    }

    /// Creates the folders of the output files, and refuses outputs that cannot be written or are also inputs.
    fn look(request: &Request) -> Result<(), Error> {
        let network = Network::open(&request.onnx)?;
        let cache = request.scales.as_ref().map(|scales| scales.cache.as_path());
        let written = [Some(request.engine.as_path()), cache, request.timing_cache.as_deref()];
        for path in written.into_iter().flatten() {
            let folder = folder_of(path);
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let [engine, cache, timings] = written;
        let outputs = Outputs::default()
            .file("the engine", engine)
            .file("the calibration cache", cache)
            .file("the timing cache", timings)
            .reading("the network", std::iter::once(&request.onnx).chain(&network.data_files))
            .reading("the calibration data", request.scales.iter().filter_map(|scales| scales.data.as_ref()));
        Ok(outputs.check()?)
    }

    /// Removes temporary files of this build's child process and of killed builds.
    fn clear(&self) {
        clear_stale(folder_of(&self.engine));
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.clear();
        // Removed while locked: a process that waits for this lock finds the file unlinked, and creates a new one.
        if let Err(error) = fs::remove_file(&self.lock) {
            tracing::warn!("{} cannot be removed: {error}", self.lock.display());
        }
    }
}

/// Opens and locks the lock file, and writes this process's number into it.
fn hold(engine: &Path, path: &Path) -> Result<File, Error> {
    let io = || Error::io(path);
    loop {
        let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(io())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io())?;
                let holder = pid.trim().to_owned();
                return Err(Error::Busy { engine: engine.to_owned(), lock: path.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(io()(error)),
        }
        // The previous holder may have removed the file after it was opened here and before it was locked.
        let named = fs::metadata(path).map(|meta| meta.ino()).ok();
        if named != Some(file.metadata().map_err(io())?.ino()) {
            continue;
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io())?;
        writeln!(file, "{}", std::process::id()).map_err(io())?;
        return Ok(file);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
