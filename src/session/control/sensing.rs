//! Where the joints are, and whether they follow the plan.

use std::sync::Arc;

use super::{Control, State, Watched, lock};
use crate::chunk::{Chunk, TrajectoryBuffer, TurnJump};
use crate::observation::{Breach, Fault, InputKind, Inputs, OnViolation, StateReader, Violation};
use crate::parameters::Settings;
use crate::time::{Span, Stamp};

/// Reads the positions of the moved joints, each sample once. A lock of its own: no message is parsed while the motion's is held.
#[derive(Debug)]
pub(super) struct JointSensor {
    reader: StateReader,
    /// Positions of the sample read last, rad or m.
    raw: Vec<f64>,
    /// Its stamp.
    read: Option<Stamp>,
    /// Why the sample read last gives no positions.
    problem: Option<String>,
}

impl JointSensor {
    pub fn new(joints: &[String]) -> Self {
        let reader = StateReader::of_joints(joints);
        Self { raw: vec![0.0; reader.width()], reader, read: None, problem: None }
    }

    /// The stamp when the inputs hold another sample than the one read last, and it gives every position.
    fn read(&mut self, inputs: &Inputs) -> Option<Stamp> {
        if self.raw.is_empty() {
            return None;
        }
        let sample = inputs.latest_joints()?;
        if self.read.replace(sample.stamp) == Some(sample.stamp) {
            return None;
        }
        let read = self.reader.read_positions(&sample.bytes, &mut self.raw);
        self.problem = read.err().map(|error| error.to_string());
        self.problem.is_none().then_some(sample.stamp)
    }
}

impl Control {
    /// Takes up the newest joint state; true when it is a new one.
    pub fn sense(&self, inputs: &Inputs) -> bool {
        let mut sensor = lock(&self.sensor);
        let Some(stamp) = sensor.read(inputs) else { return false };
        let mut state = self.lock();
        let State { motion, measured, jump, .. } = &mut *state;
        let found = measured.take(stamp, &sensor.raw, motion.bounds(), |joint| motion.followed(stamp, joint));
        *jump = found.or(jump.take());
        true
    }

    /// Writes the newest measured positions into `out`, one a joint in rad or m, continuous joints unwrapped. False when they are
    /// not known, or older than `inputs.joints.max_age_ms` at `now`.
    pub fn measured(&self, now: Stamp, settings: &Settings, out: &mut [f64]) -> bool {
        let state = self.lock();
        let fresh = state.measured.stamp().is_some_and(|stamp| stamp.age_at(now) <= max_age(settings));
        let positions = state.measured.positions();
        let known = fresh && positions.len() == out.len() && positions.iter().all(|position| position.is_finite());
        if known {
            out.copy_from_slice(positions);
        }
        known
    }

    /// Why [`Control::measured`] has no positions at `now`.
    pub fn why_unmeasured(&self, now: Stamp, settings: &Settings) -> String {
        if let Some(problem) = lock(&self.sensor).problem.clone() {
            return problem;
        }
        match self.lock().measured.stamp() {
            None => "no joint state yet".to_owned(),
            Some(stamp) => format!(
                "a joint state {:.0} ms old, at most {:.0} ms (inputs.joints.max_age_ms)",
                stamp.age_at(now).millis(),
                max_age(settings).millis()
            ),
        }
    }

    /// Unwraps the columns of continuous joints in a chunk. `seen`: the joints' positions in the observation, as the driver
    /// published them; empty when not known.
    pub fn unwrap(&self, chunk: &mut Chunk, seen: &[f64]) {
        let state = self.lock();
        let State { motion, measured, .. } = &*state;
        let from = |joint| seen.get(joint).map(|&raw| raw + measured.turns(joint, raw, motion.bounds()));
        motion.unwrap(chunk, from);
    }

    /// Brings the robot to rest when a joint state changed by about a turn since the last call: what was planned is in other turns
    /// than the joint.
    pub fn turned(
        &self,
        now: Stamp,
        settings: &Settings,
        stop: &mut TrajectoryBuffer,
    ) -> Option<(Violation, Watched)> {
        let mut state = self.lock();
        let jump = state.jump.take()?;
        let breach = Breach { input: "joints".into(), fault: Fault::TurnJump(describe(&state, &jump)), refusal: None };
        let violation = Violation { at: now, breaches: vec![breach] };
        let watched = self.brake_to_rest(&mut state, now, &violation, settings, stop);
        Some((violation, watched))
    }

    /// Looks at the joints while they move: whether they jumped by a turn, and whether they are where the plan has them.
    pub(super) fn watch_joints(
        &self,
        now: Stamp,
        inputs: &Inputs,
        settings: &Settings,
        stop: &mut TrajectoryBuffer,
    ) -> Option<Watched> {
        let is_new = self.sense(inputs);
        if !self.poll(now, settings).is_moving() {
            return None;
        }
        if let Some((violation, watched)) = self.turned(now, settings, stop) {
            return Some(Watched { violation: Some(violation), ..watched });
        }
        let mut state = self.lock();
        let (measured, motion) = (&state.measured, &state.motion);
        let stamp = measured.stamp().filter(|_| is_new && state.watchdog.state().is_moving())?;
        let deviation = motion.deviation(stamp, measured.positions())?;
        Some(self.brake_to_rest(&mut state, now, &deviation, settings, stop))
    }

    /// Follows a joint that is not where it is commanded to be. The motion brakes whatever `inputs.on_violation` says, since what
    /// was planned is not what happens; the next one needs inputs from after the rest.
    fn brake_to_rest(
        &self,
        state: &mut State,
        now: Stamp,
        reason: &dyn std::fmt::Display,
        settings: &Settings,
        stop: &mut TrajectoryBuffer,
    ) -> Watched {
        let entered = match settings.rules.on_violation {
            OnViolation::Stop => state.watchdog.stop(now),
            OnViolation::Skip | OnViolation::Hold => state.watchdog.hold(now),
        };
        if !entered {
            return Watched::default();
        }
        state.reason = Some(reason.to_string().into());
        state.count();
        let stop = self.brake(state, now, settings, stop);
        if let Some(plan) = state.motion.plan() {
            let rest = plan.end();
            state.watchdog.wait_for(rest);
        }
        Watched { entered, violation: None, stop }
    }
}

/// What a jump looks like, for a violation.
pub(super) fn describe(state: &State, jump: &TurnJump) -> Arc<str> {
    let TurnJump { joint, from, to, within } = *jump;
    let name = state.motion.names().get(joint).map_or("", String::as_str);
    format!(
        "joint `{name}` from {from:.3} to {to:.3} rad between two samples {:.0} ms apart, about a turn; if it turns without end, \
         set limits.{name}.continuous",
        within.millis()
    )
    .into()
}

/// Oldest joint state that says where the joints are.
fn max_age(settings: &Settings) -> Span {
    let joints = settings.inputs.iter().position(|input| input.kind == InputKind::Joints);
    joints.map_or(Span::ZERO, |index| settings.rules.of(index).max_age)
}
