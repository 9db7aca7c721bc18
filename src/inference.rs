//! The inference thread: the only owner of the policy.
//!
//! It loads the policy, runs one cycle at each tick or call, and publishes. It shares latest-value slots with the other
//! threads; none waits for another.

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
use super::lifecycle::{Lifecycle, MotionGate};
use super::operator::Operator;
use super::phase::{Phase, Remedy};
use super::publishers::Publishers;
use super::report::Report;
use super::requests::{Action, Request, Requests, Wake};
use super::threads::{ThreadEnds, join_until};
use super::ticker::Ticker;
use supervise::{End, Failure, PolicyLifecycle, supervise};
use vla_base::time::Stamp;
use vla_engines::ErrorClass;
use vla_engines::memory::{MemoryUse, mib};
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{PolicyShape, Settings};
use vla_runtime::remedies;
use vla_runtime::session::{Braked, Control, Refusal, Session};

/// Polling interval in simulation, where the clock may run at any speed.
const SIMULATED_POLL: Duration = Duration::from_millis(2);

/// What the thread shares with the rest of the node.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Settings in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// Newest samples.
    pub inputs: Arc<Inputs>,
    /// Requests to the thread.
    pub requests: Arc<Requests>,
    /// Phase of the node.
    pub phase: Arc<Latest<Phase>>,
    /// Counters and figures.
    pub report: Arc<Latest<Report>>,
    /// The motion, once a policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// `~/stop`.
    pub operator: Arc<Operator>,
    /// Whether chunks may move the robot.
    pub gate: Arc<MotionGate>,
    /// The life cycle, which ends in unconfigured when the policy is lost.
    pub lifecycle: Arc<Lifecycle>,
    /// ROS time.
    pub clock: RosClock,
    /// Problems in the ROS graph.
    pub found: Found,
}

/// The running thread.
pub(crate) struct Inference {
    thread: JoinHandle<()>,
}

impl Inference {
    /// Starts the thread; it waits for the request to load the policy in `folder`, which must have the shape that the parameters
    /// were declared for.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
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
    pub(crate) fn join(self, deadline: Instant) -> bool {
        join_until(self.thread, deadline).is_ok()
    }
}

struct InferenceWorker {
    folder: PathBuf,
    shape: PolicyShape,
    shared: Shared,
    publishers: Publishers,
    ticker: Ticker,
    /// Start of the steady clock for the ticker, unless time is simulated.
    started: Instant,
}

impl InferenceWorker {
    fn run(self) {
        let requests = Arc::clone(&self.shared.requests);
        let mut lifecycle =
            InferenceLifecycle { worker: self, asked: None, remedy: Remedy::default(), loaded: MemoryUse::default() };
        supervise(&mut lifecycle);
        for request in lifecycle.asked.into_iter().chain(requests.drain()) {
            request.answer(false, "the node is shutting down");
        }
    }

    /// Answers requests until one of them is to load a policy; `None` at the end of the node. `refusal` says why others are refused.
    fn wait_for_load(&self, refusal: &dyn Fn() -> String) -> Option<Request> {
        loop {
            match self.shared.requests.wait(None) {
                Wake::Shutdown => return None,
                Wake::Time => {}
                Wake::Request(request) => match request.action {
                    Action::Load => return Some(request),
                    Action::Unload => request.answer(true, "no policy is loaded"),
                    Action::Infer | Action::Resume | Action::Reload => request.answer(false, refusal()),
                },
            }
        }
    }

