//! The thread that owns the r2r node and spins it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use r2r::Node;
use tokio::sync::oneshot;

use super::error::Error;

/// How long the thread may be deaf to [`Spin::stop`].
const SLICE: Duration = Duration::from_millis(50);

/// The running thread.
pub struct Spin {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Node>,
    ended: oneshot::Receiver<()>,
}

impl Spin {
    /// Moves the node to its thread; every endpoint must exist already.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut node: Node) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let (alive, ended) = oneshot::channel::<()>();
        let told = stop.clone();
        let run = move || {
            // Dropped when the thread ends, also by a panic inside r2r.
            let _alive = alive;
            while !told.load(Ordering::Relaxed) {
                node.spin_once(SLICE);
            }
            node
        };
        let thread = thread::Builder::new().name("spin".to_owned()).spawn(run);
        let thread = thread.map_err(|source| Error::Runtime { what: "the spin thread", source })?;
        Ok(Self { stop, thread, ended })
    }

    /// Returns when the thread has ended by itself.
    pub async fn ended(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        (&mut self.ended).await.ok();
    }

    /// Ends the thread and gives the node back, to be dropped by the caller; `None` when the thread panicked.
    ///
    /// The thread must be gone before the node is, and the node before the process: anything else is a crash in rcl.
    pub fn stop(self) -> Option<Node> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok()
    }
}
