//! The watchdog thread: checks motion and inputs every 10 ms, independently of the inference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::clock::RosClock;
use super::latest::Latest;
use super::outputs::{Outputs, stop_not_published};
use super::realtime;
use vla_base::time::{Span, Stamp};
use vla_motion::WatchdogState;
use vla_policy::observation::Inputs;
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Braked, Control, MotionStatus};

/// Polling interval.
const PERIOD: Duration = Duration::from_millis(10);

/// Polls between two checks of the chunks' length.
const LENGTH_POLLS: u64 = 100;

/// State at the last poll, so that only changes are logged.
#[derive(Default)]
struct LastPoll {
    state: WatchdogState,
    /// When it was entered.
    since: Stamp,
    too_short: bool,
    polls: u64,
}

/// The thread's data.
pub(crate) struct WatchdogThread {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// Settings in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// Newest samples.
    pub inputs: Arc<Inputs>,
    /// ROS time.
    pub clock: RosClock,
    /// Publishes stops.
    pub outputs: Outputs,
    /// Longest time between two polls, for diagnostics.
    pub poll_gap: Arc<PollGap>,
}

/// Longest time between two polls of the watchdog, for diagnostics.
#[derive(Debug, Default)]
pub(crate) struct PollGap(AtomicU64);

impl PollGap {
    fn record(&self, gap: Duration) {
        self.0.fetch_max(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The longest time between two polls since the last call.
    pub(crate) fn take_longest(&self) -> Span {
        Span::from_nanos(i64::try_from(self.0.swap(0, Ordering::Relaxed)).unwrap_or(i64::MAX))
    }
}

impl WatchdogThread {
    /// Polls until `stop` is set.
    pub(crate) fn run(self, stop: &AtomicBool) {
        let mut trajectory = TrajectoryBuffer::default();
        let mut last = LastPoll::default();
        realtime::apply("watchdog", self.settings.get().realtime_priority);
        let mut last_poll = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(PERIOD);
            self.poll_gap.record(last_poll.elapsed());
            last_poll = Instant::now();
            if let Some(control) = self.control.get() {
                self.poll(&control, &mut trajectory, &mut last);
            }
        }
    }

    /// Publishes the stop, if there is one.
    fn publish(&self, braked: Braked, trajectory: &TrajectoryBuffer) {
        if let Err(error) = self.outputs.brake(braked, trajectory) {
            tracing::error!("{}", stop_not_published(&error));
        }
    }

    fn poll(&self, control: &Control, trajectory: &mut TrajectoryBuffer, last: &mut LastPoll) {
        let settings = self.settings.get();
        let watched = control.watch(self.clock.now(), &self.inputs, &settings, trajectory);
        self.publish(watched.braked, trajectory);
        last.polls += 1;
        if last.polls.is_multiple_of(LENGTH_POLLS) {
            self.check_length(control, &settings, last);
        }
        let (now, since) = control.state_since();
        let before = std::mem::replace(&mut last.state, now);
        let entered = std::mem::replace(&mut last.since, since);
        // A stop that was ended and entered again between two polls is a new one.
        if now == before && (now != WatchdogState::Stopped || since == entered) {
            return;
        }
        log_change(&control.status(&settings), before);
    }

    /// Warns once when chunks are too short for the latency.
    fn check_length(&self, control: &Control, settings: &Settings, last: &mut LastPoll) {
        let too_short = control.status(settings).too_short;
        if let Some(reason) = too_short.as_ref().filter(|_| !last.too_short) {
            tracing::warn!("{reason}");
        }
        last.too_short = too_short.is_some();
    }
}

/// Logs a change of the motion's state and its reason. The only place that does, for every cause.
fn log_change(motion: &MotionStatus, before: WatchdogState) {
    let reason = motion.reason.as_deref().unwrap_or("no reason given");
    match motion.state {
        WatchdogState::Holding if motion.expected => tracing::info!("motion at rest: {reason}"),
        WatchdogState::Holding => tracing::warn!("motion held: {reason}"),
        WatchdogState::Stopped if motion.expected => tracing::warn!("stopped: {reason}; call ~/resume"),
        WatchdogState::Stopped => tracing::error!("stopped: {reason}; call ~/resume"),
        WatchdogState::Running if before == WatchdogState::Holding => tracing::info!("motion resumed"),
        // Without a reason: a suspension ended.
        WatchdogState::Idle if before != WatchdogState::Stopped && motion.reason.is_some() => {
            tracing::warn!("motion discarded: {reason}");
        }
        WatchdogState::Idle | WatchdogState::Running | WatchdogState::Late => {}
    }
}
