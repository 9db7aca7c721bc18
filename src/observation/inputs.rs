//! The inputs, shared between whoever receives messages and whoever runs the policy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::assembler::{self, Candidate, Verdict};
use super::clock::{Clock, Watch};
use super::enable::EnableSwitch;
use super::error::Error;
use super::intake::{self, Content};
use super::sample::{CameraSample, JointSample, Observation, PoseSample};
use super::slot::{Sample, Slot};
use super::spec::{InputKind, InputSpec, Rules};
use super::statistics::InputStatistics;
use super::violation::{Breach, Fault, Violation};
use crate::time::Stamp;

/// One latest-value slot an input, behind a mutex each. A lock is held to move a few words, never to parse, copy,
/// allocate or free a message, so a topic task and the inference thread cannot hold each other up; swapping pointers
/// without a lock would not keep sample and counters together. Wrap it in an `Arc` to share it.
#[derive(Debug)]
pub struct Inputs {
    specs: Vec<InputSpec>,
    names: Vec<(Arc<str>, Arc<str>)>,
    finite: Vec<String>,
    slots: Vec<Mutex<Slot>>,
    instruction: Mutex<Option<Arc<str>>>,
    /// The operator's switch, where there is one.
    enable: Option<Mutex<EnableSwitch>>,
    /// The one lock taken under another (a slot's, or the scratch's).
    clock: Mutex<Clock>,
    /// Reused by every assembly; its lock also keeps assemblies one after the other.
    scratch: Mutex<Scratch>,
}

#[derive(Debug, Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    verdict: Verdict,
    watch: Watch,
}

impl Inputs {
    /// Inputs in the policy's order of cameras. At most one of kind `Joints` is meant; with several, the first is used,
    /// and without it there must be a pose: the state comes from somewhere. Inputs of kind `Instruction` all set the one
    /// instruction.
    pub fn new(specs: Vec<InputSpec>) -> Self {
        Self {
            names: specs.iter().map(|spec| (spec.name.as_str().into(), spec.topic.as_str().into())).collect(),
            finite: Vec::new(),
            slots: specs.iter().map(|_| Mutex::default()).collect(),
            instruction: Mutex::default(),
            enable: None,
            clock: Mutex::default(),
            scratch: Mutex::default(),
            specs,
        }
    }

    /// Refuse a joint state only for these joints when they are not finite. Without it every joint must be: some
    /// broadcasters publish NaN for joints that have no position.
    pub fn with_finite_joints(mut self, joints: impl IntoIterator<Item = String>) -> Self {
        self.finite = joints.into_iter().collect();
        self
    }

    /// Lets the robot move only while [`Inputs::offer_enable`] hears true.
    pub fn with_enable_switch(mut self) -> Self {
        self.enable = Some(Mutex::default());
        self
    }

    /// The inputs as configured.
    pub fn specs(&self) -> &[InputSpec] {
        &self.specs
    }

    /// Takes up one serialized message that arrived at ROS time `received`. What is broken, empty or not finite is
    /// refused and counted, and an earlier good sample stays.
    pub fn offer(&self, input: usize, bytes: Bytes, received: Stamp) -> Result<(), Error> {
        let (Some(spec), Some(slot)) = (self.specs.get(input), self.slots.get(input)) else {
            return Err(Error::UnknownInput { index: input, count: self.specs.len() });
        };
        let stamp = match intake::check(spec, &bytes, &self.finite).inspect_err(|error| refuse(slot, error))? {
            Content::Stamped(stamp) => stamp,
            Content::Text(text) => {
                self.set_instruction(text);
                lock(slot).offer_latest(Sample { stamp: received, received, bytes: Bytes::new() });
                return Ok(());
            }
        };
        let sample = Sample { stamp, received, bytes };
        let (forgotten, displaced) = {
            let mut slot = lock(slot);
            let (epoch, tolerance) = {
                let mut clock = lock(&self.clock);
                (clock.advance(slot.watch(), received), clock.tolerance())
            };
            (slot.enter_epoch(epoch), slot.offer(sample, tolerance))
        };
        // The lock is gone: a frame of megabytes may go back to the system now.
        drop((forgotten, displaced));
        Ok(())
    }

