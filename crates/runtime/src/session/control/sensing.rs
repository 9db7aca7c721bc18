//! Measured joint positions, and whether they follow the plan.

use std::sync::Arc;

use super::{Braked, Control, State, WatchReport, lock};
use crate::messages::TrajectoryBuffer;
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_motion::{Chunk, TurnJump};
use vla_policy::observation::{Breach, Fault, InputKind, Inputs, JointSample, OnViolation, Violation};

/// The newest joint sample. It has its own lock, so that `state` is not held while the inputs are read.
#[derive(Debug, Default)]
pub(super) struct JointSensor {
    sample: JointSample,
    /// Number of the sample used last.
    used: u64,
    /// Index of each joint of the motion in the sample.
    indices: Vec<Option<usize>>,
    /// Joint names that the indices refer to.
    names: Arc<[String]>,
}

impl JointSensor {
    /// Reads the newest sample; false when nothing in it is new.
    fn read(&mut self, inputs: &Inputs, joints: &[String]) -> bool {
        if !inputs.read_joints(&mut self.sample) {
            return false;
        }
        if !Arc::ptr_eq(&self.names, &self.sample.joints) {
            self.names = Arc::clone(&self.sample.joints);
            let index = |joint: &String| self.sample.joints.iter().position(|name| name == joint);
            self.indices = joints.iter().map(index).collect();
        }
        std::mem::replace(&mut self.used, self.sample.sequence) != self.sample.sequence
    }

    /// Stamp and position of each joint of the motion that has been seen, by its index.
    fn readings(&self) -> impl Iterator<Item = (usize, (Stamp, f64))> {
        let reading =
            |index: &Option<usize>| self.sample.get((*index)?).map(|reading| (reading.stamp, reading.position));
        self.indices.iter().map(reading).enumerate().filter_map(|(joint, reading)| Some((joint, reading?)))
    }
}

impl Control {
    /// Reads the newest joint states; true when one of them is new.
    pub fn read_joint_states(&self, inputs: &Inputs) -> bool {
        let mut sensor = lock(&self.sensor);
        if !sensor.read(inputs, &self.joints) {
            return false;
        }
        let mut state = self.lock();
        let State { motion, measured, jump, .. } = &mut *state;
        for (joint, reading) in sensor.readings() {
            let followed = motion.followed(reading.0, joint);
            let found = measured.update(joint, reading, motion.limits().of(joint).kind, followed);
            *jump = jump.take().or(found);
        }
        // Any thread may read a sample; the watchdog thread compares it with the plan.
        state.unchecked = true;
        true
    }

    /// Writes the newest measured positions into `out`, one a joint in rad or m, continuous joints unwrapped. False when one is not
    /// known, or older than `inputs.joints.max_age_ms` at `now`.
    pub fn measured(&self, now: Stamp, settings: &Settings, out: &mut [f64]) -> bool {
        let state = self.lock();
        if state.measured.not_fresh(now, max_age(settings)).is_some() {
            return false;
        }
        out.iter_mut().enumerate().all(|(joint, out)| match state.measured.get(joint) {
            Some((_, position)) => {
                *out = position;
                position.is_finite()
            }
            None => false,
        })
    }

    /// Why [`Control::measured`] has no positions at `now`.
    pub fn why_unmeasured(&self, now: Stamp, settings: &Settings) -> String {
        let max_age = max_age(settings);
        let Some((joint, age)) = self.lock().measured.not_fresh(now, max_age) else {
            return "one that is not finite".to_owned();
        };
        let name = self.joints.get(joint).map_or("", String::as_str);
        match age {
            None => format!("none of `{name}`"),
            Some(age) => format!(
                "one of `{name}` that is {:.0} ms old, at most {:.0} ms (inputs.joints.max_age_ms)",
                age.millis(),
                max_age.millis()
            ),
        }
    }

