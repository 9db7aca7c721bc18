//! Joint states that repeat while the plan moves the joints: a driver that sends its last state for ever.

use std::sync::Arc;

use vla_base::time::{Span, Stamp};
use vla_motion::Plan;
use vla_policy::observation::{Breach, Fault, Inputs, JointReading, JointSample};

/// How far the plan must have moved a joint, in rad or m, before its position has to change: above the step of an arm's encoder.
const MOVED: f64 = 0.01;

/// What one joint was planned to do since its measured position last changed.
#[derive(Clone, Copy, Debug)]
struct Planned {
    /// Header stamp of the first message with the position that it has.
    since: Stamp,
    low: f64,
    high: f64,
    /// When the plan had moved it far enough.
    moved_at: Option<Stamp>,
}

/// Watches the joints of the motion. Allocates nothing once it has seen them.
#[derive(Debug, Default)]
pub(super) struct StuckJoints {
    sample: JointSample,
    /// Names that the places were found among.
    names: Arc<[String]>,
    /// Where each joint of the motion stands in the sample.
    places: Vec<Option<usize>>,
    planned: Vec<Option<Planned>>,
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
    /// Forgets everything: nothing is watched.
    pub fn reset(&mut self) {
        self.planned.fill(None);
        self.found = None;
    }

    /// The plan moves nothing. A driver that was found stuck stays so until its joint states change: the arm is not where they say, and
    /// a motion that began there would jump.
    pub fn rest(&mut self, inputs: &Inputs) {
        self.planned.fill(None);
        let Some(found) = &self.found else { return };
        let (joint, since) = (found.joint, found.since);
        if !inputs.read_joints(&mut self.sample) {
            return;
        }
        if self.reading(joint).is_none_or(|reading| reading.since != since) {
            self.found = None;
        }
    }

    /// What is found stuck.
    pub fn found(&self) -> Option<Breach> {
        self.found.as_ref().map(|found| found.breach.clone())
    }

    fn reading(&self, joint: usize) -> Option<JointReading> {
        self.sample.get(self.places.get(joint).copied().flatten()?)
    }

    /// Looks at the newest joint states at `now`, while `plan` is followed. Names a joint that the plan has moved, and for `after`
    /// since then neither its position nor any other of the same message has changed by a bit.
    pub fn look(&mut self, now: Stamp, inputs: &Inputs, joints: &[String], plan: &Plan, after: Span) {
        self.found = None;
        if !inputs.read_joints(&mut self.sample) {
            return;
        }
        self.find(joints);
        if plan.sample(now, &mut self.command.0, &mut self.command.1) {
            let stuck = (0..joints.len()).find(|joint| self.follow(*joint, now, after));
            self.found = stuck.and_then(|joint| self.describe(joint, joints.get(joint)?, after));
        }
    }

    fn describe(&self, joint: usize, name: &str, after: Span) -> Option<Found> {
        let reading = self.reading(joint)?;
        let moved_at = self.planned.get(joint).copied().flatten()?.moved_at?;
        let fault = Fault::Stuck { same: reading.stamp - moved_at, stuck_after: after, repeats: 0 };
        let breach = Breach { detail: Some(format!("`{name}`").into()), ..Breach::new("joints", fault) };
        Some(Found { joint, since: reading.since, breach })
    }

    /// Takes note of one joint; true when it is stuck.
    fn follow(&mut self, joint: usize, now: Stamp, after: Span) -> bool {
        let reading = self.places.get(joint).copied().flatten().and_then(|place| self.sample.get(place));
        let (Some(reading), Some(&command), Some(planned)) =
            (reading, self.command.0.get(joint), self.planned.get_mut(joint))
        else {
            return false;
        };
        let start = Planned { since: reading.since, low: command, high: command, moved_at: None };
        let before = planned.filter(|planned| planned.since == reading.since).unwrap_or(start);
        let (low, high) = (before.low.min(command), before.high.max(command));
        let moved_at = before.moved_at.or((high - low > MOVED).then_some(now));
        *planned = Some(Planned { low, high, moved_at, ..before });
        let Some(moved_at) = moved_at.filter(|moved_at| reading.stamp - *moved_at >= after) else { return false };
        // One joint that does not follow is blocked, as a gripper on its object is: that is the tracking error's to find.
        if self.places.len() > 1 && self.moved_at(reading.stamp) < 2 {
            return false;
        }
        // And a gripper that stands still while the arm moves: a driver that is stuck repeats all that it sends.
        let mut of_message = self.sample.readings.iter().flatten().filter(|other| other.stamp == reading.stamp);
        of_message.all(|other| other.since <= moved_at)
    }

    /// How many joints of the message of this stamp the plan has moved.
    fn moved_at(&self, stamp: Stamp) -> usize {
        let of_message =
            |place: &Option<usize>| place.and_then(|place| self.sample.get(place)).is_some_and(|r| r.stamp == stamp);
        let moved = |planned: &Option<Planned>| planned.is_some_and(|planned| planned.moved_at.is_some());
        self.places.iter().zip(&self.planned).filter(|(place, planned)| moved(planned) && of_message(place)).count()
    }

    fn find(&mut self, joints: &[String]) {
        if Arc::ptr_eq(&self.names, &self.sample.joints) && self.places.len() == joints.len() {
            return;
        }
        self.names = Arc::clone(&self.sample.joints);
        self.places = joints.iter().map(|joint| self.names.iter().position(|name| name == joint)).collect();
        self.planned = vec![None; joints.len()];
        self.command = (vec![0.0; joints.len()], vec![0.0; joints.len()]);
    }
}
