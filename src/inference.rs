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
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::RosClock;
use super::context::panic_text;
use super::error::Error;
use super::graph::Found;
use super::latest::Latest;
use super::operator::Operator;
use super::phase::{Phase, Remedy};
use super::publishers::Publishers;
use super::report::Report;
use super::requests::{Action, Request, Requests, Wake};
use super::threads::{ThreadEnds, join_until};
use super::ticker::Ticker;
use supervise::{End, PolicyLifecycle, supervise};
use vla_base::time::Stamp;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{PolicyShape, Settings};
use vla_runtime::session::{Braked, Control, Refusal, Session};

/// In simulation the clock may run at any speed, so the time of the next tick is looked at this often.
const SIMULATED_LOOK: Duration = Duration::from_millis(2);

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
    /// `~/stop`.
    pub operator: Arc<Operator>,
    /// ROS time.
    pub clock: RosClock,
    /// What is wrong in the ROS graph.
    pub found: Found,
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
    pub fn start(
        folder: PathBuf,
        shape: PolicyShape,
        shared: Shared,
        publishers: Publishers,
        ends: &ThreadEnds,
    ) -> Result<Self, Error> {
        let worker =
            InferenceWorker { folder, shape, shared, publishers, ticker: Ticker::default(), started: Instant::now() };
        Ok(Self { thread: ends.spawn("inference", || worker.run())? })
    }

    /// Waits for the end of the thread until `deadline`; false when an inference or a load is still running then.
    pub fn join(self, deadline: Instant) -> bool {
        join_until(self.thread, deadline).is_ok()
    }
}

struct InferenceWorker {
    folder: PathBuf,
    shape: PolicyShape,
    shared: Shared,
    publishers: Publishers,
    ticker: Ticker,
    /// Of the steady clock that the ticker runs on unless time is simulated.
    started: Instant,
}

impl InferenceWorker {
    fn run(self) {
        let requests = Arc::clone(&self.shared.requests);
        let mut lifecycle = InferenceLifecycle { worker: self, asked: None, remedy: Remedy::default() };
        supervise(&mut lifecycle);
        for request in lifecycle.asked.into_iter().chain(requests.drain()) {
            request.answer(false, "the node is shutting down");
        }
    }

    /// Answers calls until one of them is `~/reload`; `None` at the end of the node.
    fn wait_for_reload(&self, reason: &str, remedy: Remedy) -> Option<Request> {
        loop {
            match self.shared.requests.wait(None) {
                Wake::Shutdown => return None,
                Wake::Time => {}
                Wake::Request(request) if request.action == Action::Reload => return Some(request),
                Wake::Request(request) => {
                    request.answer(false, format!("no policy is loaded: {reason}; {remedy}"));
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
                session.apply(&newest);
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
            session.continue_motion(&control);
        }
        session.apply(settings);
        self.shared.control.set(Some(Arc::clone(session.control())));
        self.shared.operator.hand_over(session.control());
    }

    /// Does what is asked; the reason when that lost the device.
    fn obey(&mut self, request: Request, session: &mut Session, settings: &Settings) -> Option<String> {
        match request.action {
            Action::Infer => {
                let answer = self.cycle(session, settings, true);
                request.answer(answer.success, answer.message.as_str());
                return answer.lost.then_some(answer.message);
            }
            Action::Resume => return self.resume(request, session, settings),
            Action::Reload => request.answer(false, "internal error: a reload is not obeyed here"),
        }
        None
    }

    /// ThreadEnds a stop, when all is well; the reason when the device was lost over it.
    fn resume(&mut self, request: Request, session: &mut Session, settings: &Settings) -> Option<String> {
        let shared = &self.shared;
        match session.resume(&shared.inputs, settings, &mut || shared.clock.now()) {
            Ok(true) => {
                self.recovered();
                tracing::info!("resumed");
                request.answer(
                    true,
                    "resumed; the next fresh observation is inferred, and motion starts from where the joints are",
                );
            }
            Ok(false) => request.answer(true, "nothing to resume: the node was not stopped"),
            Err(reason) => {
                let text = reason.to_string();
                tracing::warn!("not resumed: {text}");
                let lost = reason.refusal().is_some_and(Refusal::is_sticky);
                if let Some(refusal) = reason.refusal() {
                    self.refused(refusal.kind(), &text, Braked::Already);
                }
                request.answer(false, format!("still stopped: {text}; mend it and call ~/resume again"));
                return lost.then_some(text);
            }
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
struct InferenceLifecycle {
    worker: InferenceWorker,
    /// `~/reload`, waiting for the answer that only the next load can give.
    asked: Option<Request>,
    /// What helps after the last load that failed.
    remedy: Remedy,
}

impl InferenceLifecycle {
    fn answer(&mut self, success: bool, message: &str) {
        if let Some(request) = self.asked.take() {
            request.answer(success, message);
        }
    }

    fn shared(&self) -> &Shared {
        &self.worker.shared
    }
}

impl PolicyLifecycle for InferenceLifecycle {
    type Session = Session;

    fn load(&mut self) -> Result<Session, String> {
        self.remedy = Remedy::Reload;
        // Nothing moves on a policy that is not loaded, and ~/reload may load another: a panic is a refusal here.
        let loaded = panic::catch_unwind(AssertUnwindSafe(|| {
            load::load(&self.worker.folder, &self.worker.shape, &self.worker.shared)
        }));
        match loaded {
            Ok(loaded) => loaded.map_err(|error| {
                if error.needs_restart() {
                    self.remedy = Remedy::Restart;
                }
                error.to_string()
            }),
            Err(payload) => Err(format!("loading panicked, which is a bug: {}", panic_text(payload.as_ref()))),
        }
    }

    fn serve(&mut self, session: Session) -> End {
        self.shared().phase.set(Phase::Ready);
        self.answer(true, "the policy is loaded");
        // A panic here ends the thread and with it the node: what state the session was left in is not known.
        let end = self.worker.serve(session, &mut self.asked);
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
        let remedy = self.remedy;
        tracing::error!("no policy: {reason}\n{remedy}");
        self.shared().phase.set(Phase::Degraded { reason: reason.to_owned(), remedy });
        self.answer(false, reason);
        self.asked = self.worker.wait_for_reload(reason, remedy);
        if self.asked.is_some() {
            self.shared().report.update(|report| (report.restarts, report.lost) = (0, None));
        }
        self.asked.is_some()
    }
}