    /// Runs cycles until the node ends, the device is lost, or a request ends the session, which goes to `asked`.
    fn serve(&mut self, mut session: Session, asked: &mut Option<Request>, loaded: &mut MemoryUse) -> End {
        // The settings of the load, or newer ones.
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
                Wake::Request(request) if matches!(request.action, Action::Reload | Action::Unload) => {
                    let end = if request.action == Action::Reload { End::Reload } else { End::Unload };
                    *asked = Some(request);
                    *loaded = MemoryUse::now();
                    return end;
                }
                Wake::Request(request) => {
                    if let Some(reason) = self.handle(request, &mut session, &settings) {
                        return End::DeviceLost(reason);
                    }
                }
                Wake::Time => {
                    let now = self.ticker_now();
                    if self.ticker.due_in(now, settings.rate_hz).is_some_and(|left| left.nanos() == 0) {
                        self.ticker.tick(now, settings.rate_hz);
                        if let Some(reason) = self.tick(&mut session, &settings) {
                            return End::DeviceLost(reason);
                        }
                    }
                }
            }
        }
    }

    /// Continues the motion of the session before, if any, and shares it with watchdog and stream.
    fn share_motion(&self, session: &mut Session, settings: &Settings) {
        if let Some(control) = self.shared.control.get() {
            session.continue_motion(&control);
        }
        session.apply(settings);
        self.shared.control.set(Some(Arc::clone(session.control())));
        self.shared.operator.apply_waiting_stop(session.control());
        self.shared.gate.apply(session.control());
    }

    /// One cycle of the timer, while chunks may move the robot; returns the reason when the device was lost.
    fn tick(&mut self, session: &mut Session, settings: &Settings) -> Option<String> {
        if self.shared.gate.reason().is_some() {
            self.forget_fault();
            return None;
        }
        let answer = self.cycle(session, settings, false);
        answer.lost.then_some(answer.message)
    }

    /// Handles a request; returns the reason when the device was lost.
    fn handle(&mut self, request: Request, session: &mut Session, settings: &Settings) -> Option<String> {
        match request.action {
            Action::Infer => {
                if let Some(reason) = self.shared.gate.reason() {
                    request.answer(false, &*reason);
                    return None;
                }
                let answer = self.cycle(session, settings, true);
                request.answer(answer.success, answer.message.as_str());
                return answer.lost.then_some(answer.message);
            }
            Action::Resume => return self.resume(request, session, settings),
            Action::Load => request.answer(true, "the policy is loaded already"),
            Action::Reload | Action::Unload => {
                request.answer(false, "internal error: a request that ends the session is handled elsewhere");
            }
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
                let text = match shared.gate.reason() {
                    None => {
                        "resumed; inference continues with the next fresh observation, and motion starts at the measured positions"
                            .to_owned()
                    }
                    Some(reason) => format!("resumed; nothing moves yet: {reason}"),
                };
                request.answer(true, text);
            }
            Ok(false) => request.answer(true, "nothing to resume: the node was not stopped"),
            Err(reason) => {
                let text = reason.to_string();
                tracing::warn!("not resumed: {text}");
                let lost = reason.refusal().is_some_and(Refusal::is_sticky);
                if let Some(refusal) = reason.refusal() {
                    self.refused(refusal, &text, Braked::Already);
                }
                request.answer(false, format!("still stopped: {text}; fix it and call ~/resume again"));
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
        Some(if self.shared.clock.simulated() { left.min(SIMULATED_POLL) } else { left })
    }

    /// ROS time in simulation; else a steady clock, which cannot be set.
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
    /// The request that is answered after the next load, or after the session was freed.
    asked: Option<Request>,
    /// Remedy after the last failed load.
    remedy: Remedy,
    /// Memory of the process when the session ended, before it was freed.
    loaded: MemoryUse,
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

    fn load(&mut self) -> Result<Session, Failure> {
        self.remedy = Remedy::Reload;
        // No policy is loaded, so no joint moves, and ~/reload may load another: a panic is a refusal here.
        let loaded = panic::catch_unwind(AssertUnwindSafe(|| {
            load::load(&self.worker.folder, &self.worker.shape, &self.worker.shared)
        }));
        match loaded {
            Ok(loaded) => loaded.map_err(|error| {
                if error.needs_restart() {
                    self.remedy = Remedy::Restart;
                }
                Failure { class: remedies::class(&error), reason: remedies::described(&error) }
            }),
            Err(payload) => {
                let reason = format!("loading panicked, which is a bug: {}", panic_text(payload.as_ref()));
                Err(Failure { class: ErrorClass::Other, reason })
            }
        }
    }

    fn serve(&mut self, session: Session) -> End {
        self.shared().phase.set(Phase::Ready);
        self.answer(true, "the policy is loaded");
        // A panic here ends the thread and the node: the state of the session is unknown.
        let end = self.worker.serve(session, &mut self.asked, &mut self.loaded);
        self.shared().report.update(|report| (report.engines, report.changed_on_disk) = (None, None));
        if matches!(end, End::Reload | End::Unload) {
            self.shared().report.update(|report| (report.restarts, report.lost) = (0, None));
        }
        if end == End::Reload {
            tracing::info!("~/reload: loading the policy in {} again", self.worker.folder.display());
        }
        end
    }

    fn max_restarts(&self) -> u32 {
        self.shared().settings.get().engine.max_restarts
    }

    fn restarting(&mut self, restarts: u32, reason: &str) {
        tracing::error!("loading the engines again, {restarts} of at most {} times: {reason}", self.max_restarts());
        self.shared().report.update(|report| {
            report.restarts = restarts;
            report.lost = Some(reason.into());
        });
    }

    fn unloaded(&mut self) -> bool {
        if let Some(request) = self.asked.take() {
            self.worker.forget_fault();
            vla_base::sys::allocator::trim();
            let MemoryUse { resident, .. } = MemoryUse::now();
            let before = self.loaded.resident;
            tracing::info!("the policy is freed: {:.1} MiB resident, {:.1} MiB before", mib(resident), mib(before));
            self.shared().phase.set(Phase::Unloaded);
            request.answer(true, "the policy is freed");
        }
        let shared = self.shared();
        let refusal = || {
            let reason = shared.gate.reason();
            format!("no policy is loaded: {}", reason.as_deref().unwrap_or("it has not been asked for"))
        };
        self.asked = self.worker.wait_for_load(&refusal);
        self.asked.is_some()
    }

    fn degraded(&mut self, failure: &Failure) -> bool {
        let (remedy, Failure { class, reason }) = (self.remedy, failure);
        tracing::error!("no policy: {reason}\n{remedy}");
        self.shared().phase.set(Phase::Degraded { class: *class, reason: reason.clone(), remedy });
        self.shared().lifecycle.lost();
        self.answer(false, reason);
        self.asked = self.worker.wait_for_load(&|| format!("no policy is loaded: {reason}; {remedy}"));
        if self.asked.is_some() {
            self.shared().report.update(|report| (report.restarts, report.lost) = (0, None));
        }
        self.asked.is_some()
    }
}