    /// Unwraps the columns of continuous joints in a chunk. `observed`: the joints' positions in the observation, as the driver
    /// published them; empty when not known.
    pub fn unwrap(&self, chunk: &mut Chunk, observed: &[f64]) {
        let state = self.lock();
        let State { motion, measured, .. } = &*state;
        let from =
            |joint| observed.get(joint).map(|&raw| raw + measured.turns(joint, raw, motion.limits().of(joint).kind));
        motion.unwrap(chunk, from);
    }

    /// Brings the robot to rest when a joint state changed by about a turn since the last call: plan and joint then count turns
    /// differently.
    pub fn take_turn_jump(
        &self,
        now: Stamp,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Option<(Violation, Braked)> {
        let jump = self.lock().jump.take()?;
        let detail = Some(self.jump_text(&jump).into());
        let breach = Breach { detail, ..Breach::new("joints", Fault::TurnJump) };
        let violation = Violation { at: now, breaches: vec![breach] };
        let braked = self.brake_to_rest(now, violation.action(&settings.rules), &violation, settings, out);
        Some((violation, braked))
    }

    /// Checks the joints while they move: for a jump of a turn and for the tracking error.
    pub(super) fn watch_joints(
        &self,
        now: Stamp,
        inputs: &Inputs,
        settings: &Settings,
        out: &mut TrajectoryBuffer,
    ) -> Option<WatchReport> {
        self.read_joint_states(inputs);
        if !self.poll(now, settings).is_moving() {
            return None;
        }
        if let Some((violation, braked)) = self.take_turn_jump(now, settings, out) {
            return Some(WatchReport { braked, violation: Some(violation) });
        }
        let deviation = {
            let mut state = self.lock();
            let State { motion, measured, unchecked, .. } = &mut *state;
            std::mem::take(unchecked).then(|| motion.deviation(measured)).flatten()?
        };
        // A robot that does not follow its plan must brake, whatever the settings say about inputs.
        let action = match settings.rules.on_violation {
            OnViolation::Skip => OnViolation::Hold,
            action => action,
        };
        let braked = self.brake_to_rest(now, action, &deviation, settings, out);
        Some(WatchReport { braked, violation: None })
    }

    /// Whether the joint states changed with the plan at the last call of [`Control::watch`]: those of a stuck driver repeat bit by bit
    /// while the plan moves the joints. A replay, where no robot follows the plan, does not call it.
    ///
    /// # Errors
    /// The violation, when `inputs.joints.stuck_after_ms` has passed, and until the joint states change again.
    pub fn check_joints(&self, now: Stamp) -> Result<(), Violation> {
        match lock(&self.stuck).found() {
            None => Ok(()),
            Some(breach) => Err(Violation { at: now, breaches: vec![breach] }),
        }
    }

    pub(super) fn watch_stuck_joints(&self, now: Stamp, inputs: &Inputs, settings: &Settings) {
        let plan = self.plan().filter(|_| self.state().is_moving());
        let input = settings.inputs.iter().position(|input| input.kind == InputKind::Joints);
        let after = input.map_or(Span::ZERO, |input| settings.rules.of(input).stuck_after);
        let mut stuck = lock(&self.stuck);
        match plan.filter(|_| after > Span::ZERO) {
            Some(plan) => stuck.check(now, inputs, &self.joints, &plan, after),
            None if after > Span::ZERO => stuck.rest(inputs),
            None => stuck.reset(),
        }
    }

    /// A jump as a sentence.
    pub(super) fn jump_text(&self, jump: &TurnJump) -> String {
        let TurnJump { joint, from, to, within } = *jump;
        let name = self.joints.get(joint).map_or("", String::as_str);
        format!(
            "joint `{name}` went from {from:.3} to {to:.3} rad between two samples {:.0} ms apart, about a turn; if the joint \
             is continuous, set limits.{name}.continuous",
            within.millis()
        )
    }
}

/// Greatest age at which a measured position is used.
fn max_age(settings: &Settings) -> Span {
    let joints = settings.inputs.iter().position(|input| input.kind == InputKind::Joints);
    joints.map_or(Span::ZERO, |index| settings.rules.of(index).max_age)
}
