//! Signals, and the order in which the node comes apart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::clock::RosClock;
use super::error::Error;
use super::inference::Inference;
use super::latest::Latest;
use super::logging::Logging;
use super::requests::Requests;
use super::spin::Spin;
use super::watch::Worker;
use crate::session::Control;

/// How long an inference or a load may still run. With the rest of the shutdown it stays below 2 s.
const GRACE: Duration = Duration::from_millis(1200);
/// How long commands are streamed after the robot was told to brake.
const LONGEST_STOP: Duration = Duration::from_millis(500);
/// How long the last log messages may take to /rosout.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// SIGINT and SIGTERM, remembered from the moment this exists.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes both signals over. Call it inside the runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> Result<Self, Error> {
        let take = |kind| signal(kind).map_err(|source| Error::Runtime { what: "the signal handler", source });
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Returns the name of the first that comes.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Everything that runs.
pub struct Running {
    /// The r2r node.
    pub spin: Spin,
    /// The policy.
    pub inference: Inference,
    /// The watchdog's thread.
    pub watch: Worker,
    /// The thread that streams commands.
    pub stream: Worker,
    /// The motion.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// ROS time.
    pub clock: RosClock,
    /// Topic, service, diagnostics and log tasks.
    pub tasks: Vec<JoinHandle<()>>,
    /// The inference thread's letter box.
    pub requests: Arc<Requests>,
    /// The logger.
    pub logging: Logging,
}

/// Whether every thread is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All of them.
    Whole,
    /// An inference or a load did not end in time. The process must not run exit handlers under it.
    Busy,
}

impl Running {
    /// Takes everything down.
    pub async fn shut_down(self) -> Ended {
        self.requests.shut_down();
        // First of all the robot: the watchdog's last act is to brake, and no chunk passes after it.
        self.watch.stop();
        let braked = Instant::now();
        // The node spins on meanwhile, so that callers get their refusals.
        let deadline = Instant::now() + GRACE;
        let inference = self.inference;
        let joined = tokio::task::spawn_blocking(move || inference.join(deadline)).await;
        let ended = if joined.unwrap_or(false) { Ended::Whole } else { Ended::Busy };
        if ended == Ended::Busy {
            tracing::warn!("an inference or a load is still running; ending without it");
        }
        // Who follows single commands is taken to the rest.
        let moves = || self.control.get().and_then(|c| c.plan()).is_some_and(|plan| self.clock.now() < plan.end());
        while moves() && braked.elapsed() < LONGEST_STOP {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stream.stop();
        let silence = Instant::now() + LAST_WORDS;
        while self.logging.pending() > 0 && Instant::now() < silence {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let node = self.spin.stop();
        for task in self.tasks {
            task.abort();
            // Cancelled, or ended before: either way it no longer uses the node.
            task.await.ok();
        }
        drop(node);
        ended
    }
}
