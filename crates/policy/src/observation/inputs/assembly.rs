//! Observations and violations, from what the inputs hold.

use super::Inputs;
use super::store::{Store, lock};
use crate::observation::assembler::{self, Candidate, Verdict};
use crate::observation::sample::{CameraSample, Observation, PoseSample};
use crate::observation::slot::{Sample, Slot, Snapshot};
use crate::observation::spec::{InputKind, Rules};
use crate::observation::violation::{Breach, Fault, Violation};
use vla_base::time::{Span, Stamp};

#[derive(Debug, Default)]
pub(super) struct Scratch {
    candidates: Vec<Candidate>,
    verdict: Verdict,
}

impl Inputs {
    /// The observation at ROS time `now`, or everything that forbids it.
    pub fn assemble(&self, now: Stamp, rules: &Rules) -> Result<Observation, Violation> {
        let mut observation = Observation::default();
        self.assemble_into(now, rules, &mut observation)?;
        Ok(observation)
    }

    /// [`Inputs::assemble`] into an observation that is reused; on a violation it is left as it was.
    pub fn assemble_into(&self, now: Stamp, rules: &Rules, out: &mut Observation) -> Result<(), Violation> {
        let mut assembly = lock(&self.assembly);
        let (Scratch { candidates, verdict }, reader) = &mut *assembly;
        let (epoch, jump) = {
            let mut clock = lock(&self.clock);
            clock.set_tolerance(rules.future_tolerance);
            (clock.advance(reader, now), clock.take_jump())
        };
        verdict.clear();
        if let Some(back) = jump {
            let fault = Fault::ClockWentBack { back, tolerance: rules.future_tolerance };
            verdict.breaches.push(Breach::new("clock", fault));
        }
        self.snapshot(now, epoch, rules, candidates);
        assembler::judge(candidates, rules, now, verdict);
        let instruction = self.instruction();
        self.judge_others(now, rules, instruction.is_some(), verdict);
        let (Some(stamp), Some(instruction), true) =
            (assembler::observation_stamp(candidates), instruction, verdict.breaches.is_empty())
        else {
            candidates.iter_mut().for_each(Candidate::release);
            return Err(Violation { at: now, breaches: std::mem::take(&mut verdict.breaches) });
        };
        out.stamp = stamp;
        out.assembled_at = now;
        out.instruction = instruction;
        out.tolerated.clone_from(&verdict.tolerated);
        self.fill(candidates, out);
        Ok(())
    }

    /// Checks that [`Inputs::assemble`] would succeed at `now`. Counts no sample as used and does not record `now` as a reading of
    /// the clock, so `now` may be older than readings of other threads.
    pub fn check(&self, now: Stamp, rules: &Rules) -> Result<(), Violation> {
        let mut checking = lock(&self.checking);
        let Scratch { candidates, verdict } = &mut *checking;
        let epoch = lock(&self.clock).jumps();
        verdict.clear();
        self.snapshot(now, epoch, rules, candidates);
        assembler::judge(candidates, rules, now, verdict);
        self.judge_others(now, rules, self.instruction().is_some(), verdict);
        candidates.iter_mut().for_each(Candidate::release);
        match verdict.breaches.is_empty() {
            true => Ok(()),
            false => Err(Violation { at: now, breaches: std::mem::take(&mut verdict.breaches) }),
        }
    }

    /// Every fault of the inputs at `now`, each with whether it forbids inference; for diagnostics. Counts nothing, as
    /// [`Inputs::check`].
    pub fn faults(&self, now: Stamp, rules: &Rules) -> Vec<(Breach, bool)> {
        let mut checking = lock(&self.checking);
        let Scratch { candidates, verdict } = &mut *checking;
        let epoch = lock(&self.clock).jumps();
        verdict.clear();
        self.snapshot(now, epoch, rules, candidates);
        assembler::judge(candidates, rules, now, verdict);
        candidates.iter_mut().for_each(Candidate::release);
        let forbidding = std::mem::take(&mut verdict.breaches).into_iter().map(|breach| (breach, true));
        forbidding.chain(verdict.tolerated.drain(..).map(|breach| (breach, false))).collect()
    }

