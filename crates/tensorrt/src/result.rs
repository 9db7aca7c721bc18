//! Converts the shim's status codes to a typed error with TensorRT's messages.

use std::ffi::{CStr, c_char};
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::family::Family;
use super::log::{Log, Mark};
use super::sys;
use super::{Library, Version};

/// An error of TensorRT, its parser or its library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The family's library, or its ONNX parser, cannot be opened.
    #[error("{}'s library cannot be opened: {reason}. {}", family.product(), install(*family, *headers))]
    Library {
        /// The family.
        family: Family,
        /// The loader's error.
        reason: String,
        /// Versions that this program was built with.
        headers: Version,
    },
    /// The library does not fit the headers that this program was compiled against.
    #[error(
        "{}'s version does not fit: {reason}. Install {}, or build this program with the headers of the installed one ({})",
        family.product(), accepted(*family, *headers), include_variable(*family)
    )]
    Version {
        /// The family.
        family: Family,
        /// A message with both versions.
        reason: String,
        /// Versions that this program was built with.
        headers: Version,
    },
    /// This program was compiled without the family's headers.
    #[error(
        "this program was built without {}: build it with the folder of its headers in {}", .0.product(), include_variable(*.0)
    )]
    NotCompiled(Family),
    /// The engine file is one of the other library.
    #[error(
        "{} is an engine of {}, expected one of {}, the library that is open; run it where {1} is installed, or build it again \
         with {}", file.display(), found.product(), expected.product(), builds(*expected)
    )]
    OtherFamily {
        /// The engine.
        file: PathBuf,
        /// The library that built it.
        found: Family,
        /// The library that is open.
        expected: Family,
    },
    /// TensorRT returned nothing or false.
    #[error("{reason}{}", log_lines(log))]
    Refused {
        /// What was being done.
        reason: String,
        /// Errors and warnings that TensorRT logged meanwhile.
        log: Vec<String>,
    },
    /// A name, index or shape that is not valid for TensorRT.
    #[error("{0}")]
    Argument(String),
    /// This version of TensorRT cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// The ONNX parser refused the network.
    #[error("TensorRT's ONNX parser refuses {}:{}", onnx.display(), parse_lines(errors, log))]
    Parse {
        /// The file.
        onnx: PathBuf,
        /// Every error that the parser reports.
        errors: Vec<ParseError>,
        /// Errors and warnings that TensorRT logged meanwhile.
        log: Vec<String>,
    },
    /// A progress callback cancelled the build.
    #[error("the build was cancelled")]
    Cancelled,
    /// A file cannot be read or written.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with the file's name.
        action: String,
        /// The system's error.
        source: io::Error,
    },
    /// A calibration batch could not be provided.
    #[error("calibration failed: {0}")]
    Calibration(String),
    /// A C++ exception, or a panic in one of our callbacks.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The error of opening a library of `family`, whose headers it names.
    pub(super) fn of(self, family: Family) -> Self {
        let headers = family.headers().unwrap_or_else(Library::headers);
        match self {
            Self::Library { reason, .. } => Self::Library { family, reason, headers },
            Self::Version { reason, .. } => Self::Version { family, reason, headers },
            other => other,
        }
    }

    /// Whether TensorRT's messages say that memory could not be allocated.
    pub fn is_out_of_memory(&self) -> bool {
        let lines = match self {
            Self::Refused { log, .. } | Self::Parse { log, .. } => log.as_slice(),
            // The shim's text for a C++ `bad_alloc`.
            Self::Internal(reason) => std::slice::from_ref(reason),
            _ => return false,
        };
        lines.iter().any(|line| {
            let line = line.to_ascii_lowercase();
            ["outofmemory", "out of memory", "failed_allocation", "failed allocation", "insufficient memory"]
                .iter()
                .any(|words| line.contains(words))
        })
    }
}

impl From<Error> for vla_engines::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Library { .. } | Error::Version { .. } | Error::NotCompiled(_) => {
                Self::Library { library: vla_engines::RuntimeLibrary::Tensorrt, source: error.into() }
            }
            _ if error.is_out_of_memory() => {
                Self::OutOfMemory { action: "calling TensorRT".into(), source: error.into() }
            }
            _ => Self::Device { action: "calling TensorRT".into(), source: error.into() },
        }
    }
}