    /// Sets the instruction (the parameter's path). The latest wins, whether from here or from a topic; the empty
    /// text takes the instruction away, and inference with it.
    pub fn set_instruction(&self, text: &str) {
        let mut held = lock(&self.instruction);
        if held.as_deref() != Some(text) {
            *held = Some(text.into());
        }
    }

    /// The instruction in force, when there is one.
    pub fn instruction(&self) -> Option<Arc<str>> {
        lock(&self.instruction).clone().filter(|text| !text.trim().is_empty())
    }

    /// Takes up a message of the operator's switch that came at ROS time `received`.
    pub fn offer_enable(&self, on: bool, received: Stamp) {
        if let Some(enable) = &self.enable {
            lock(enable).offer(on, received);
        }
    }

    /// The operator's switch as heard last; `None` where there is none.
    pub fn enable_switch(&self) -> Option<EnableSwitch> {
        self.enable.as_ref().map(|enable| *lock(enable))
    }

    /// Whether the operator lets the robot move at `now`. Always, where there is no switch.
    ///
    /// # Errors
    /// What the switch says, or does not say.
    pub fn check_enable(&self, now: Stamp, rules: &Rules) -> Result<(), Violation> {
        let breach = self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age));
        breach.map_or(Ok(()), |breach| Err(Violation { at: now, breaches: vec![breach] }))
    }

    /// The joint state held, whatever its age: what a stop command starts from. Look at its stamp.
    pub fn latest_joints(&self) -> Option<JointSample> {
        let index = self.joints()?;
        let (name, _) = self.names.get(index)?;
        let slot = lock(self.slots.get(index)?);
        let sample = slot.latest()?;
        Some(JointSample { name: name.clone(), stamp: sample.stamp, bytes: sample.bytes.clone() })
    }

    /// The observation at ROS time `now`, or everything that forbids it.
    pub fn assemble(&self, now: Stamp, rules: &Rules) -> Result<Observation, Violation> {
        let mut observation = Observation::default();
        self.assemble_into(now, rules, &mut observation)?;
        Ok(observation)
    }

    /// [`Inputs::assemble`] into an observation that is reused; on a violation it is left as it was.
    pub fn assemble_into(&self, now: Stamp, rules: &Rules, out: &mut Observation) -> Result<(), Violation> {
        let mut scratch = lock(&self.scratch);
        let Scratch { candidates, verdict, watch } = &mut *scratch;
        let (epoch, jump) = {
            let mut clock = lock(&self.clock);
            clock.set_tolerance(rules.future_tolerance);
            (clock.advance(watch, now), clock.take_jump())
        };
        verdict.clear();
        if let Some(back) = jump {
            let fault = Fault::ClockWentBack { back, tolerance: rules.future_tolerance };
            verdict.breaches.push(Breach { input: "clock".into(), fault, refusal: None });
        }
        self.look(now, epoch, rules, candidates);
        assembler::judge(candidates, rules, now, verdict);
        let instruction = self.instruction();
        let stateless = !self.specs.iter().any(|spec| matches!(spec.kind, InputKind::Joints | InputKind::Pose));
        for (missing, name, fault) in
            [(stateless, "joints", Fault::Missing), (instruction.is_none(), "instruction", Fault::NoInstruction)]
        {
            if missing {
                verdict.breaches.push(Breach { input: name.into(), fault, refusal: None });
            }
        }
        verdict.breaches.extend(self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age)));
        let (Some(stamp), Some(instruction), true) =
            (assembler::observation_stamp(candidates), instruction, verdict.breaches.is_empty())
        else {
            candidates.iter_mut().for_each(|candidate| candidate.snapshot.held = None);
            return Err(Violation { at: now, breaches: std::mem::take(&mut verdict.breaches) });
        };
        out.stamp = stamp;
        out.assembled_at = now;
        out.instruction = instruction;
        out.tolerated.clone_from(&verdict.tolerated);
        self.fill(candidates, out);
        Ok(())
    }

    /// Whether [`Inputs::assemble`] would have an observation at `now`. Takes nothing: no sample counts as used, and a clock that
    /// went back is still told to the next assembly.
    pub fn check(&self, now: Stamp, rules: &Rules) -> Result<(), Violation> {
        let mut scratch = lock(&self.scratch);
        let Scratch { candidates, verdict, watch } = &mut *scratch;
        let epoch = lock(&self.clock).advance(watch, now);
        verdict.clear();
        self.look(now, epoch, rules, candidates);
        assembler::judge(candidates, rules, now, verdict);
        if self.instruction().is_none() {
            verdict.breaches.push(Breach { input: "instruction".into(), fault: Fault::NoInstruction, refusal: None });
        }
        verdict.breaches.extend(self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age)));
        candidates.iter_mut().for_each(|candidate| candidate.snapshot.held = None);
        match verdict.breaches.is_empty() {
            true => Ok(()),
            false => Err(Violation { at: now, breaches: std::mem::take(&mut verdict.breaches) }),
        }
    }

    /// Counters of every input, in their order.
    pub fn statistics(&self) -> Vec<InputStatistics> {
        self.names.iter().zip(&self.slots).map(|(names, slot)| statistics(names, &lock(slot))).collect()
    }

    /// Times that ROS time went back.
    pub fn clock_jumps(&self) -> u64 {
        lock(&self.clock).jumps()
    }

    fn joints(&self) -> Option<usize> {
        self.specs.iter().position(|spec| spec.kind == InputKind::Joints)
    }

    /// Snapshots of the slots of stamped inputs, in the order of the inputs.
    fn look(&self, now: Stamp, epoch: u64, rules: &Rules, candidates: &mut Vec<Candidate>) {
        let stamped = || self.specs.iter().enumerate().filter(|(_, spec)| spec.kind.is_stamped());
        if candidates.is_empty() {
            let names = stamped().filter_map(|(input, _)| Some((input, self.names.get(input)?.0.clone())));
            candidates.extend(names.map(|(input, name)| Candidate::new(input, name)));
        }
        for candidate in candidates {
            let Some(slot) = self.slots.get(candidate.input) else { continue };
            candidate.rule = rules.of(candidate.input);
            let displaced = {
                let mut slot = lock(slot);
                (slot.enter_epoch(epoch), slot.snapshot(now, rules.future_tolerance, &mut candidate.snapshot))
            };
            drop(displaced);
        }
    }

    /// Moves the samples into the observation and counts them as used.
    fn fill(&self, candidates: &mut [Candidate], out: &mut Observation) {
        let joints = self.joints();
        let (mut cameras, mut poses) = (0, 0);
        if joints.is_none() {
            out.joints = None;
        }
        for candidate in candidates {
            let (Some(spec), Some(slot)) = (self.specs.get(candidate.input), self.slots.get(candidate.input)) else {
                continue;
            };
            let Some((stamp, bytes)) = candidate.snapshot.held.take() else { continue };
            let name = candidate.name.clone();
            match spec.kind {
                InputKind::Camera { transport } => {
                    put(&mut out.cameras, &mut cameras, CameraSample { name, stamp, transport, bytes });
                }
                InputKind::Joints if Some(candidate.input) == joints => {
                    out.joints = Some(JointSample { name, stamp, bytes });
                }
                InputKind::Pose => put(&mut out.poses, &mut poses, PoseSample { name, stamp, bytes }),
                InputKind::Joints | InputKind::Instruction => continue,
            }
            lock(slot).mark_used(stamp, candidate.snapshot.used);
        }
        out.cameras.truncate(cameras);
        out.poses.truncate(poses);
    }
}

/// Puts the next sample into a list that is reused.
fn put<T>(list: &mut Vec<T>, at: &mut usize, sample: T) {
    match list.get_mut(*at) {
        Some(held) => *held = sample,
        None => list.push(sample),
    }
    *at += 1;
}

fn refuse(slot: &Mutex<Slot>, error: &Error) {
    let reason = error.to_string().into();
    lock(slot).refuse(reason);
}

/// A thread that panicked elsewhere leaves a slot whole: every change to it is one call that cannot fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn statistics((name, topic): &(Arc<str>, Arc<str>), slot: &Slot) -> InputStatistics {
    let counts = slot.counts();
    InputStatistics {
        name: name.clone(),
        topic: topic.clone(),
        received: counts.received,
        used: counts.used,
        overwritten: counts.overwritten,
        refused: counts.refused,
        last_refusal: slot.last_refusal(),
        out_of_order: counts.out_of_order,
        repeated: counts.repeated,
        future: counts.future,
        restarts: counts.restarts,
        last_stamp: slot.latest().map(|sample| sample.stamp),
        last_age: slot.last_age(),
        rate: slot.rate().measure(),
    }
}

#[cfg(test)]
mod tests;
