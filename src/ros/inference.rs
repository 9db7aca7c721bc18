//! The inference thread: the only owner of the policy.
//!
//! It loads the policy, runs one cycle at each tick or call, and publishes. Nothing
//! waits for it and it waits for nobody: what goes in and out are latest-value slots.

mod cycle;
mod load;
mod supervise;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::clock::RosClock;
use super::context::panic_text;
use super::description::{self, Described};
use super::error::Error;
use super::latest::Latest;
use super::phase::Phase;
use super::publishers::Publishers;
use super::report::Report;
use super::requests::{Action, Request, Requests, Wake};
use super::ticker::Ticker;
use crate::observation::Inputs;
use crate::parameters::{LimitsFrom, PolicyShape, Settings};
use crate::session::{Control, Session};
use crate::time::Stamp;
use supervise::{End, Room, supervise};

/// In simulation the clock may run at any speed, so the time of the next tick is looked at this often.
const SIMULATED_LOOK: Duration = Duration::from_millis(2);
/// At the end of the node the thread is looked at this often.
const JOIN_LOOK: Duration = Duration::from_millis(5);

/// What the thread shares with the rest of the node.
#[derive(Clone)]
pub struct Shared {
    /// What is in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// Samples.
    pub inputs: Arc<Inputs>,
    /// What is asked of the thread.
    pub requests: Arc<Requests>,
    /// What it does.
    pub phase: Arc<Latest<Phase>>,
    /// What it counted.
    pub report: Arc<Latest<Report>>,
    /// The motion, once a policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// The robot's description, when one is asked for and came.
    pub described: Described,
    /// ROS time.
    pub clock: RosClock,
}

/// The running thread.
pub struct Inference {
    thread: JoinHandle<()>,
}

impl Inference {
    /// Starts the thread; it begins with loading the policy in `folder`, which must have the shape that the parameters
    /// were declared for.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(folder: PathBuf, shape: PolicyShape, shared: Shared, publishers: Publishers) -> Result<Self, Error> {
        let worker = Worker { folder, shape, shared, publishers, ticker: Ticker::default(), started: Instant::now() };
        let thread = thread::Builder::new().name("inference".to_owned()).spawn(|| worker.run());
        Ok(Self { thread: thread.map_err(|source| Error::Runtime { what: "the inference thread", source })? })
    }

    /// Waits for the end of the thread until `deadline`; false when an inference or a load is still running then.
    pub fn join(self, deadline: Instant) -> bool {
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(JOIN_LOOK);
        }
        // Panics of the policy are caught inside.
        self.thread.join().is_ok()
    }
}

struct Worker {
    folder: PathBuf,
    shape: PolicyShape,
    shared: Shared,
    publishers: Publishers,
    ticker: Ticker,
    /// Of the steady clock that the ticker runs on unless time is simulated.
    started: Instant,
}

impl Worker {
    fn run(self) {
        let requests = Arc::clone(&self.shared.requests);
        let mut room = EngineRoom { worker: self, asked: None };
        supervise(&mut room);
        for request in room.asked.into_iter().chain(requests.drain()) {
            request.answer(false, "the node is shutting down");
        }
    }

    /// Answers calls until one of them is `~/reload`; `None` at the end of the node.
    fn wait_for_reload(&self, reason: &str) -> Option<Request> {
        loop {
            match self.shared.requests.wait(None) {
                Wake::Shutdown => return None,
                Wake::Time => {}
                Wake::Request(request) if request.action == Action::Reload => return Some(request),
                Wake::Request(request) => {
                    request.answer(false, format!("no policy is loaded: {reason}; ~/reload tries again"));
                }
            }
        }
    }

    /// Runs cycles until the node ends, the device is lost, or `~/reload` is called, which goes to `asked`.
    fn serve(&mut self, mut session: Session, asked: &mut Option<Request>) -> End {
        // Those that it was loaded with, or newer ones.
        let mut settings = self.shared.settings.get();
        self.share_motion(&mut session, &settings);
        loop {
            let wait = self.until_next_tick(&settings);
            let wake = self.shared.requests.wait(wait);
            let newest = self.shared.settings.get();
            if !Arc::ptr_eq(&newest, &settings) {
                apply(&mut session, &newest);
                settings = newest;
            }
            match wake {
                Wake::Shutdown => return End::Shutdown,
                Wake::Request(request) if request.action == Action::Reload => {
                    *asked = Some(request);
                    return End::Reload;
                }
                Wake::Request(request) => {
                    if let Some(reason) = self.obey(request, &mut session, &settings) {
                        return End::DeviceLost(reason);
                    }
                }
                Wake::Time => {
                    let now = self.ticker_now();
                    if self.ticker.due_in(now, settings.rate_hz).is_some_and(|left| left.nanos() == 0) {
                        self.ticker.tick(now, settings.rate_hz);
                        let answer = self.cycle(&mut session, &settings, false);
                        if answer.lost {
                            return End::DeviceLost(answer.message);
                        }
                    }
                }
            }
        }
    }