/// One error of the ONNX parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Index of the node in the graph, where the error belongs to one.
    pub node: Option<usize>,
    /// The node's name: from the parser since TensorRT 10, from the ONNX file before.
    pub name: Option<String>,
    /// The node's operator, likewise.
    pub operator: Option<String>,
    /// The network's set of standard operators.
    pub opset: Option<i64>,
    /// The parser's message.
    pub text: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = self.node {
            write!(f, "node {node}")?;
            if let Some(name) = &self.name {
                write!(f, " '{name}'")?;
            }
            match (&self.operator, self.opset) {
                (Some(operator), Some(opset)) => write!(f, " ({operator}, opset {opset})")?,
                (Some(operator), None) => write!(f, " ({operator})")?,
                (None, _) => {}
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.text)
    }
}

fn log_lines(log: &[String]) -> String {
    log.iter().map(|line| format!("\n  TensorRT: {line}")).collect()
}

fn parse_lines(errors: &[ParseError], log: &[String]) -> String {
    let errors: String = errors.iter().map(|error| format!("\n  {error}")).collect();
    let remedy = if errors.is_empty() {
        ""
    } else {
        "\n  Export the network again without these operators or with an opset that this TensorRT knows, or run it with \
         ONNX Runtime"
    };
    errors + remedy + &log_lines(log)
}

/// What to install.
fn install(family: Family, headers: Version) -> String {
    let major = headers.major;
    match family {
        Family::Tensorrt => format!(
            "Install TensorRT {major} (on a Jetson: sudo apt install nvidia-tensorrt; elsewhere the packages libnvinfer{major} and \
             libnvonnxparsers{major}, or NVIDIA's archive with its lib folder in LD_LIBRARY_PATH)"
        ),
        Family::Rtx => format!(
            "Install TensorRT-RTX {major}.{} (pip install tensorrt-rtx-cu12-libs, or NVIDIA's archive) and put the folder of \
             libtensorrt_rtx.so.{major} into LD_LIBRARY_PATH",
            headers.minor
        ),
    }
}

/// The command that builds engines of this family.
fn builds(family: Family) -> &'static str {
    match family {
        Family::Tensorrt => "TensorRT (vla-trt build, on the machine that runs it)",
        Family::Rtx => "TensorRT-RTX (vla-trt build --for)",
    }
}

/// The versions that fit the headers.
fn accepted(family: Family, headers: Version) -> String {
    match family {
        Family::Tensorrt => format!("TensorRT {headers} or a later {}.x", headers.major),
        Family::Rtx => format!("TensorRT-RTX {}.{}", headers.major, headers.minor),
    }
}

/// Environment variable of the build with the folder of the headers.
fn include_variable(family: Family) -> &'static str {
    match family {
        Family::Tensorrt => "TENSORRT_INCLUDE_DIR",
        Family::Rtx => "TENSORRT_RTX_INCLUDE_DIR",
    }
}

/// [`check`] for a call that opens a library of `family`.
pub(super) fn check_family(status: sys::Status, family: Family) -> Result<(), Error> {
    check(status, None).map_err(|error| error.of(family))
}

/// Converts a status to a result. [`Error::Refused`] contains the lines of `log` since `mark`.
pub(super) fn check(status: sys::Status, log: Option<(&Log, Mark)>) -> Result<(), Error> {
    if status == sys::OK {
        return Ok(());
    }
    // SAFETY: a status other than OK was just returned on this thread, so the shim's text of this thread is set; it is
    // a NUL-terminated buffer of the thread, copied before any other call into the shim.
    let reason = unsafe { text(sys::vla_trt_last_error()) }.unwrap_or_default();
    Err(match status {
        sys::LIBRARY => Error::Library { family: Family::Tensorrt, reason, headers: Library::headers() },
        sys::VERSION => Error::Version { family: Family::Tensorrt, reason, headers: Library::headers() },
        sys::REFUSED => {
            Error::Refused { reason, log: log.map(|(log, mark)| log.problems_since(mark)).unwrap_or_default() }
        }
        sys::ARGUMENT => Error::Argument(reason),
        sys::UNSUPPORTED => Error::Unsupported(reason),
        sys::CANCELLED => Error::Cancelled,
        // The callers, which know the file, complete PARSE and CALLBACK; EXCEPTION is a C++ exception.
        _ => Error::Internal(reason),
    })
}

/// A copy of a C string, or `None` for null. Bytes that are not UTF-8 are replaced.
///
/// # Safety
/// `pointer` is null or points to a NUL-terminated string that lives over this call.
pub(super) unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise, for a pointer that is not null.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
