//! Why a server does not start or ends, and why a request is refused.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A server that cannot start, or that ends before it is stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error(
        "{address}: {source}; expected a free port on an address of this machine: choose others with --port and --bind"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A thread cannot be started, or the listening socket fails.
    #[error("the server cannot go on: {0}")]
    System(#[from] io::Error),
    /// The configuration of the modalities cannot be read.
    #[error("{}: {reason}; expected the processor_config.json of the policy's checkpoint", path.display())]
    Modalities {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The token cannot be used.
    #[error("{origin}: expected a token of one line without spaces, found {found}")]
    Token {
        /// The file or variable.
        origin: String,
        /// What is there.
        found: String,
    },
    /// The policy failed in a way that only a new start can change, such as a lost device.
    #[error("the policy cannot go on: {0}; start the server again")]
    Policy(String),
}

/// Why a request is answered with an error. The text goes to the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The message is not of the protocol.
    #[error("the message cannot be read: {0}")]
    Message(String),
    /// The message is too long, and was not kept.
    #[error(
        "expected a message of at most {limit} bytes, found {found}; send smaller images, or start the server with --max-message-mib"
    )]
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes announced.
        found: u64,
    },
    /// The observation does not fit the policy.
    #[error("the observation cannot be used:\n  {}", .0.join("\n  "))]
    Observation(Vec<String>),
    /// The token is missing, or another one.
    #[error("Unauthorized: Invalid API token")]
    Unauthorized,
    /// A request that the protocol does not have.
    #[error("Unknown endpoint: {found}; expected one of {known}")]
    Endpoint {
        /// The name.
        found: String,
        /// Names that there are.
        known: &'static str,
    },
    /// Requests of clients end no server.
    #[error("kill is switched off: end the server with Ctrl-C or SIGTERM on its own machine")]
    Kill,
}
