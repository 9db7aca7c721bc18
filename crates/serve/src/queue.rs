//! Requests on their way from the connections' threads to the one that owns the model.

use std::ops::Deref;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::Reply;

/// One request of a connection.
pub(crate) struct Job {
    pub(crate) request: Request,
    /// From the arrival of the connection's last request to the end of its reply.
    pub(crate) before: Option<Duration>,
    pub(crate) back: SyncSender<Answered>,
}

/// A reply, and the request's memory for the next one.
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) request: Request,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Request {
    /// A connection began, in a protocol whose server speaks first.
    Hello,
    /// A message.
    Message(Body),
    /// A message that was too long, and was not kept.
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes announced.
        found: u64,
    },
    /// A message of another form than the protocol's.
    Malformed(&'static str),
}

/// The bytes of a message.
#[derive(Debug)]
pub(crate) enum Body {
    Buffer(Buffer),
    Shared(Bytes),
}

/// Memory that is filled again and again. Bytes after `filled` are of earlier messages.
#[derive(Default, Debug)]
pub(crate) struct Buffer {
    pub(crate) memory: Vec<u8>,
    pub(crate) filled: usize,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Buffer(Buffer { memory, filled }) => memory.get(..*filled).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }
}
