//! Hears a topic from latched (transient local) and from volatile publishers, as one stream.
//!
//! A transient local subscription gets what a publisher sent before it, and hears no volatile publisher; a volatile one hears every
//! publisher, and nothing from before it. So there is one of each. A live message of a latched publisher then arrives twice, in any order
//! with those of other publishers. The volatile subscription decides: it has every live message, in order. What only the other one has was
//! sent before the two were connected. It counts, too, unless a live message follows at once.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep_until};

/// How long the second copy of a live message may take.
const HELD: Duration = Duration::from_millis(100);
/// For how long a live message is known as such to a second copy that comes after it.
const KNOWN: Duration = Duration::from_secs(1);
/// Live messages that are known at a time, at most.
const MOST: usize = 16;

/// One stream of both subscriptions: every live message once, and the latched one where no live one follows within 100 ms. It ends with
/// both.
pub(crate) fn merge<S>(latched: S, live: S) -> impl Stream<Item = Vec<u8>> + Send + Unpin
where
    S: Stream<Item = Vec<u8>> + Send + Unpin + 'static,
{
    Box::pin(stream::unfold(
        (latched.fuse(), live.fuse(), Copies::default()),
        |(mut latched, mut live, mut copies)| async {
            let message = loop {
                // Without a held message the timer is not polled.
                let (due, holds) = (copies.due().unwrap_or_else(Instant::now), copies.due().is_some());
                tokio::select! {
                    biased;
                    // First, so that a live message that waits as well takes precedence over it.
                    Some(message) = latched.next() => copies.latched(message, Instant::now()),
                    Some(message) = live.next() => break copies.live(message, Instant::now()),
                    () = sleep_until(due), if holds => match copies.take() {
                        Some(message) => break message,
                        None => continue,
                    },
                    else => return None,
                }
            };
            Some((message, (latched, live, copies)))
        },
    ))
}

/// What arrived lately, to tell second copies.
#[derive(Debug, Default)]
struct Copies {
    recent: VecDeque<(Vec<u8>, Instant)>,
    /// A latched message, and when it is due unless a live one comes.
    held: Option<(Vec<u8>, Instant)>,
}

impl Copies {
    fn live(&mut self, message: Vec<u8>, now: Instant) -> Vec<u8> {
        // A copy of this message or of a later one that is still to come; or from before all live ones.
        self.held = None;
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back((message.clone(), now));
        message
    }

    fn latched(&mut self, message: Vec<u8>, now: Instant) {
        self.recent.retain(|(_, arrived)| now.duration_since(*arrived) < KNOWN);
        let is_copy = self.recent.iter().any(|(live, _)| *live == message);
        self.held = (!is_copy).then_some((message, now + HELD));
    }

    fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|(_, due)| *due)
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.held.take().map(|(message, _)| message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use std::sync::{Arc, Mutex};

    /// Both subscriptions, and what their reader has heard. The clock moves only while all wait.
    struct Topic {
        latched: UnboundedSender<Vec<u8>>,
        live: UnboundedSender<Vec<u8>>,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Topic {
        fn new() -> Self {
            let ((latched, of_latched), (live, of_live)) = (unbounded(), unbounded());
            let heard = Arc::<Mutex<Vec<String>>>::default();
            let (mut merged, hears) = (merge(of_latched, of_live), heard.clone());
            tokio::spawn(async move {
                while let Some(message) = merged.next().await {
                    hears.lock().expect("no panic").push(String::from_utf8(message).expect("text"));
                }
                hears.lock().expect("no panic").push("end".to_owned());
            });
            Self { latched, live, heard }
        }

        fn latched(&self, message: &str) {
            self.latched.unbounded_send(message.as_bytes().to_vec()).expect("a reader");
        }

        fn live(&self, message: &str) {
            self.live.unbounded_send(message.as_bytes().to_vec()).expect("a reader");
        }

        /// What was heard since the last call and comes in this time.
        async fn heard_in(&self, time: Duration) -> Vec<String> {
            tokio::time::sleep(time).await;
            std::mem::take(&mut *self.heard.lock().expect("no panic"))
        }
    }

    const SOON: Duration = Duration::from_millis(10);
    const LATER: Duration = Duration::from_millis(500);
    const NOTHING: [&str; 0] = [];

    #[tokio::test(start_paused = true)]
    async fn a_message_from_before_the_subscription_is_heard() {
        let topic = Topic::new();
        topic.latched("pick");
        assert_eq!(topic.heard_in(LATER).await, ["pick"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_of_a_volatile_publisher_is_heard_at_once() {
        let topic = Topic::new();
        topic.live("pick");
        assert_eq!(topic.heard_in(SOON).await, ["pick"]);
        assert_eq!(topic.heard_in(LATER).await, NOTHING);
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_message_of_a_latched_publisher_is_heard_once_whichever_copy_comes_first() {
        let topic = Topic::new();
        topic.latched("pick");
        assert_eq!(topic.heard_in(SOON).await, NOTHING);
        topic.live("pick");
        assert_eq!(topic.heard_in(SOON).await, ["pick"]);
        assert_eq!(topic.heard_in(LATER).await, NOTHING);
        topic.live("wave");
        assert_eq!(topic.heard_in(SOON).await, ["wave"]);
        topic.latched("wave");
        assert_eq!(topic.heard_in(LATER).await, NOTHING);
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_comes_late_does_not_displace_a_newer_message() {
        let topic = Topic::new();
        topic.live("pick");
        topic.live("stop");
        assert_eq!(topic.heard_in(LATER).await, ["pick", "stop"]);
        topic.latched("pick");
        assert_eq!(topic.heard_in(LATER).await, NOTHING);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_from_before_gives_way_to_a_live_one() {
        for pause in [Duration::ZERO, SOON] {
            let topic = Topic::new();
            topic.latched("yesterday");
            tokio::time::sleep(pause).await;
            topic.live("now");
            assert_eq!(topic.heard_in(LATER).await, ["now"], "{pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_latched_publisher_that_appears_later_is_heard() {
        let topic = Topic::new();
        topic.live("pick");
        assert_eq!(topic.heard_in(LATER).await, ["pick"]);
        // Sent before its publisher was connected: no live copy comes.
        topic.latched("place");
        assert_eq!(topic.heard_in(LATER).await, ["place"]);
        // The same text as a live message of long ago.
        tokio::time::sleep(KNOWN).await;
        topic.latched("pick");
        assert_eq!(topic.heard_in(LATER).await, ["pick"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_message_sent_again_is_heard_again() {
        let topic = Topic::new();
        for _ in 0..2 {
            topic.live("pick");
            topic.latched("pick");
            assert_eq!(topic.heard_in(LATER).await, ["pick"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_live_messages_are_all_heard_in_order() {
        let topic = Topic::new();
        let sent: Vec<String> = (0..2 * MOST).map(|index| index.to_string()).collect();
        sent.iter().for_each(|message| topic.live(message));
        assert_eq!(topic.heard_in(SOON).await, sent);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_both_and_not_before_a_held_message_is_out() {
        let mut topic = Topic::new();
        topic.live.disconnect();
        topic.latched("pick");
        topic.latched.disconnect();
        assert_eq!(topic.heard_in(LATER).await, ["pick", "end"]);
    }
}
