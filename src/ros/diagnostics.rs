//! `/diagnostics`: six statuses, once a second and at once when one gets better or worse.

mod hardware;
mod status;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use r2r::diagnostic_msgs::msg::DiagnosticArray;
use r2r::std_msgs::msg::Header;
use r2r::{Node, Publisher, QosProfile};
use tokio::time::{Instant, MissedTickBehavior};

use super::clock::RosClock;
use super::convert::time;
use super::error::Error;
use super::latest::Latest;
use super::logging::Logging;
use super::phase::Phase;
use super::report::Report;
use crate::engine::memory::MemoryUse;
use crate::observation::{InputStatistics, Inputs};
use crate::parameters::Settings;
use crate::policy::PolicySpec;
use crate::session::{Control, MotionStatus};
use crate::time::Stamp;
use status::Severity;

/// A status is published at least this often.
const PERIOD: Duration = Duration::from_secs(1);
/// Severities are looked at this often, so that a change is seen at once.
const LOOK: Duration = Duration::from_millis(100);

/// What the statuses are made of, at one moment.
struct Snapshot {
    now: Stamp,
    simulated: bool,
    clock_jumps: u64,
    phase: Phase,
    settings: Arc<Settings>,
    policy: String,
    fingerprint: String,
    inputs: Vec<InputStatistics>,
    instruction: Option<Arc<str>>,
    report: Report,
    motion: Option<MotionStatus>,
    memory: MemoryUse,
    log_dropped: u64,
}

/// Where diagnostics look.
#[derive(Clone)]
pub struct Sources {
    /// ROS time.
    pub clock: RosClock,
    /// What the node does.
    pub phase: Arc<Latest<Phase>>,
    /// What is in force.
    pub settings: Arc<Latest<Arc<Settings>>>,
    /// The inputs' counters.
    pub inputs: Arc<Inputs>,
    /// The inference thread's figures.
    pub report: Arc<Latest<Report>>,
    /// The motion, once a policy is loaded.
    pub control: Arc<Latest<Option<Arc<Control>>>>,
    /// The logger's counter.
    pub logging: Logging,
    /// The policy.
    pub policy: Arc<PolicySpec>,
}

impl Sources {
    fn snapshot(&self, memory: MemoryUse) -> Snapshot {
        let (settings, report) = (self.settings.get(), self.report.get());
        // What runs; before the first load, what the description says.
        let running = report.engines.as_deref().map(|engines| (engines.policy.clone(), engines.fingerprint.clone()));
        let (policy, fingerprint) =
            running.unwrap_or_else(|| (self.policy.name.clone(), self.policy.fingerprint.clone()));
        Snapshot {
            motion: self.control.get().map(|control| control.status(&settings)),
            now: self.clock.now(),
            simulated: self.clock.simulated(),
            clock_jumps: self.inputs.clock_jumps(),
            phase: self.phase.get(),
            settings,
            policy,
            fingerprint,
            inputs: self.inputs.statistics(),
            instruction: self.inputs.instruction(),
            report,
            memory,
            log_dropped: self.logging.dropped(),
        }
    }
}

/// The publisher of `/diagnostics`.
pub struct Diagnostics {
    publisher: Publisher<DiagnosticArray>,
    node: String,
    hardware_id: String,
}

impl Diagnostics {
    /// Creates the topic with the QoS of diagnostic_updater.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub fn create(node: &mut Node) -> Result<Self, Error> {
        let topic = "/diagnostics";
        let publisher = node.create_publisher(topic, QosProfile::default());
        let publisher = publisher.map_err(|e| Error::endpoint("topic", topic, e))?;
        let name = node.fully_qualified_name().map_err(|source| Error::Node { name: String::new(), source })?;
        // As diagnostic_updater names them, with the namespace, so that two arms differ.
        let node = name.trim_start_matches('/').to_owned();
        Ok(Self { publisher, node, hardware_id: hardware::id() })
    }

    /// Publishes until the task is aborted.
    pub async fn run(self, sources: Sources) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published: Option<([Severity; 6], Instant)> = None;
        let mut memory = (MemoryUse::now(), Instant::now());
        loop {
            look.tick().await;
            // Two files of /proc: once a period is enough.
            if memory.1.elapsed() >= PERIOD {
                memory = (MemoryUse::now(), Instant::now());
            }
            let snapshot = sources.snapshot(memory.0);
            let statuses = tasks::all(&snapshot);
            let severities = statuses.each_ref().map(|status| status.severity());
            // A little early rather than a look late: the rate is then one a second, not one in 1.1 s.
            let due = |at: Instant| at.elapsed() + LOOK / 2 >= PERIOD;
            if published.is_some_and(|(before, at)| before == severities && !due(at)) {
                continue;
            }
            published = Some((severities, Instant::now()));
            let status = statuses.map(|status| status.into_message(&self.node, &self.hardware_id)).into();
            let header = Header { stamp: time(snapshot.now), frame_id: String::new() };
            if let Err(error) = self.publisher.publish(&DiagnosticArray { header, status }) {
                tracing::debug!(%error, "diagnostics not published");
            }
        }
    }
}
