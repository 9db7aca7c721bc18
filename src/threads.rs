//! The node's threads and the supervision of their ends.
//!
//! Every thread runs until the node stops it. A thread that panics or returns before reports its end; [`super::run`] waits for such a
//! report, brakes the robot, and ends with an error.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::error::Error;

/// Polling interval while waiting for the end of a thread.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// A thread that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadEnd {
    /// Its name.
    pub thread: &'static str,
    /// Whether it panicked (the log has the message) or returned.
    pub panicked: bool,
}

impl fmt::Display for ThreadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "returned" };
        write!(f, "the {} thread {how}", self.thread)
    }
}

/// Sends the reports of ending threads.
#[derive(Clone)]
pub(crate) struct ThreadEnds(UnboundedSender<ThreadEnd>);

impl ThreadEnds {
    /// The sending and the receiving end of the reports. There is at most one a thread.
    pub(crate) fn channel() -> (Self, UnboundedReceiver<ThreadEnd>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Starts a thread whose end is reported, also after a panic.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        thread: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, Error> {
        let report = EndReport { thread, ends: self.clone() };
        let run = move || {
            // Dropped after everything that the work owns, also by a panic.
            let _report = report;
            work()
        };
        thread::Builder::new().name(thread.to_owned()).spawn(run).map_err(|source| Error::Thread { thread, source })
    }
}

struct EndReport {
    thread: &'static str,
    ends: ThreadEnds,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        let end = ThreadEnd { thread: self.thread, panicked: thread::panicking() };
        // Fails only after the node has ended.
        self.ends.0.send(end).ok();
    }
}

/// A thread did not end in time.
#[derive(Debug)]
pub(crate) struct StillRunning;

/// Waits for the end of a thread until `deadline`; `None` when it panicked, which it has reported itself.
///
/// # Errors
/// When it is still running at the deadline. It is detached then.
pub(crate) fn join_until<T>(thread: JoinHandle<T>, deadline: Instant) -> Result<Option<T>, StillRunning> {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return Err(StillRunning);
        }
        thread::sleep(JOIN_POLL);
    }
    Ok(thread.join().ok())
}

/// A thread with a stop flag.
pub(crate) struct StoppableThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl StoppableThread {
    /// Starts `work`, which must check the flag every few hundredths of a second.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        name: &'static str,
        ends: &ThreadEnds,
        work: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        Ok(Self { stop, thread: ends.spawn(name, move || work(&flag))? })
    }

    /// Ends it and waits until `deadline`; false when it is still running then.
    pub(crate) fn stop(self, deadline: Instant) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        join_until(self.thread, deadline).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_thread_that_hangs_does_not_block_its_stop() {
        let (ends, _reports) = ThreadEnds::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hangs = StoppableThread::start("stream", &ends, move |_| {
            held.recv().ok();
        })
        .expect("a thread");
        assert!(!hangs.stop(Instant::now() + Duration::from_millis(20)));
        drop(release);
    }

    #[test]
    fn a_thread_that_panics_and_one_that_returns_are_reported_by_name() {
        let (ends, mut reports) = ThreadEnds::channel();
        let panics = StoppableThread::start("watchdog", &ends, |_| panic!("a fault of this test")).expect("a thread");
        assert_eq!(reports.blocking_recv(), Some(ThreadEnd { thread: "watchdog", panicked: true }));
        let returns = StoppableThread::start("stream", &ends, |_| {}).expect("a thread");
        let end = reports.blocking_recv().expect("a report");
        assert_eq!(end.to_string(), "the stream thread returned");
        assert!(panics.stop(soon()) && returns.stop(soon()));
    }

    #[test]
    fn a_thread_that_runs_reports_nothing_until_it_is_stopped() {
        let (ends, mut reports) = ThreadEnds::channel();
        let runs = |flag: &AtomicBool| {
            while !flag.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        };
        let worker = StoppableThread::start("stream", &ends, runs).expect("a thread");
        assert!(reports.try_recv().is_err());
        assert!(worker.stop(soon()));
        assert_eq!(reports.try_recv(), Ok(ThreadEnd { thread: "stream", panicked: false }));
    }
}
