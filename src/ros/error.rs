//! What ends the node with an error, in words.

use std::path::PathBuf;

use super::args::UsageError;

/// Why the node did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// `rcl_init` refused the arguments or found no middleware.
    #[error(
        "ROS 2 did not start: {reason}; check the ROS arguments, RMW_IMPLEMENTATION, ROS_DOMAIN_ID and that ROS 2 is sourced"
    )]
    Context {
        /// rcl's own words.
        reason: String,
    },
    /// The node's name or namespace.
    #[error("the node {name} could not be created: {source}; check __node and __ns")]
    Node {
        /// As asked for.
        name: String,
        /// r2r's code.
        source: r2r::Error,
    },
    /// A topic or service.
    #[error("{kind} {name} could not be created: {source}; check its name, its remap rule and that its type is built in")]
    Endpoint {
        /// "topic" or "service".
        kind: &'static str,
        /// The name before remapping.
        name: String,
        /// r2r's code.
        source: r2r::Error,
    },
    /// A parameter file that cannot be read.
    #[error("params file {path}: {source}; check the path given to --params-file")]
    ParamsFile {
        /// As typed.
        path: PathBuf,
        /// From the operating system.
        source: std::io::Error,
    },
    /// The async runtime or a thread.
    #[error("could not start {what}: {source}; check the limits on threads and files (ulimit -a)")]
    Runtime {
        /// Which.
        what: &'static str,
        /// From the operating system.
        source: std::io::Error,
    },
    /// A thread that should outlive the node ended.
    #[error("the {0} thread ended by itself, which is a bug; the log above has its last words")]
    ThreadEnded(&'static str),
}

impl Error {
    /// An endpoint that r2r refused.
    pub fn endpoint(kind: &'static str, name: impl Into<String>, source: r2r::Error) -> Self {
        Self::Endpoint { kind, name: name.into(), source }
    }

    /// The process's exit code: 2 for a wrong command line, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}
