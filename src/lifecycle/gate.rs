//! The gate of the motion: whether chunks may move the robot, by life cycle and by task.
//!
//! Closing it brings the robot to rest at once, without the inference thread, as `~/stop` does; but nothing latches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::RosClock;
use crate::latest::Latest;
use crate::operator::Operator;
use crate::shutdown_brake::ShutdownBrake;
use vla_runtime::session::Control;

/// Interval at which a wait for the rest looks.
const POLL: Duration = Duration::from_millis(10);

/// Who closes the gate. It is open when neither does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closer {
    /// The node is not active.
    Lifecycle,
    /// No task runs.
    Task,
}

/// Why the gate is closed, by closer.
#[derive(Default)]
struct Reasons {
    lifecycle: Option<Arc<str>>,
    task: Option<Arc<str>>,
}

impl Reasons {
    fn of(&mut self, closer: Closer) -> &mut Option<Arc<str>> {
        match closer {
            Closer::Lifecycle => &mut self.lifecycle,
            Closer::Task => &mut self.task,
        }
    }

    fn first(&self) -> Option<&Arc<str>> {
        self.lifecycle.as_ref().or(self.task.as_ref())
    }
}

/// See the module.
pub(crate) struct MotionGate {
    /// Held while the motion is suspended or released, so that the motion agrees with the reasons.
    reasons: Mutex<Reasons>,
    control: Arc<Latest<Option<Arc<Control>>>>,
    operator: Arc<Operator>,
    brake: Arc<ShutdownBrake>,
    clock: RosClock,
}

impl MotionGate {
    /// A gate of the motion that `control` has at each time, open. `brake` says whether it is at rest.
    pub(crate) fn new(
        control: Arc<Latest<Option<Arc<Control>>>>,
        operator: Arc<Operator>,
        brake: Arc<ShutdownBrake>,
        clock: RosClock,
    ) -> Self {
        Self { reasons: Mutex::default(), control, operator, brake, clock }
    }

    /// Brings the robot to rest; no chunk moves it until the gate is open.
    pub(crate) fn close(&self, closer: Closer, reason: &str) {
        let mut reasons = self.lock();
        *reasons.of(closer) = Some(reason.into());
        if let (Some(control), Some(reason)) = (self.control.get(), reasons.first()) {
            // An error is logged there; the plan in force ends by itself.
            self.operator.suspend(&control, reason).ok();
        }
    }

    /// As [`MotionGate::close`], without a brake: the plan in force, if any, ends by itself.
    pub(crate) fn close_after_plan(&self, closer: Closer, reason: &str) {
        let mut reasons = self.lock();
        *reasons.of(closer) = Some(reason.into());
        if let Some(control) = self.control.get() {
            refuse_chunks(&reasons, &control);
        }
    }

    /// Ends what `closer` closed; chunks move the robot again when the other one leaves the gate open, too.
    pub(crate) fn open(&self, closer: Closer) {
        let mut reasons = self.lock();
        *reasons.of(closer) = None;
        let Some(control) = self.control.get() else { return };
        if !refuse_chunks(&reasons, &control) {
            control.release(self.clock.now());
        }
    }

    /// Applies the gate to the motion of a policy that was just loaded. Call it after the motion is shared and before its first chunk.
    pub(crate) fn apply(&self, control: &Control) {
        refuse_chunks(&self.lock(), control);
    }

    /// Why no chunk moves the robot; `None` when the gate is open.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.lock().first().cloned()
    }

    /// Why `closer` closed the gate.
    pub(crate) fn reason_of(&self, closer: Closer) -> Option<Arc<str>> {
        self.lock().of(closer).clone()
    }

    /// Whether the motion is over on every route.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.brake.moves()
    }

    /// Longest time that the stop may take that is under way.
    pub(crate) fn longest_stop(&self) -> Duration {
        self.brake.longest()
    }

    /// Waits until the motion is over; no longer than the stop may take, since simulated time may stand still.
    pub(crate) async fn rest(&self) {
        let deadline = Instant::now() + self.longest_stop();
        while !self.is_at_rest() {
            if Instant::now() >= deadline {
                tracing::warn!(
                    "the motion is not over though its stop should be: ROS time stands still, or an action server has not ended its \
                     goal; chunks move nothing"
                );
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the motion the reason of the closed gate; false when the gate is open.
fn refuse_chunks(reasons: &Reasons, control: &Control) -> bool {
    reasons.first().inspect(|reason| control.refuse_chunks(reason)).is_some()
}
