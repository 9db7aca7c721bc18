//! `~/joint_command`: the motion as single commands, for controllers that take one point at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use r2r::{Node, PublisherUntyped, QosProfile};

use super::clock::RosClock;
use super::error::Error;
use super::latest::Latest;
use super::realtime;
use super::ticker::Ticker;
use vla_base::time::Stamp;
use vla_messages::{HeaderView, write};
use vla_motion::{MotionPlan, WatchdogState};
use vla_runtime::parameters::{CommandKind, Settings};
use vla_runtime::session::Control;

/// Longest time until the thread notices a new rate or the stop flag.
const POLL: Duration = Duration::from_millis(50);
/// The same in simulation, where the clock may run at any speed.
const SIMULATED_POLL: Duration = Duration::from_millis(1);

/// The topic and what it is filled from.
pub(crate) struct Stream {
    publisher: PublisherUntyped,
    kind: CommandKind,
    control: Arc<Latest<Option<Arc<Control>>>>,
    settings: Arc<Latest<Arc<Settings>>>,
    clock: RosClock,
    started: Instant,
    positions: Vec<f64>,
    velocities: Vec<f64>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Creates the topic, reliable with depth 1: a command that could not be sent is not worth sending later.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(crate) fn create(
        node: &mut Node,
        kind: CommandKind,
        control: Arc<Latest<Option<Arc<Control>>>>,
        settings: Arc<Latest<Arc<Settings>>>,
        clock: RosClock,
    ) -> Result<Self, Error> {
        let name = "~/joint_command";
        let type_name = match kind {
            CommandKind::JointState => "sensor_msgs/msg/JointState",
            CommandKind::MultiArray => "std_msgs/msg/Float64MultiArray",
        };
        let publisher = node.create_publisher_untyped(name, type_name, QosProfile::default().keep_last(1));
        let publisher = publisher.map_err(|e| Error::endpoint("topic", name, e))?;
        let (positions, velocities, bytes) = Default::default();
        Ok(Self { publisher, kind, control, settings, clock, started: Instant::now(), positions, velocities, bytes })
    }

    /// Streams until `stop` is set.
    pub(crate) fn run(mut self, stop: &AtomicBool) {
        let mut ticker = Ticker::default();
        realtime::apply("stream", self.settings.get().realtime_priority);
        while !stop.load(Ordering::Relaxed) {
            let rate = self.settings.get().command.rate_hz;
            let simulated = self.clock.simulated();
            let now = if simulated { self.clock.now() } else { Stamp::default() + self.started.elapsed().into() };
            // Here zero is off.
            let left = if rate > 0.0 { ticker.due_in(now, rate) } else { None };
            match left.map(|left| Duration::from_nanos(u64::try_from(left.nanos()).unwrap_or_default())) {
                Some(Duration::ZERO) => {
                    ticker.tick(now, rate);
                    self.send();
                }
                Some(left) => thread::sleep(left.min(if simulated { SIMULATED_POLL } else { POLL })),
                None => thread::sleep(POLL),
            }
        }
    }

    /// Publishes the present command. Publishes nothing before the first chunk and after a stop has ended.
    fn send(&mut self) {
        let Some(control) = self.control.get() else { return };
        let Some(plan) = control.plan() else { return };
        let now = self.clock.now();
        // Idle with a plan: resumed while the robot was still coming to rest.
        if now > plan.end() && matches!(control.state(), WatchdogState::Stopped | WatchdogState::Idle) {
            return;
        }
        if let Err(error) = self.publish(&plan, now) {
            tracing::debug!("a command was not published: {error}");
        }
    }

    fn publish(&mut self, plan: &MotionPlan, now: Stamp) -> Result<(), r2r::Error> {
        let names = plan.names();
        self.positions.resize(names.len(), 0.0);
        self.velocities.resize(names.len(), 0.0);
        // Before its first sample: the clock was set back, and the watchdog discards this plan.
        if !plan.sample(now, &mut self.positions, &mut self.velocities) {
            return Ok(());
        }
        match self.kind {
            CommandKind::JointState => {
                let header = HeaderView { stamp: now, frame_id: "" };
                write::joint_state_into(&mut self.bytes, header, names, &self.positions, &self.velocities, &[]);
            }
            CommandKind::MultiArray => write::float64_multi_array_into(&mut self.bytes, &self.positions),
        }
        self.publisher.publish_raw(&self.bytes)
    }
}
