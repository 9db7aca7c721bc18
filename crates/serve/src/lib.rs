//! A policy behind the wire protocols that simulators and robots of the field speak.
//!
//! - [`Gr00t`]: NVIDIA's policy server (Isaac GR00T N1.6, `gr00t/policy/server_client.py`): ZeroMQ REQ/REP, msgpack, `.npy` arrays
//! - [`Openpi`]: Physical Intelligence's server (`openpi-client` 0.1.2): WebSocket, msgpack with another form of arrays
//!
//! ```text
//! socket -> a message's bytes -> msgpack values that borrow from it -> Observation (pixels where they lie) -> Model -> reply
//! ```
//!
//! One thread owns the [`Model`] and answers one message at a time; each connection has a thread that reads and writes. A message
//! that cannot be used is answered with an error and changes nothing. Lengths are checked before memory is taken, so a message
//! takes no more than its own bytes and a bounded tree of values.
//!
//! ZMTP, ZeroMQ's protocol, is implemented here, because a server for strangers has to bound and answer a message that is too
//! long: the crate `zeromq` (0.7.0, read) has no limit, and libzmq's limit closes the connection, after which the vendor's client
//! waits for its reply forever. msgpack is read here too: no crate bounds the number of
//! values, and a message of nested arrays takes many times its size.

mod array;
mod connections;
mod description;
mod error;
mod gr00t;
mod model;
mod msgpack;
mod observation;
mod openpi;
mod protocol;
mod queue;
mod server;
#[cfg(test)]
mod stub;
mod token;
mod websocket;
mod zmtp;

pub use description::{ActionKey, Description};
pub use error::{Error, Refusal};
pub use gr00t::Gr00t;
pub use model::{Failure, Model, PolicyModel};
pub use observation::{Observation, Start};
pub use openpi::Openpi;
pub use protocol::Protocol;
pub use server::{Limits, Server};
pub use token::Token;