    /// Adds faults that are not of one sample: no state input, no instruction, the enable switch.
    fn judge_others(&self, now: Stamp, rules: &Rules, instructed: bool, verdict: &mut Verdict) {
        let stateless = !self.specs.iter().any(|spec| spec.kind == InputKind::Joints || spec.kind.is_pose());
        let missing = [(stateless, "joints", Fault::Missing), (!instructed, "instruction", Fault::NoInstruction)];
        for (_, name, fault) in missing.into_iter().filter(|(missing, ..)| *missing) {
            verdict.breaches.push(Breach::new(name, fault));
        }
        verdict.breaches.extend(self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age)));
    }

    /// Snapshots of the slots of stamped inputs, in the order of the inputs.
    fn snapshot(&self, now: Stamp, epoch: u64, rules: &Rules, candidates: &mut Vec<Candidate>) {
        if candidates.is_empty() {
            let stamped = self.specs.iter().enumerate().filter(|(_, spec)| spec.kind.is_stamped());
            candidates.extend(stamped.map(|(input, spec)| Candidate::new(input, spec)));
        }
        for candidate in candidates {
            let Some(store) = self.stores.get(candidate.input) else { continue };
            candidate.rule = rules.of(candidate.input);
            let tolerance = rules.future_tolerance;
            match store {
                Store::Frames(slot) => {
                    let mut slot = lock(slot);
                    let (frame, released) = take(&mut slot, now, epoch, tolerance, &mut candidate.snapshot);
                    candidate.frame = frame.unwrap_or_default();
                    candidate.take_earlier(&slot);
                    drop(slot);
                    drop(released);
                }
                Store::Poses(slot) => {
                    candidate.pose = take(&mut lock(slot), now, epoch, tolerance, &mut candidate.snapshot).0;
                    let is_old = |stamp: Stamp| stamp.age_at(now) > candidate.rule.max_age;
                    let explain = candidate.snapshot.stamp.is_none_or(is_old);
                    candidate.chain = self.frames_of_tf.latest(candidate.input).filter(|_| explain);
                }
                Store::Joints(joints) => {
                    let mut table = lock(&joints.table);
                    table.enter_epoch(epoch);
                    table.snapshot(now, tolerance, &mut candidate.snapshot, &mut candidate.joints);
                }
                Store::Text(_) => {}
            }
        }
    }

    /// Moves the samples into the observation and counts them as used.
    fn fill(&self, candidates: &mut [Candidate], out: &mut Observation) {
        let joints = self.joints();
        let (mut cameras, mut earlier_frames, mut poses) = (0, 0, 0);
        if joints.is_none() {
            out.joints = None;
        }
        for candidate in candidates {
            let (Some(stamp), Some(store)) = (candidate.snapshot.stamp.take(), self.stores.get(candidate.input)) else {
                continue;
            };
            let (name, used) = (candidate.name.clone(), candidate.snapshot.used);
            match (store, candidate.kind) {
                (Store::Frames(slot), InputKind::Camera { transport }) => {
                    let bytes = std::mem::take(&mut candidate.frame);
                    let options = self.specs.get(candidate.input).map_or_else(Default::default, |spec| spec.frames);
                    for (stamp, bytes) in candidate.earlier.drain(..) {
                        let earlier = CameraSample { name: name.clone(), stamp, transport, options, bytes };
                        put(&mut out.earlier_frames, &mut earlier_frames, earlier);
                    }
                    put(&mut out.cameras, &mut cameras, CameraSample { name, stamp, transport, options, bytes });
                    lock(slot).mark_used(stamp, used);
                }
                (Store::Poses(slot), _) => {
                    let pose = candidate.pose.take().unwrap_or_default();
                    put(&mut out.poses, &mut poses, PoseSample { name, stamp, pose });
                    lock(slot).mark_used(stamp, used);
                }
                (Store::Joints(store), _) if Some(candidate.input) == joints => {
                    candidate.joints.copy_into(name, stamp, &store.index, out.joints.get_or_insert_default());
                    lock(&store.table).mark_used(&candidate.joints);
                }
                _ => {}
            }
        }
        out.cameras.truncate(cameras);
        out.earlier_frames.truncate(earlier_frames);
        out.poses.truncate(poses);
    }
}

/// The newest sample of a slot at `now`, with its state in `into`, and the samples that the slot releases.
fn take<T: Clone>(
    slot: &mut Slot<T>,
    now: Stamp,
    epoch: u64,
    tolerance: Span,
    into: &mut Snapshot,
) -> (Option<T>, [Option<Sample<T>>; 2]) {
    let released = [slot.enter_epoch(epoch), slot.snapshot(now, tolerance, into)];
    (slot.latest().map(|sample| sample.value.clone()), released)
}

/// Puts the next sample into a list that is reused.
fn put<T>(list: &mut Vec<T>, at: &mut usize, sample: T) {
    match list.get_mut(*at) {
        Some(held) => *held = sample,
        None => list.push(sample),
    }
    *at += 1;
}
