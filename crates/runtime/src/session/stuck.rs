//! Detects joint states that repeat while the plan moves the joints: a driver that keeps sending its last state.

use std::sync::Arc;

use vla_base::time::{Span, Stamp};
use vla_motion::MotionPlan;
use vla_policy::observation::{Breach, Fault, Inputs, JointReading, JointSample};

/// How far the plan must have moved a joint, in rad or m, before its position has to change: above the step of an arm's encoder.
const MOVED: f64 = 0.01;

/// Range of one joint's commands since its measured position last changed.
#[derive(Clone, Copy, Debug)]
struct Commanded {
    /// Header stamp of the first message with this position.
    since: Stamp,
    low: f64,
    high: f64,
    /// When the commands had moved it by more than [`MOVED`].
    moved_at: Option<Stamp>,
}

/// State of the detection. Allocates nothing after the first joint state.
#[derive(Debug, Default)]
pub(super) struct StuckJoints {
    sample: JointSample,
    /// Joint names that the indices refer to.
    names: Arc<[String]>,
    /// Index of each joint of the motion in the sample.
    indices: Vec<Option<usize>>,
    commanded: Vec<Option<Commanded>>,
    /// Commanded positions and velocities.
    command: (Vec<f64>, Vec<f64>),
    found: Option<Found>,
}

/// A joint that was found stuck.
#[derive(Clone, Debug)]
struct Found {
    joint: usize,
    /// Header stamp of the first message with the position that it repeats.
    since: Stamp,
    breach: Breach,
}

impl StuckJoints {
    /// Starts over: no joint is checked.
    pub(crate) fn reset(&mut self) {
        self.commanded.fill(None);
        self.found = None;
    }

    /// Called while no plan moves the joints. A stuck driver stays stuck until its joint states change: the arm is elsewhere, and a
    /// motion that started at the reported positions would jump.
    pub(crate) fn rest(&mut self, inputs: &Inputs) {
        self.commanded.fill(None);
        let Some(found) = &self.found else { return };
        let (joint, since) = (found.joint, found.since);
        if !inputs.read_joints(&mut self.sample) {
            return;
        }
        if self.reading(joint).is_none_or(|reading| reading.since != since) {
            self.found = None;
        }
    }

    /// The breach of a stuck joint, if any.
    pub(crate) fn found(&self) -> Option<Breach> {
        self.found.as_ref().map(|found| found.breach.clone())
    }

    fn reading(&self, joint: usize) -> Option<JointReading> {
        self.sample.get(self.indices.get(joint).copied().flatten()?)
    }

    /// Checks the newest joint states at `now`, while `plan` is followed. Finds a joint that the plan has moved while, for `after` since
    /// then, neither its position nor any other in the same message changed.
    pub(crate) fn check(&mut self, now: Stamp, inputs: &Inputs, joints: &[String], plan: &MotionPlan, after: Span) {
        self.found = None;
        if !inputs.read_joints(&mut self.sample) {
            return;
        }
        self.locate(joints);
        if plan.sample(now, &mut self.command.0, &mut self.command.1) {
            let stuck = (0..joints.len()).find(|joint| self.follow(*joint, now, after));
            self.found = stuck.and_then(|joint| self.describe(joint, joints.get(joint)?, after));
        }
    }

    fn describe(&self, joint: usize, name: &str, after: Span) -> Option<Found> {
        let reading = self.reading(joint)?;
        let moved_at = self.commanded.get(joint).copied().flatten()?.moved_at?;
        let fault = Fault::Stuck { same: reading.stamp - moved_at, stuck_after: after, repeats: 0 };
        let breach = Breach { detail: Some(format!("`{name}`").into()), ..Breach::new("joints", fault) };
        Some(Found { joint, since: reading.since, breach })
    }

    /// Updates one joint; true when it is stuck.
    fn follow(&mut self, joint: usize, now: Stamp, after: Span) -> bool {
        let reading = self.indices.get(joint).copied().flatten().and_then(|place| self.sample.get(place));
        let (Some(reading), Some(&command), Some(planned)) =
            (reading, self.command.0.get(joint), self.commanded.get_mut(joint))
        else {
            return false;
        };
        let start = Commanded { since: reading.since, low: command, high: command, moved_at: None };
        let before = planned.filter(|planned| planned.since == reading.since).unwrap_or(start);
        let (low, high) = (before.low.min(command), before.high.max(command));
        let moved_at = before.moved_at.or((high - low > MOVED).then_some(now));
        *planned = Some(Commanded { low, high, moved_at, ..before });
        let Some(moved_at) = moved_at.filter(|moved_at| reading.stamp - *moved_at >= after) else { return false };
        // A single joint that does not follow is blocked, as a gripper on its object is: the tracking error covers that.
        if self.indices.len() > 1 && self.moved_at(reading.stamp) < 2 {
            return false;
        }
        // A gripper may stand still while the arm moves; a stuck driver repeats every position of its message.
        let mut of_message = self.sample.readings.iter().flatten().filter(|other| other.stamp == reading.stamp);
        of_message.all(|other| other.since <= moved_at)
    }

    /// Number of joints in the message of this stamp that the plan has moved.
    fn moved_at(&self, stamp: Stamp) -> usize {
        let of_message =
            |place: &Option<usize>| place.and_then(|place| self.sample.get(place)).is_some_and(|r| r.stamp == stamp);
        let moved = |commanded: &Option<Commanded>| commanded.is_some_and(|commanded| commanded.moved_at.is_some());
        self.indices.iter().zip(&self.commanded).filter(|(place, planned)| moved(planned) && of_message(place)).count()
    }

    fn locate(&mut self, joints: &[String]) {
        if Arc::ptr_eq(&self.names, &self.sample.joints) && self.indices.len() == joints.len() {
            return;
        }
        self.names = Arc::clone(&self.sample.joints);
        self.indices = joints.iter().map(|joint| self.names.iter().position(|name| name == joint)).collect();
        self.commanded = vec![None; joints.len()];
        self.command = (vec![0.0; joints.len()], vec![0.0; joints.len()]);
    }
}
