//! The operator's controls: `~/stop` and the enable switch.
//!
//! Neither waits for the inference thread, which may be busy. Neither replaces a hardware emergency stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use r2r::Node;
use r2r::std_msgs::msg::Bool;

use super::clock::RosClock;
use super::error::Error;
use super::graph::Names;
use super::latest::Latest;
use super::outputs::{Outputs, stop_not_published};
use super::subscriptions::profile;
use vla_base::time::Stamp;
use vla_policy::observation::Inputs;
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Braked, Control};

/// Reason of the stop.
const REASON: &str = "~/stop was called";

/// The operator's stop.
pub(crate) struct Operator {
    control: Arc<Latest<Option<Arc<Control>>>>,
    settings: Arc<Latest<Arc<Settings>>>,
    clock: RosClock,
    outputs: Outputs,
    trajectory: Mutex<TrajectoryBuffer>,
    /// `~/stop` was called before a policy was loaded: the next policy starts stopped.
    waiting: AtomicBool,
}

impl Operator {
    /// Stops the motion that `control` has at the time of the call.
    pub(crate) fn new(
        control: Arc<Latest<Option<Arc<Control>>>>,
        settings: Arc<Latest<Arc<Settings>>>,
        clock: RosClock,
        outputs: Outputs,
    ) -> Self {
        Self { control, settings, clock, outputs, trajectory: Mutex::default(), waiting: AtomicBool::new(false) }
    }

    /// Brakes and stops until `~/resume`. Returns the answer for the caller.
    ///
    /// # Errors
    /// When the stop could not be published.
    pub(crate) fn stop(&self) -> Result<String, String> {
        // Before the motion is read: a policy that becomes ready in between starts stopped.
        self.waiting.store(true, Ordering::SeqCst);
        let Some(mut control) = self.control.get() else {
            tracing::warn!("{REASON}; the policy starts stopped");
            return Ok(
                "stopped: no policy is loaded yet; once it is, the robot does not move until ~/resume is called"
                    .to_owned(),
            );
        };
        let mut done = self.brake(&control);
        // Another policy may have been loaded meanwhile.
        while let Some(newer) = self.control.get().filter(|newer| !Arc::ptr_eq(newer, &control)) {
            done = self.brake(&newer);
            control = newer;
        }
        self.waiting.store(false, Ordering::SeqCst);
        done
    }

    /// Whether a stop waits for a policy.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Stops the motion of a policy that was loaded after the call of `~/stop`. Call it after this motion is shared.
    pub(crate) fn apply_waiting_stop(&self, control: &Control) {
        if self.waiting.swap(false, Ordering::SeqCst)
            && let Err(error) = self.brake(control)
        {
            tracing::error!("{error}");
        }
    }

    /// Brings the motion to rest and refuses chunks until it is released; latches nothing.
    ///
    /// # Errors
    /// When the stop could not be published.
    pub(crate) fn suspend(&self, control: &Control, reason: &Arc<str>) -> Result<(), String> {
        self.publish(|now, settings, out| control.suspend(now, reason, settings, out)).map(drop)
    }

    /// Publishes the stop that `brake` writes. Returns its result and the duration of the stop in ms.
    fn publish(
        &self,
        brake: impl FnOnce(Stamp, &Settings, &mut TrajectoryBuffer) -> Braked,
    ) -> Result<(Braked, f64), String> {
        let settings = self.settings.get();
        let mut trajectory = self.trajectory.lock().unwrap_or_else(PoisonError::into_inner);
        let braked = brake(self.clock.now(), &settings, &mut trajectory);
        let sent = self.outputs.brake(braked, &trajectory);
        sent.map_err(|error| stop_not_published(&error)).inspect_err(|error| tracing::error!("{error}"))?;
        let points = &trajectory.message().points;
        Ok((braked, points.last().map_or(0.0, |point| point.time_from_start.millis())))
    }

    fn brake(&self, control: &Control) -> Result<String, String> {
        let (braked, takes) = self.publish(|now, settings, out| control.stop(now, &REASON, settings, out))?;
        let done = match braked {
            Braked::Braking => format!("stopped: the robot comes to rest within {takes:.0} ms"),
            Braked::AtRest => "stopped: no motion was in force".to_owned(),
            Braked::NoJoints if control.column_plan().is_some() => "stopped: every output comes to rest".to_owned(),
            Braked::NoJoints => {
                "stopped: no more chunks are published; the policy moves no joint, so the controller of its poses must \
                 come to rest by itself"
                    .to_owned()
            }
            Braked::Unplanned => {
                "stopped: no faster stop could be computed; the trajectory in force ends at rest within max_blind_s"
                    .to_owned()
            }
            Braked::Already | Braked::NotNeeded => "stopped already".to_owned(),
        };
        Ok(format!("{done}; ~/resume ends the stop"))
    }
}

/// The subscription to the enable switch, created but not yet drained.
pub(crate) struct EnableTopic(Box<dyn Stream<Item = Bool> + Send + Unpin>);

impl EnableTopic {
    /// Subscribes where the settings name a topic: unless overridden best effort and volatile, which every publisher offers, and only
    /// the newest.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(crate) fn create(node: &mut Node, names: &Names, settings: &Settings) -> Result<Option<Self>, Error> {
        let Some(topic) = &settings.enable_topic else { return Ok(None) };
        let qos = profile(settings.qos_of(&names.resolve(topic)));
        let messages = node.subscribe::<Bool>(topic, qos).map_err(|e| Error::endpoint("topic", topic, e))?;
        Ok(Some(Self(Box::new(messages))))
    }

    /// Stores every message; the watchdog checks it.
    pub(crate) async fn run(mut self, inputs: Arc<Inputs>, clock: RosClock) {
        while let Some(message) = self.0.next().await {
            inputs.offer_enable(message.data, clock.now());
        }
    }
}
