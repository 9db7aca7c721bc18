//! Routes of single commands, for controllers that take one at a time: joints, the velocity of a base, the pose of an end effector.

mod columns;
mod joints;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use r2r::Node;

use super::clock::RosClock;
use super::error::Error;
use super::latest::Latest;
use super::outputs::COMMAND;
use super::realtime;
use super::ticker::Ticker;
use columns::{PoseCommands, TwistCommands};
use joints::JointCommands;
use vla_base::time::Stamp;
use vla_runtime::parameters::{Route, Settings};
use vla_runtime::session::Control;

/// Longest time until the thread notices a new rate or the stop flag.
const POLL: Duration = Duration::from_millis(50);
/// The same in simulation, where the clock may run at any speed.
const SIMULATED_POLL: Duration = Duration::from_millis(1);

/// Whether a command at rest is owed. The last sample before the end of a plan moves, and a slow or delayed stream may miss every later
/// one before the silence.
#[derive(Debug, Default)]
struct RestOwed(bool);

impl RestOwed {
    /// Whether a command is due, where `silent` says that the motion asks for none.
    fn is_due(&self, silent: bool) -> bool {
        self.0 || !silent
    }

    /// A command of `now` was sent from a plan that is at rest at `end`.
    fn sent(&mut self, now: Stamp, end: Stamp) {
        self.0 = now < end;
    }
}

/// A topic of single commands.
trait Commands: Send {
    /// Publishes the present command, if there is one: after the motion has come to rest, and a command said so, there is none.
    ///
    /// # Errors
    /// r2r's code when the middleware refuses the message.
    fn send(&mut self, control: &Control, now: Stamp) -> Result<(), r2r::Error>;
}

/// The topics and what they are filled from.
pub(crate) struct Stream {
    topics: Vec<Box<dyn Commands>>,
    control: Arc<Latest<Option<Arc<Control>>>>,
    settings: Arc<Latest<Arc<Settings>>>,
    clock: RosClock,
    started: Instant,
}

impl Stream {
    /// Creates the topics of the settings, without outputs `~/joint_command`: reliable with depth 1, since a command that could not be
    /// sent is not worth sending later.
    ///
    /// # Errors
    /// When the middleware refuses a name.
    pub(crate) fn create(
        node: &mut Node,
        control: Arc<Latest<Option<Arc<Control>>>>,
        settings: Arc<Latest<Arc<Settings>>>,
        clock: RosClock,
    ) -> Result<Self, Error> {
        let now = settings.get();
        let mut topics: Vec<Box<dyn Commands>> = Vec::new();
        if now.outputs.is_empty() {
            topics.push(Box::new(JointCommands::create(node, COMMAND, now.command.kind, None)?));
        }
        // As the motion counts them.
        let mut groups = 0..;
        let mut group = || groups.next().unwrap_or_default();
        for output in &now.outputs {
            match &output.route {
                Route::JointCommand { topic, kind } => {
                    topics.push(Box::new(JointCommands::create(node, topic, *kind, Some(&output.joints))?));
                }
                Route::Twist(twist) => topics.push(Box::new(TwistCommands::create(node, twist, group())?)),
                Route::Pose(pose) => topics.push(Box::new(PoseCommands::create(node, pose, group())?)),
                _ => {}
            }
        }
        Ok(Self { topics, control, settings, clock, started: Instant::now() })
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
        // The node ends once the motion has come to rest: the last sample may be from before.
        if self.settings.get().command.rate_hz > 0.0 {
            self.send();
        }
    }

    /// Publishes the present command of every topic.
    fn send(&mut self) {
        let Some(control) = self.control.get() else { return };
        let now = self.clock.now();
        for topic in &mut self.topics {
            if let Err(error) = topic.send(&control, now) {
                tracing::debug!("a command was not published: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_follows_into_the_silence_where_none_was_sent_at_rest() {
        let (moving, end, later) = (Stamp::from_nanos(90), Stamp::from_nanos(100), Stamp::from_nanos(900));
        let mut rest = RestOwed::default();
        assert!(rest.is_due(false) && !rest.is_due(true), "nothing moved");
        rest.sent(moving, end);
        assert!(rest.is_due(true));
        rest.sent(later, end);
        assert!(!rest.is_due(true));
        rest.sent(end, end);
        assert!(!rest.is_due(true), "the end is at rest");
    }
}
