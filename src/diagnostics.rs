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

use super::convert::time;
use super::error::Error;
use super::graph::Finding;
use super::inference::Shared;
use super::lifecycle::State;
use super::logging::Logging;
use super::outputs::{Outputs, RouteState};
use super::phase::Phase;
use super::report::Report;
use super::shutdown_reason::ShutdownReason;
use super::task::{CurrentTask, TaskStatus};
use super::watchdog::PollGap;
use status::Severity;
use vla_base::time::{Span, Stamp};
use vla_engines::memory::MemoryUse;
use vla_policy::PolicySpec;
use vla_policy::observation::{Breach, EnableSwitch, InputStatistics};
use vla_recorder::Recorder;
use vla_runtime::parameters::Settings;
use vla_runtime::session::MotionStatus;

/// A status is published at least this often.
const PERIOD: Duration = Duration::from_secs(1);
/// Severities are checked this often, so that a change is published at once.
const POLL: Duration = Duration::from_millis(100);

/// The data of the statuses at one moment.
struct Snapshot {
    now: Stamp,
    simulated: bool,
    clock_jumps: u64,
    phase: Phase,
    settings: Arc<Settings>,
    policy: String,
    fingerprint: String,
    inputs: Vec<InputStatistics>,
    /// Faults of the inputs, and whether each forbids inference.
    faults: Vec<(Breach, bool)>,
    instruction: Option<Arc<str>>,
    report: Report,
    motion: Option<MotionStatus>,
    /// `~/stop` was called before a policy was loaded.
    stop_waits: bool,
    enable: Option<EnableSwitch>,
    memory: MemoryUse,
    log_dropped: u64,
    lines_lost: u64,
    fault: Option<Arc<str>>,
    /// Problems in the ROS graph.
    found: Arc<[Finding]>,
    /// The routes of the motion, where outputs are given.
    outputs: Vec<RouteState>,
    /// Longest time between two polls of the watchdog since the last message.
    watchdog_gap: Span,
    lifecycle: State,
    task: Option<TaskStatus>,
    recording: Option<vla_recorder::Status>,
}

/// Sources of the diagnostics.
#[derive(Clone)]
pub(crate) struct Sources {
    /// What the threads share.
    pub shared: Shared,
    /// The logger's counter.
    pub logging: Logging,
    /// The policy.
    pub policy: Arc<PolicySpec>,
    /// Why the node ends, when it does so by itself.
    pub fault: Arc<ShutdownReason>,
    /// Longest time between two polls of the watchdog.
    pub poll_gap: Arc<PollGap>,
    /// The running task of `~/run`.
    pub task: CurrentTask,
    /// The routes of the motion.
    pub outputs: Outputs,
    /// The recorder.
    pub recorder: Option<Recorder>,
}

impl Sources {
    fn snapshot(&self, memory: MemoryUse, watchdog_gap: Span) -> Snapshot {
        let Shared { clock, phase, inputs, operator, found, lifecycle, .. } = &self.shared;
        let (settings, report) = (self.shared.settings.get(), self.shared.report.get());
        let now = clock.now();
        // The loaded policy; before the first load, the description on disk.
        let running = report.engines.as_deref().map(|engines| (engines.policy.clone(), engines.fingerprint.clone()));
        let (policy, fingerprint) =
            running.unwrap_or_else(|| (self.policy.name.clone(), self.policy.fingerprint.clone()));
        let control = self.shared.control.get();
        let mut faults = inputs.faults(now, &settings.rules);
        let stuck = control.as_ref().and_then(|control| control.check_joints(now).err());
        faults.extend(stuck.into_iter().flat_map(|violation| violation.breaches).map(|breach| (breach, true)));
        Snapshot {
            motion: control.map(|control| control.status(&settings)),
            stop_waits: operator.is_waiting(),
            enable: inputs.enable_switch(),
            faults,
            now,
            simulated: clock.simulated(),
            clock_jumps: inputs.clock_jumps(),
            phase: phase.get(),
            settings,
            policy,
            fingerprint,
            inputs: inputs.statistics(now),
            instruction: inputs.instruction(),
            report,
            memory,
            log_dropped: self.logging.dropped(),
            lines_lost: self.logging.lines_lost(),
            fault: self.fault.reason(),
            found: found.get(),
            outputs: self.outputs.states(),
            watchdog_gap,
            lifecycle: lifecycle.state(),
            task: self.task.get(),
            recording: self.recorder.as_ref().map(Recorder::status),
        }
    }
}

/// The publisher of `/diagnostics`.
pub(crate) struct Diagnostics {
    publisher: Publisher<DiagnosticArray>,
    node: String,
    hardware_id: String,
}

impl Diagnostics {
    /// Creates the topic with the QoS of diagnostic_updater.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(crate) fn create(node: &mut Node) -> Result<Self, Error> {
        let topic = "/diagnostics";
        let publisher = node.create_publisher(topic, QosProfile::default());
        let publisher = publisher.map_err(|e| Error::endpoint("topic", topic, e))?;
        let name = node.fully_qualified_name().map_err(|source| Error::Node { name: String::new(), source })?;
        // As diagnostic_updater names them, with the namespace, so that two arms differ.
        let node = name.trim_start_matches('/').to_owned();
        Ok(Self { publisher, node, hardware_id: hardware::id() })
    }

    /// Publishes until the task is aborted.
    pub(crate) async fn run(self, sources: Sources) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published: Option<([Severity; 6], Instant)> = None;
        let mut memory = (MemoryUse::now(), Instant::now());
        let mut gap = Span::ZERO;
        loop {
            poll.tick().await;
            // Two files of /proc: once a period is enough.
            if memory.1.elapsed() >= PERIOD {
                memory = (MemoryUse::now(), Instant::now());
            }
            gap = gap.max(sources.poll_gap.take_longest());
            let snapshot = sources.snapshot(memory.0, gap);
            let statuses = tasks::all(&snapshot);
            let severities = statuses.each_ref().map(|status| status.severity());
            // Half a poll early, so that the rate is one a second and not one in 1.1 s.
            let due = |at: Instant| at.elapsed() + POLL / 2 >= PERIOD;
            if published.is_some_and(|(before, at)| before == severities && !due(at)) {
                continue;
            }
            published = Some((severities, Instant::now()));
            gap = Span::ZERO;
            let status = statuses.map(|status| status.into_message(&self.node, &self.hardware_id)).into();
            let header = Header { stamp: time(snapshot.now), frame_id: String::new() };
            if let Err(error) = self.publisher.publish(&DiagnosticArray { header, status }) {
                tracing::debug!(%error, "diagnostics not published");
            } else if snapshot.fault.is_some() {
                sources.fault.set_published();
            }
        }
    }
}
