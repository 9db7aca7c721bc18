//! The seam between sockets and models: a request's bytes in, a reply's bytes out.

use std::time::Duration;

use bytes::Bytes;

use crate::queue::{Body, Request};
use crate::{Failure, Gr00t, Model, Openpi, Refusal};

/// A wire protocol.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// NVIDIA's: ZeroMQ and `.npy` arrays.
    Gr00t(Gr00t),
    /// Physical Intelligence's: WebSocket, and arrays as bytes with type and shape.
    Openpi(Openpi),
}

/// What goes back to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    /// A text message, where the transport tells text from bytes.
    pub(crate) text: bool,
}

/// Why a request has no answer.
pub(crate) enum Unanswered {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Protocol {
    /// Answers one message, without a socket: the reply's bytes, an error among them.
    pub fn answer_message(&mut self, message: &[u8], model: &mut dyn Model) -> Vec<u8> {
        self.answer(&Request::Message(Body::Shared(Bytes::copy_from_slice(message))), None, model).0.bytes
    }

    /// Answers one request; the failure is one after which no other will be answered.
    pub(crate) fn answer(
        &mut self,
        request: &Request,
        before: Option<Duration>,
        model: &mut dyn Model,
    ) -> (Reply, Option<Failure>) {
        let answered = match (request, &mut *self) {
            (Request::TooLong { limit, found }, _) => Err(Refusal::TooLong { limit: *limit, found: *found }.into()),
            (Request::Malformed(reason), _) => Err(Refusal::Message((*reason).to_owned()).into()),
            (Request::Hello, Self::Gr00t(_)) => Ok(Vec::new()),
            (Request::Hello, Self::Openpi(openpi)) => Ok(openpi.hello(model)),
            (Request::Message(message), Self::Gr00t(gr00t)) => gr00t.answer(message, model),
            (Request::Message(message), Self::Openpi(openpi)) => openpi.answer(message, before, model),
        };
        let (reason, fatal) = match answered {
            Ok(bytes) => return (Reply { bytes, text: false }, None),
            Err(Unanswered::Refused(refusal)) => (refusal.to_string(), None),
            Err(Unanswered::Failed(failure)) => (failure.reason.clone(), Some(failure).filter(|failure| failure.fatal)),
        };
        tracing::warn!("refused a request: {reason}");
        let reply = match self {
            Self::Gr00t(_) => Reply { bytes: Gr00t::error(&reason), text: false },
            Self::Openpi(_) => Reply { bytes: reason.into_bytes(), text: true },
        };
        (reply, fatal)
    }
}
