//! Observations and violations, from what the inputs hold.

use super::Inputs;
use super::store::{Store, lock};
use crate::observation::assembler::{self, Candidate, Verdict};
use crate::observation::pose::Pose;
use crate::observation::sample::{CameraSample, Observation, PoseSample, StateSample};
use crate::observation::slot::{Sample, Slot, Snapshot};
use crate::observation::spec::{InputKind, Pairing, Rules};
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
        self.fill(rules, candidates, out);
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
        for candidate in candidates.iter_mut() {
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
        self.sample_states(rules, candidates);
    }

    /// Joints and poses at the times that the rules ask for, where those are not the newest samples'. An optional input may have any
    /// gap, as it may have any age.
    fn sample_states(&self, rules: &Rules, candidates: &mut [Candidate]) {
        let picture = assembler::picture(candidates);
        for candidate in candidates.iter_mut().filter(|candidate| candidate.is_state()) {
            (candidate.at, candidate.absent) = (None, None);
            let state = match rules.pairing {
                Pairing::Newest => candidate.stamp(),
                Pairing::Frame => picture.filter(|_| candidate.stamp().is_some()),
            };
            // What is missing is a fault of its own.
            let (Some(state), Some(store)) = (state, self.stores.get(candidate.input)) else { continue };
            candidate.at = (rules.pairing == Pairing::Frame).then_some(state);
            let max_gap = candidate.rule.required.then_some(candidate.rule.max_age);
            match store {
                Store::Joints(joints) => {
                    let snapshot = &mut candidate.joints;
                    snapshot.find_continuous(&rules.continuous);
                    snapshot.sampled.resize_with(times(rules).count(), Vec::new);
                    let table = lock(&joints.table);
                    for (time, before) in times(rules).enumerate() {
                        let at = state - before;
                        let absent = snapshot.sample(&table, time, at, max_gap);
                        candidate.absent = candidate.absent.or(absent.map(|absent| (absent, at, time)));
                    }
                }
                Store::Poses(slot) => {
                    candidate.sampled_poses.clear();
                    for (time, before) in times(rules).enumerate() {
                        let at = state - before;
                        // Between two poses from transforms, the transforms themselves are interpolated, as tf2 does.
                        let looked_up = self.frames_of_tf.at(candidate.input, at);
                        let found = lock(slot).at(at, max_gap, Pose::interpolate);
                        let found = found.map(|found| looked_up.unwrap_or(found));
                        candidate.absent = candidate.absent.or(found.err().map(|absent| (absent, at, time)));
                        candidate.sampled_poses.push(found.unwrap_or_default());
                    }
                }
                Store::Frames(_) | Store::Text(_) => {}
            }
        }
    }

    /// Moves the samples into the observation and counts them as used.
    fn fill(&self, rules: &Rules, candidates: &mut [Candidate], out: &mut Observation) {
        let joints = self.joints();
        let (mut cameras, mut earlier, mut poses) = (0, 0, 0);
        let Observation {
            cameras: frames, earlier_frames, joints: newest_joints, poses: newest_poses, history, ..
        } = out;
        history.resize_with(rules.state_history.len(), StateSample::default);
        if joints.is_none() {
            *newest_joints = None;
            history.iter_mut().for_each(|earlier| earlier.joints = None);
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
                        let sample = CameraSample { name: name.clone(), stamp, transport, options, bytes };
                        put(earlier_frames, &mut earlier, sample);
                    }
                    put(frames, &mut cameras, CameraSample { name, stamp, transport, options, bytes });
                    lock(slot).mark_used(stamp, used);
                }
                (Store::Poses(slot), _) => {
                    let sample = |time: usize, stamp| {
                        let pose = candidate.sampled_poses.get(time).copied().unwrap_or_default();
                        PoseSample { name: candidate.name.clone(), stamp, pose }
                    };
                    let state = candidate.at.unwrap_or(stamp);
                    let now = match candidate.at {
                        Some(at) => sample(rules.state_history.len(), at),
                        None => PoseSample { name, stamp, pose: candidate.pose.unwrap_or_default() },
                    };
                    for ((time, earlier), before) in history.iter_mut().enumerate().zip(&rules.state_history) {
                        put(&mut earlier.poses, &mut poses.clone(), sample(time, state - *before));
                    }
                    put(newest_poses, &mut poses, now);
                    lock(slot).mark_used(stamp, used);
                }
                (Store::Joints(store), _) if Some(candidate.input) == joints => {
                    let (joints, index) = (&candidate.joints, &store.index);
                    let state = candidate.at.unwrap_or(stamp);
                    for ((time, earlier), before) in history.iter_mut().enumerate().zip(&rules.state_history) {
                        let out = earlier.joints.get_or_insert_default();
                        joints.copy_into(name.clone(), state - *before, index, Some(time), out);
                    }
                    let time = candidate.at.map(|_| rules.state_history.len());
                    joints.copy_into(name, state, index, time, newest_joints.get_or_insert_default());
                    lock(&store.table).mark_used(joints);
                }
                _ => {}
            }
        }
        frames.truncate(cameras);
        earlier_frames.truncate(earlier);
        newest_poses.truncate(poses);
        history.iter_mut().for_each(|earlier| earlier.poses.truncate(poses));
    }
}

/// The times that are sampled, each as the time before the state's own: those of the history, and the state's own where that is not
/// the newest sample's.
fn times(rules: &Rules) -> impl Iterator<Item = Span> {
    let own = (rules.pairing == Pairing::Frame).then_some(Span::ZERO);
    rules.state_history.iter().copied().chain(own)
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