    /// Goes on with the motion of the session before, when there was one, and shows it to watchdog and stream.
    fn share_motion(&self, session: &mut Session, settings: &Settings) {
        if let Some(control) = self.shared.control.get() {
            session.adopt(&control);
        }
        if matches!(settings.limits_from, LimitsFrom::Topic(_)) {
            session.control().await_description();
        }
        apply(session, settings);
        if let Some(text) = self.shared.described.get() {
            description::take(session.control(), &text, settings);
        }
        self.shared.control.set(Some(Arc::clone(session.control())));
        if session.is_stopped() {
            self.shared.phase.set(Phase::Stopped { reason: "before the policy was loaded again".to_owned() });
        }
    }

    /// Does what is asked; the reason when that lost the device.
    fn obey(&mut self, request: Request, session: &mut Session, settings: &Settings) -> Option<String> {
        match request.action {
            Action::Infer => {
                let answer = self.cycle(session, settings, true);
                request.answer(answer.success, answer.message.as_str());
                return answer.lost.then_some(answer.message);
            }
            Action::Resume if session.resume(self.shared.clock.now()) => {
                self.shared.phase.set(Phase::Ready);
                tracing::info!("resumed");
                request.answer(
                    true,
                    "resumed; the next fresh observation is inferred, and motion starts from where the joints are",
                );
            }
            Action::Resume => request.answer(true, "nothing to resume: the node was not stopped"),
            Action::Reload => request.answer(false, "internal error: a reload is not obeyed here"),
        }
        None
    }

    /// How long to wait for the next tick; `None` when inference is on demand only.
    fn until_next_tick(&mut self, settings: &Settings) -> Option<Duration> {
        let now = self.ticker_now();
        let left = self.ticker.due_in(now, settings.rate_hz)?;
        let left = Duration::from_nanos(u64::try_from(left.nanos()).unwrap_or_default());
        Some(if self.shared.clock.simulated() { left.min(SIMULATED_LOOK) } else { left })
    }

    /// ROS time in simulation; else a steady clock, which nobody can set.
    fn ticker_now(&self) -> Stamp {
        if self.shared.clock.simulated() {
            self.shared.clock.now()
        } else {
            Stamp::default() + self.started.elapsed().into()
        }
    }
}

/// The thread's work as [`supervise`] sees it.
struct EngineRoom {
    worker: Worker,
    /// `~/reload`, waiting for the answer that only the next load can give.
    asked: Option<Request>,
}

impl EngineRoom {
    fn answer(&mut self, success: bool, message: &str) {
        if let Some(request) = self.asked.take() {
            request.answer(success, message);
        }
    }

    fn shared(&self) -> &Shared {
        &self.worker.shared
    }
}

impl Room for EngineRoom {
    type Session = Session;

    fn load(&mut self) -> Result<Session, String> {
        let loaded = panic::catch_unwind(AssertUnwindSafe(|| {
            load::load(&self.worker.folder, &self.worker.shape, &self.worker.shared)
        }));
        loaded.unwrap_or_else(|payload| Err(panicked("loading", payload.as_ref())))
    }

    fn serve(&mut self, session: Session) -> End {
        self.shared().phase.set(Phase::Ready);
        self.answer(true, "the policy is loaded");
        let served = panic::catch_unwind(AssertUnwindSafe(|| self.worker.serve(session, &mut self.asked)));
        let end = served.unwrap_or_else(|payload| End::Failed(panicked("inference", payload.as_ref())));
        self.shared().report.update(|report| (report.engines, report.changed_on_disk) = (None, None));
        if end == End::Reload {
            tracing::info!("~/reload: loading the policy in {} again", self.worker.folder.display());
            self.shared().report.update(|report| (report.restarts, report.lost) = (0, None));
        }
        end
    }

    fn max_restarts(&self) -> u32 {
        self.shared().settings.get().engine.max_restarts
    }

    fn restarting(&mut self, restarts: u32, reason: &str) {
        tracing::error!("loading the engines again, for the {restarts}. time of {}: {reason}", self.max_restarts());
        self.shared().report.update(|report| {
            report.restarts = restarts;
            report.lost = Some(reason.into());
        });
    }

    fn degraded(&mut self, reason: &str) -> bool {
        tracing::error!("no policy: {reason}\n~/reload tries again");
        self.shared().phase.set(Phase::Degraded { reason: reason.to_owned() });
        self.answer(false, reason);
        self.asked = self.worker.wait_for_reload(reason);
        if self.asked.is_some() {
            self.shared().report.update(|report| (report.restarts, report.lost) = (0, None));
        }
        self.asked.is_some()
    }
}

fn apply(session: &mut Session, settings: &Settings) {
    if let Err(error) = session.apply(settings) {
        tracing::error!("settings not taken over: {error}");
    }
}

fn panicked(during: &str, payload: &(dyn std::any::Any + Send)) -> String {
    format!("{during} panicked, which is a bug: {}", panic_text(payload))
}
