//! Errors that end the node.

use super::args::UsageError;
use super::threads::ThreadEnd;
use vla_policy::processor::ProcessorError;
use vla_policy::spec::SpecError;
use vla_runtime::parameters;
use vla_runtime::parameters::Problems;

/// Why the node did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recorder did not start.
    #[error(transparent)]
    Recorder(#[from] vla_recorder::Error),
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// `rcl_init` refused the arguments or found no middleware.
    #[error(
        "ROS 2 did not start: {reason}; check the ROS arguments, RMW_IMPLEMENTATION, ROS_DOMAIN_ID and that ROS 2 is sourced"
    )]
    Context {
        /// rcl's message.
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
    #[error(
        "{kind} {name} could not be created: {source}; check its name, its remap rule and that its type is built in"
    )]
    Endpoint {
        /// "topic" or "service".
        kind: &'static str,
        /// The name before remapping.
        name: String,
        /// r2r's code.
        source: r2r::Error,
    },
    /// A message package that was not there when the node was built.
    #[error(
        "{needed_by} needs the messages of {package}, without which this node was built; install ros-{}-{} and build the node again",
        distribution(),
        package.replace('_', "-")
    )]
    Package {
        /// The parameter.
        needed_by: &'static str,
        /// The package.
        package: &'static str,
    },
    /// Parameters from files and arguments.
    #[error("{0}")]
    Parameters(#[from] Problems),
    /// The policy bundle's description, without which there are no parameters to serve.
    #[error(transparent)]
    Policy(#[from] SpecError),
    /// The policy's processor, which says what its actions are.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A thread.
    #[error("could not start the {thread} thread: {source}; check the limits on threads and memory (ulimit -a)")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// From the operating system.
        source: std::io::Error,
    },
    /// The async runtime, signals or pipes.
    #[error("could not start {what}: {source}; check the limits on threads and files (ulimit -a)")]
    Runtime {
        /// Which.
        what: &'static str,
        /// From the operating system.
        source: std::io::Error,
    },
    /// An output whose messages the node was built without.
    #[error(
        "output {output}: the kind {kind} needs the package {package}, which was not found when the node was built; run `sudo apt-get \
         install ros-{distro}-{}` and build the node again", package.replace('_', "-")
    )]
    OutputPackage {
        /// Its name.
        output: String,
        /// Its kind.
        kind: &'static str,
        /// The package.
        package: &'static str,
        /// The ROS distribution.
        distro: String,
    },
    /// A thread ended that should run as long as the node.
    #[error("{0}, which is a bug; the robot was braked; the log above has the thread's message")]
    ThreadEnded(ThreadEnd),
    /// A task ended that should run as long as the node.
    #[error("a topic, service or diagnostics task ended, which is a bug; the robot was braked")]
    TaskEnded,
}

impl From<parameters::Error> for Error {
    fn from(error: parameters::Error) -> Self {
        Self::Parameters(error.into())
    }
}

impl Error {
    /// An endpoint that r2r refused.
    pub fn endpoint(kind: &'static str, name: impl Into<String>, source: r2r::Error) -> Self {
        Self::Endpoint { kind, name: name.into(), source }
    }

    /// The process's exit code: 2 for a wrong command line, 3 for a part of the node that ended by itself, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::ThreadEnded(_) | Self::TaskEnded => 3,
            _ => 1,
        }
    }
}

/// For the names of apt packages.
fn distribution() -> String {
    std::env::var("ROS_DISTRO").unwrap_or_else(|_| "<distro>".to_owned())
}
