//! The watchdog's thread: it looks at the motion and its inputs whether or not an inference runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::RosClock;
use super::error::Error;
use super::latest::Latest;
use super::phase::Phase;
use super::trajectory::Trajectories;
use crate::chunk::{TrajectoryBuffer, WatchdogState};
use crate::observation::Inputs;
use crate::parameters::Settings;
use crate::session::Control;

/// From look to look.
const LOOK: Duration = Duration::from_millis(10);

/// What the thread works with.
pub struct Watch {
    /// The motion; `None` before the first policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// What is in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// Samples.
    pub inputs: Arc<Inputs>,
    /// What the node does.
    pub phase: Arc<Latest<Phase>>,
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
        let mut seen = WatchdogState::Idle;
        while !told.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
            if let Some(control) = self.control.get() {
                self.look(&control, &mut trajectory, &mut seen);
            }
        }
    }

    fn look(&self, control: &Control, trajectory: &mut TrajectoryBuffer, seen: &mut WatchdogState) {
        let settings = self.settings.get();
        let watched = control.watch(self.clock.now(), &self.inputs, &settings, trajectory);
        let sent = watched.stop.then(|| self.trajectories.publish(trajectory.message()));
        if let Some(Err(error)) = &sent {
            tracing::error!("the robot was NOT told to stop: the middleware did not take the message: {error}");
        }
        let status = control.status(&settings);
        if status.state == *seen {
            return;
        }
        let (before, now) = (std::mem::replace(seen, status.state), status.state);
        let reason = status.reason.as_deref().unwrap_or("no reason given");
        match now {
            WatchdogState::Holding => tracing::warn!("motion held: {reason}"),
            WatchdogState::Stopped => {
                tracing::error!("stopped: {reason}; call ~/resume");
                let reason = reason.to_owned();
                self.phase.update(|phase| {
                    if *phase == Phase::Ready {
                        *phase = Phase::Stopped { reason };
                    }
                });
            }
            WatchdogState::Running if before == WatchdogState::Holding => tracing::info!("motion goes on"),
            WatchdogState::Idle | WatchdogState::Running | WatchdogState::Late => {}
        }
    }
}
