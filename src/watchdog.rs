//! The watchdog's thread: it looks at the motion and its inputs whether or not an inference runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::clock::RosClock;
use super::latest::Latest;
use super::realtime;
use super::trajectory::{Trajectories, stop_not_published};
use vla_base::time::{Span, Stamp};
use vla_motion::WatchdogState;
use vla_policy::observation::Inputs;
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Braked, Control, MotionStatus};

/// From look to look.
const LOOK: Duration = Duration::from_millis(10);

/// Looks from one look at the length of chunks to the next.
const LENGTH_LOOKS: u64 = 100;

/// What was seen last, so that only what is new is told.
#[derive(Default)]
struct LastPoll {
    state: WatchdogState,
    /// When it was entered.
    since: Stamp,
    too_short: bool,
    looks: u64,
}

/// What the thread works with.
pub struct WatchdogThread {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// What is in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// Samples.
    pub inputs: Arc<Inputs>,
    /// ROS time.
    pub clock: RosClock,
    /// Stops go here.
    pub trajectories: Trajectories,
    /// How regularly it looks.
    pub pulse: Arc<PollGap>,
}

/// How regularly the watchdog looks, for diagnostics.
#[derive(Debug, Default)]
pub struct PollGap(AtomicU64);

impl PollGap {
    fn beat(&self, gap: Duration) {
        self.0.fetch_max(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The longest time between two looks since this was asked last.
    pub fn take_longest(&self) -> Span {
        Span::from_nanos(i64::try_from(self.0.swap(0, Ordering::Relaxed)).unwrap_or(i64::MAX))
    }
}

impl WatchdogThread {
    /// Looks until told to end.
    pub fn run(self, stop: &AtomicBool) {
        let mut trajectory = TrajectoryBuffer::default();
        let mut seen = LastPoll::default();
        realtime::apply("watchdog", self.settings.get().realtime_priority);
        let mut looked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
            self.pulse.beat(looked.elapsed());
            looked = Instant::now();
            if let Some(control) = self.control.get() {
                self.look(&control, &mut trajectory, &mut seen);
            }
        }
    }

    /// Publishes the way to rest, where there is one.
    fn publish(&self, braked: Braked, trajectory: &TrajectoryBuffer) {
        let publish = || self.trajectories.publish(trajectory.plan_sequence(), trajectory.message());
        if let Some(Err(error)) = braked.must_publish().then(publish) {
            tracing::error!("{}", stop_not_published(&error));
        }
    }

    fn look(&self, control: &Control, trajectory: &mut TrajectoryBuffer, seen: &mut LastPoll) {
        let settings = self.settings.get();
        let watched = control.watch(self.clock.now(), &self.inputs, &settings, trajectory);
        self.publish(watched.braked, trajectory);
        seen.looks += 1;
        if seen.looks.is_multiple_of(LENGTH_LOOKS) {
            self.look_at_length(control, &settings, seen);
        }
        let (now, since) = control.state_since();
        let before = std::mem::replace(&mut seen.state, now);
        let entered = std::mem::replace(&mut seen.since, since);
        // A stop that was ended and entered again between two looks is another one.
        if now == before && (now != WatchdogState::Stopped || since == entered) {
            return;
        }
        tell(&control.status(&settings), before);
    }

    /// Warns once when chunks are too short for what inference takes.
    fn look_at_length(&self, control: &Control, settings: &Settings, seen: &mut LastPoll) {
        let too_short = control.status(settings).too_short;
        if let Some(reason) = too_short.as_ref().filter(|_| !seen.too_short) {
            tracing::warn!("{reason}");
        }
        seen.too_short = too_short.is_some();
    }
}

/// Logs what the motion has come to, and why. This is the one place that does, whatever held or stopped it.
fn tell(motion: &MotionStatus, before: WatchdogState) {
    let reason = motion.reason.as_deref().unwrap_or("no reason given");
    match motion.state {
        WatchdogState::Holding if motion.expected => tracing::info!("motion at rest: {reason}"),
        WatchdogState::Holding => tracing::warn!("motion held: {reason}"),
        WatchdogState::Stopped if motion.expected => tracing::warn!("stopped: {reason}; call ~/resume"),
        WatchdogState::Stopped => tracing::error!("stopped: {reason}; call ~/resume"),
        WatchdogState::Running if before == WatchdogState::Holding => tracing::info!("motion goes on"),
        WatchdogState::Idle if before != WatchdogState::Stopped => tracing::warn!("motion given up: {reason}"),
        WatchdogState::Idle | WatchdogState::Running | WatchdogState::Late => {}
    }
}
