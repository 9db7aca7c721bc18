//! Shutting the node down, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::error::Error;
use super::inference::Inference;
use super::lifecycle::{Closer, MotionGate};
use super::logging::Logging;
use super::requests::Requests;
use super::shutdown_brake::ShutdownBrake;
use super::shutdown_reason::ShutdownReason;
use super::spin::Spin;
use super::task::CurrentTask;
use super::threads::{StoppableThread, ThreadEnd};
use vla_recorder::RecorderThread;

/// Longest wait for an inference or a load. The whole shutdown stays below 2 s.
const GRACE: Duration = Duration::from_millis(1200);
/// Longest wait for the last log messages, and the last diagnostics after a fault.
const LAST_MESSAGES: Duration = Duration::from_millis(300);
/// Longest wait for the end of a thread that only sleeps and publishes.
const THREAD_END: Duration = Duration::from_millis(200);
/// Longest wait for the end of a recording's file.
const RECORDING_END: Duration = Duration::from_millis(300);
/// Polling interval of every wait.
const POLL: Duration = Duration::from_millis(5);

/// Everything that runs.
pub(crate) struct Running {
    /// The r2r node.
    pub spin: Spin,
    /// The policy.
    pub inference: Inference,
    /// The watchdog's thread.
    pub watch: StoppableThread,
    /// The thread that streams commands.
    pub stream: StoppableThread,
    /// Where threads report that they ended.
    pub ends: UnboundedReceiver<ThreadEnd>,
    /// Brings the motion to rest.
    pub brake: Arc<ShutdownBrake>,
    /// Topic, service, diagnostics and log tasks.
    pub tasks: FuturesUnordered<JoinHandle<()>>,
    /// The inference thread's request queue.
    pub requests: Arc<Requests>,
    /// The logger.
    pub logging: Logging,
    /// Why the node ends, for diagnostics.
    pub fault: Arc<ShutdownReason>,
    /// Whether chunks may move the robot.
    pub gate: Arc<MotionGate>,
    /// The running task of `~/run`.
    pub current_task: CurrentTask,
    /// Writes the recording.
    pub recorder: Option<RecorderThread>,
}

/// Whether every thread has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// All of them.
    Clean,
    /// A thread did not end in time, most likely in an inference or a load. The process must end without exit handlers.
    Detached,
}

impl Running {
    /// Waits for the end of a thread or task that should run as long as the node.
    pub(crate) async fn fault(&mut self) -> Error {
        tokio::select! {
            Some(end) = self.ends.recv() => Error::ThreadEnded(end),
            // It returned, or panicked, and then the log has the message.
            _ = self.tasks.next() => Error::TaskEnded,
        }
    }

    /// Ends everything, after a signal or after a fault.
    pub(crate) async fn shut_down(self, fault: Option<&Error>) -> Shutdown {
        // The robot first, whichever thread has ended: every later chunk is refused.
        self.brake.apply();
        // Ends a task, whose client then gets its result.
        self.gate.close(Closer::Lifecycle, "the node is shutting down");
        let braked = Instant::now();
        self.requests.shut_down();
        if let Some(fault) = fault {
            tracing::error!("{fault}");
            self.fault.set(&fault.to_string());
        }
        let mut clean = self.watch.stop(Instant::now() + THREAD_END);
        // The node keeps spinning, so that callers get their refusals.
        let deadline = Instant::now() + GRACE;
        let inference = self.inference;
        let joined = tokio::task::spawn_blocking(move || inference.join(deadline)).await;
        if !joined.unwrap_or(false) {
            clean = false;
            tracing::warn!("an inference or a load is still running; the node ends without waiting for it");
        }
        // A robot that follows single commands is streamed to its rest.
        wait_until(braked + self.brake.longest_at_shutdown(), || !self.brake.moves()).await;
        clean &= self.stream.stop(Instant::now() + THREAD_END);
        // Nothing is recorded any more; its file ends while the last messages are published.
        if let Some(recorder) = &self.recorder {
            recorder.stop();
        }
        let published = || {
            let is_reported = fault.is_none() || self.fault.is_published();
            is_reported && self.logging.pending() == 0 && self.current_task.get().is_none()
        };
        wait_until(Instant::now() + LAST_MESSAGES, published).await;
        let node = self.spin.stop(Instant::now() + THREAD_END);
        if let Some(recorder) = &self.recorder {
            wait_until(Instant::now() + RECORDING_END, || recorder.is_finished()).await;
            if !recorder.is_finished() {
                tracing::warn!(
                    "the recording is not written completely: `vla-trt replay --recover` reads what is there"
                );
            }
        }
        clean &= node.is_ok();
        for task in self.tasks {
            task.abort();
            // Cancelled, or ended before: it no longer uses the node.
            task.await.ok();
        }
        drop(node);
        if clean { Shutdown::Clean } else { Shutdown::Detached }
    }
}

async fn wait_until(deadline: Instant, done: impl Fn() -> bool) {
    while !done() && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
}
