//! Whether a server is there, and has answered.
//!
//! The middleware tells a client of a server before the server knows of the client: a request of that time is lost, and a goal that is
//! lost would brake a robot that starts. So a server is there for goals once it has answered a question that changes nothing.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use r2r::{Client, Node, WrappedServiceTypeSupport};

/// Time between two questions.
const PERIOD: Duration = Duration::from_millis(200);
/// r2r answers a question with the next spin while the server is there. After so long it is not.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the server.
#[derive(Default)]
pub(super) struct Presence {
    /// r2r's answer, once there is a server. Kept until it comes: r2r keeps its other half.
    question: Option<BoxFuture<'static, bool>>,
    asked: Option<Instant>,
    /// The middleware knows the server since.
    seen: Option<Instant>,
    /// The server's own answers. Any will do.
    answers: FuturesUnordered<BoxFuture<'static, bool>>,
    /// When the server itself was asked last.
    greeted: Option<Instant>,
    answered: bool,
}

impl Presence {
    /// Whether the server was there at the last look, and has answered.
    pub(super) fn is_present(&self) -> bool {
        self.seen.is_some() && self.answered
    }

    /// Why no goal can be sent to the server of an action.
    pub(super) fn reason_of_absence(&self, action: &str) -> Option<String> {
        match self.seen {
            Some(_) if self.answered => None,
            Some(since) if since.elapsed() >= PATIENCE => {
                Some(format!("the action server on {action} is there and does not answer; look at the controller"))
            }
            _ => Some(absent(action)),
        }
    }

    /// Asks again when it is time, and takes the answers. `greet` sends the server itself a request that changes nothing, and returns
    /// whether it answered.
    pub(super) fn look<S: WrappedServiceTypeSupport + 'static>(
        &mut self,
        client: &Client<S>,
        greet: impl FnOnce() -> Option<BoxFuture<'static, bool>>,
    ) {
        let now = Instant::now();
        self.look_for_server(client, now);
        if self.seen.is_none() {
            (self.answered, self.greeted) = (false, None);
            self.answers.clear();
            return;
        }
        while let Some(Some(answered)) = self.answers.next().now_or_never() {
            self.answered |= answered;
        }
        if self.answered {
            self.answers.clear();
        } else if self.greeted.is_none_or(|greeted| now - greeted >= PERIOD) {
            self.greeted = Some(now);
            self.answers.extend(greet());
        }
    }

    fn look_for_server<S: WrappedServiceTypeSupport + 'static>(&mut self, client: &Client<S>, now: Instant) {
        if let Some(question) = &mut self.question {
            match question.now_or_never() {
                Some(there) => {
                    self.question = None;
                    self.seen = there.then(|| self.seen.unwrap_or(now));
                }
                None if self.asked.is_none_or(|asked| now - asked >= PATIENCE) => self.seen = None,
                None => {}
            }
        } else if self.asked.is_none_or(|asked| now - asked >= PERIOD) {
            self.asked = Some(now);
            // Fails only when the node has ended.
            self.question = Node::is_available(client).ok().map(|answer| answer.map(|answer| answer.is_ok()).boxed());
        }
    }
}

/// No server is known.
pub(super) fn absent(action: &str) -> String {
    format!("no action server on {action}; start the controller, or correct outputs.<name>.action")
}
