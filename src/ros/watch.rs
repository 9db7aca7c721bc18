//! The watchdog's thread: it looks at the motion and its inputs whether or not an inference runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::RosClock;
use super::error::Error;
use super::latest::Latest;
use super::trajectory::{Trajectories, untold};
use crate::chunk::{TrajectoryBuffer, WatchdogState};
use crate::observation::Inputs;
use crate::parameters::Settings;
use crate::session::{Braked, Control, MotionStatus};
use crate::time::Stamp;

/// From look to look.
const LOOK: Duration = Duration::from_millis(10);

/// Looks from one look at the length of chunks to the next.
const LENGTH_LOOKS: u64 = 100;

/// What was seen last, so that only what is new is told.
#[derive(Default)]
struct Seen {
    state: WatchdogState,
    /// When it was entered.
    since: Stamp,
    too_short: bool,
    looks: u64,
}

/// What the thread works with.
pub struct Watch {
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
}

/// A thread that can be told to end.
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts `work`, which looks at the flag at least every few hundredths of a second.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(name: &'static str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&told));
        Ok(Self { stop, thread: thread.map_err(|source| Error::Runtime { what: name, source })? })
    }

    /// Ends it and waits.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("a thread of the node ended by a panic, which is a bug");
        }
    }
}

impl Watch {
    /// Looks until told to end.
    pub fn run(self, told: &AtomicBool) {
        let mut trajectory = TrajectoryBuffer::default();
        let mut seen = Seen::default();
        while !told.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
            if let Some(control) = self.control.get() {
                self.look(&control, &mut trajectory, &mut seen);
            }
        }
        if let Some(control) = self.control.get() {
            self.end(&control, &mut trajectory);
        }
    }

    /// The node ends: what moves is brought to rest now and not when its plan runs out.
    fn end(&self, control: &Control, trajectory: &mut TrajectoryBuffer) {
        let settings = self.settings.get();
        let braked = control.end(self.clock.now(), &settings, trajectory);
        self.publish(braked, trajectory);
    }

    /// Publishes the way to rest, where there is one.
    fn publish(&self, braked: Braked, trajectory: &TrajectoryBuffer) {
        let publish = || self.trajectories.publish(trajectory.plan(), trajectory.message());
        if let Some(Err(error)) = braked.must_publish().then(publish) {
            tracing::error!("{}", untold(&error));
        }
    }

    fn look(&self, control: &Control, trajectory: &mut TrajectoryBuffer, seen: &mut Seen) {
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
    fn look_at_length(&self, control: &Control, settings: &Settings, seen: &mut Seen) {
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
