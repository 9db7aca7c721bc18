//! The thread that owns the r2r node and spins it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use r2r::Node;

use super::call_queue::Intake;
use super::error::Error;
use super::graph::Graph;
use super::threads::{StillRunning, ThreadEnds, join_until};

/// Longest time until the thread notices [`Spin::stop`].
const SLICE: Duration = Duration::from_millis(50);

/// The running thread.
pub(crate) struct Spin {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Node>,
}

impl Spin {
    /// Moves the node to its thread; every endpoint must exist already.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        mut node: Node,
        mut intake: Intake,
        mut graph: Graph,
        ends: &ThreadEnds,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let run = move || {
            while !flag.load(Ordering::Relaxed) {
                node.spin_once(SLICE);
                intake.empty();
                graph.look(&node);
            }
            node
        };
        Ok(Self { stop, thread: ends.spawn("spin", run)? })
    }

    /// Ends the thread and gives the node back, to be dropped by the caller; `None` when the thread panicked.
    ///
    /// The thread must be gone before the node is, and the node before the process: anything else is a crash in rcl.
    ///
    /// # Errors
    /// When the thread has not ended by the deadline: it keeps the node.
    pub(crate) fn stop(self, deadline: Instant) -> Result<Option<Node>, StillRunning> {
        self.stop.store(true, Ordering::Relaxed);
        join_until(self.thread, deadline)
    }
}
