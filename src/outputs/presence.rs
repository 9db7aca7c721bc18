//! Whether a server is there.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
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
    present: bool,
}

impl Presence {
    /// Whether the server was there at the last look.
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Asks again when it is time, and takes the answer.
    pub(super) fn look<S: WrappedServiceTypeSupport + 'static>(&mut self, client: &Client<S>) {
        let now = Instant::now();
        if let Some(question) = &mut self.question {
            match question.now_or_never() {
                Some(there) => {
                    self.question = None;
                    self.present = there;
                }
                None if self.asked.is_none_or(|asked| now - asked >= PATIENCE) => self.present = false,
                None => {}
            }
        } else if self.asked.is_none_or(|asked| now - asked >= PERIOD) {
            self.asked = Some(now);
            // Fails only when the node has ended.
            self.question = Node::is_available(client).ok().map(|answer| answer.map(|answer| answer.is_ok()).boxed());
        }
    }
}
