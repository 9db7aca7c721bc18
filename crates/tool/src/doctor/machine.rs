//! Properties of a machine beyond its files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::root::Root;
use vla_engines::onnx_runtime::Onnx;
use vla_engines::provenance;
use vla_engines::provenance::DeviceIdentity;
use vla_runtime::remedies;

/// Timeout of `ros2 topic list`.
const TOPICS_LIMIT: Duration = Duration::from_secs(15);

/// Input of the checks: a machine's files and properties.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its files.
    pub root: Root,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// The first CUDA device.
    pub gpu: Result<Gpu, Unknown>,
    /// Version of the TensorRT library that can be opened.
    pub tensorrt: Result<String, Unknown>,
    /// What engine kind cuda needs beside the GPU: the version of cuBLASLt that can be opened, and what the kernels are compiled for.
    pub cuda_engines: Result<String, Unknown>,
    /// GPU, driver and TensorRT as an engine's record names them; `None` where one of them is missing.
    pub identity: Option<DeviceIdentity>,
    /// The ONNX Runtime library that can be opened.
    pub onnx_runtime: Result<String, Unknown>,
    /// Existing topics, as `name [type]`.
    pub topics: Result<Vec<String>, Unknown>,
}

/// A CUDA device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gpu {
    /// Its name, e.g. `Orin`.
    pub name: String,
    /// Compute capability, e.g. `8.7`.
    pub sm_version: String,
    /// Number of streaming multiprocessors.
    pub sm_count: u32,
    /// Shares the host's memory.
    pub integrated: bool,
    /// CUDA version of the driver, e.g. `12.6`.
    pub cuda: String,
}

/// Why a property is unknown or a component is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unknown {
    /// True if it was not examined, false if it was searched and not found.
    pub skipped: bool,
    /// The reason.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl Unknown {
    /// Searched and not found.
    pub fn missing(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { skipped: false, reason: reason.into(), remedy: remedy.into() }
    }

    /// Not examined.
    pub fn skipped(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { skipped: true, reason: reason.into(), remedy: remedy.into() }
    }
}

impl From<vla_engines::Error> for Unknown {
    fn from(error: vla_engines::Error) -> Self {
        match error {
            vla_engines::Error::Library { library, source } => {
                Self::missing(source.to_string(), remedies::library(library))
            }
            other => Self::missing(other.to_string(), "see the reason"),
        }
    }
}

impl Machine {
    /// This machine. Opens CUDA, TensorRT and ONNX Runtime, and lists ROS topics if ROS is sourced.
    pub fn this() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment: BTreeMap<String, String> =
            std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        let (gpu, tensorrt, identity) = device();
        let cuda_engines = cuda_engines();
        let library = environment.get("ORT_DYLIB_PATH").map_or("libonnxruntime.so", String::as_str).to_owned();
        let onnx_runtime = Onnx::new(1).map(|_| library).map_err(Unknown::from);
        let topics = topics(&environment);
        Self { root: Root::new("/"), environment, gpu, tensorrt, cuda_engines, identity, onnx_runtime, topics }
    }

    /// GPU, driver and TensorRT of this machine alone, as an engine's record names them.
    pub fn identity() -> Option<DeviceIdentity> {
        device().2
    }

    /// An environment variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether it is a Jetson, judged by L4T or board.
    pub(super) fn is_jetson(&self) -> bool {
        provenance::l4t(self.root.path()).is_some()
            || provenance::board(self.root.path()).is_some_and(|board| board.contains("Jetson"))
    }

    /// Whether CPU and GPU share one memory.
    pub(super) fn is_unified(&self) -> bool {
        self.gpu.as_ref().map_or_else(|_| self.is_jetson(), |gpu| gpu.integrated)
    }
}

type Device = (Result<Gpu, Unknown>, Result<String, Unknown>, Option<DeviceIdentity>);

