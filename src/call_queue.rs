//! Service calls on their way from r2r to the tasks that answer them.
//!
//! r2r takes one call of each service a spin into a channel of ten, and drops the call that finds it full: the caller waits for
//! ever. A task that empties the channel is too slow for a client with many calls, since it needs a processor between
//! two spins. So the spin thread empties the channels itself, after every spin, into queues as long as the middleware's.

use futures::channel::mpsc::{self, Receiver};
use futures::{FutureExt, Stream, StreamExt};

/// Calls of one service that may wait: as many as the middleware keeps for `QosProfile::parameters()`.
pub(crate) const WAITING: usize = 1000;

/// What the spin thread does after each spin.
#[derive(Default)]
pub(crate) struct Intake(Vec<Box<dyn FnMut() + Send>>);

impl Intake {
    /// A stream that loses none of the calls of `service` as long as fewer than [`WAITING`] wait.
    pub(crate) fn queue<T: Send + 'static>(
        &mut self,
        service: &'static str,
        mut calls: impl Stream<Item = T> + Send + Unpin + 'static,
    ) -> Receiver<T> {
        let (mut queue, waiting) = mpsc::channel(WAITING);
        let mut lost = 0_u64;
        self.0.push(Box::new(move || {
            while let Some(Some(call)) = calls.next().now_or_never() {
                if queue.try_send(call).is_err() {
                    lost += 1;
                    // Powers of two: a client that floods the node does not flood the log.
                    if lost.is_power_of_two() {
                        tracing::warn!("{service}: {WAITING} calls wait already; {lost} got no answer so far");
                    }
                }
            }
        }));
        waiting
    }

    /// Moves every call that came with the last spin.
    pub(crate) fn empty(&mut self) {
        self.0.iter_mut().for_each(|empty| empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_calls_than_r2r_holds_all_wait_for_their_task() {
        let mut intake = Intake::default();
        // As r2r has it: ten, and one for the sender.
        let (mut r2r, calls) = mpsc::channel(10);
        let mut waiting = intake.queue("~/get_parameters", calls);
        for number in 0..200 {
            r2r.try_send(number).expect("r2r's channel has room after every spin");
            intake.empty();
        }
        // Nothing was taken meanwhile.
        let taken: Vec<i32> = std::iter::from_fn(|| waiting.next().now_or_never().flatten()).collect();
        assert_eq!(taken, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_client_that_floods_the_node_takes_no_more_than_the_queue() {
        let mut intake = Intake::default();
        let (mut r2r, calls) = mpsc::channel(10);
        let mut waiting = intake.queue("~/get_parameters", calls);
        for number in 0..5 * WAITING {
            r2r.try_send(number).expect("r2r's channel has room after every spin");
            intake.empty();
        }
        let taken = std::iter::from_fn(|| waiting.next().now_or_never().flatten()).count();
        assert!((WAITING..=WAITING + 1).contains(&taken), "{taken}");
    }
}