#[cfg(feature = "tensorrt")]
fn device() -> Device {
    use vla_tensorrt::cuda::Cuda;
    use vla_tensorrt::{Library, identity};

    let cuda = Cuda::open();
    let library = Library::open().map_err(vla_engines::Error::from);
    let identity = match (&cuda, &library) {
        (Ok(cuda), Ok(library)) => identity(cuda, library).ok(),
        _ => None,
    };
    let gpu = cuda.and_then(|cuda| cuda.properties()).map(Gpu::from).map_err(Unknown::from);
    (gpu, library.map(|library| library.record_name()).map_err(Unknown::from), identity)
}

#[cfg(any(feature = "tensorrt", feature = "cuda"))]
impl From<vla_cuda::driver::Properties> for Gpu {
    fn from(properties: vla_cuda::driver::Properties) -> Self {
        Self {
            name: properties.name,
            sm_version: format!("{}.{}", properties.compute_capability.0, properties.compute_capability.1),
            sm_count: properties.multiprocessors,
            integrated: properties.integrated,
            cuda: format!("{}.{}", properties.driver / 1000, properties.driver % 1000 / 10),
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda_engines() -> Result<String, Unknown> {
    let version = vla_cuda::device::cublas_version()?;
    let compiled = vla_cuda::device::compiled();
    if compiled.is_empty() {
        return Err(Unknown::missing(
            "this program has no kernels: it was built without nvcc",
            "build it again where nvcc is found (NVCC, or on PATH)",
        ));
    }
    Ok(format!("cuBLASLt {version}, kernels for compute capability {}", compiled.join(", ")))
}

#[cfg(not(feature = "cuda"))]
fn cuda_engines() -> Result<String, Unknown> {
    let remedy = "to run them: cargo build --release --features cuda (or colcon with -DVLA_TRT_CUDA=ON)";
    Err(Unknown::skipped("this program was built without the feature 'cuda'", remedy))
}

#[cfg(not(feature = "tensorrt"))]
fn device() -> Device {
    #[cfg(feature = "cuda")]
    let gpu = vla_cuda::driver::Cuda::open().and_then(|cuda| cuda.properties()).map(Gpu::from).map_err(Unknown::from);
    let unknown = Unknown::skipped(
        "this program was built without the feature 'tensorrt'",
        "to run engines: cargo build --release --features tensorrt (or colcon, which switches it on where the headers are)",
    );
    #[cfg(not(feature = "cuda"))]
    let gpu = Err(unknown.clone());
    (gpu, Err(unknown), None)
}

/// Runs `ros2 topic list -t`, because this program contains no ROS client.
fn topics(environment: &BTreeMap<String, String>) -> Result<Vec<String>, Unknown> {
    let remedy = "source ROS 2 in this shell, then: ros2 topic list -t";
    if !environment.contains_key("ROS_DISTRO") {
        return Err(Unknown::skipped("not looked at, ROS is not sourced here", remedy));
    }
    let mut command = Command::new("ros2");
    command.args(["topic", "list", "-t", "--no-daemon", "--spin-time", "2"]).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    // The ROS 2 wheels have no `ros2`.
    let without = "run vla_trt_node --check with the robot's parameters instead: it looks at the topics itself";
    let child =
        child.map_err(|error| Unknown::skipped(format!("not looked at, ros2 does not start: {error}"), without))?;
    let text = finish(child).map_err(|reason| Unknown::skipped(format!("ros2 topic list {reason}"), remedy))?;
    Ok(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned).collect())
}

/// The standard output of a child process, which is killed at the timeout.
fn finish(mut child: Child) -> Result<String, String> {
    let started = Instant::now();
    let pipe = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text)).map(|_| text)
    });
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => break,
            Some(status) => return Err(format!("failed ({status})")),
            None if started.elapsed() > TOPICS_LIMIT => {
                child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
                return Err(format!("took longer than {} s", TOPICS_LIMIT.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let Ok(text) = reader.join() else { return Err("could not be read".to_owned()) };
    text.map_err(|error| format!("could not be read: {error}"))
}
