//! The inputs, shared between the threads that receive messages and the one that runs the policy.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::assembler::{self, Candidate, Verdict};
use super::clock::{Clock, ClockReader};
use super::enable::EnableSwitch;
use super::error::Error;
use super::intake::{self, Content, Source};
use super::joints::Arrived;
use super::sample::{CameraSample, JointSample, Observation, PoseSample};
use super::slot::Sample;
use super::spec::{FrameCheck, InputKind, InputSpec, InputTopic, Rules};
use super::statistics::InputStatistics;
use super::violation::{Breach, Fault, Violation};
use vla_base::time::{Span, Stamp};

mod store;

use store::{JointStore, Store, lock};

/// One latest-value slot for each input, each behind a mutex. A lock is held to move a few words, never to parse, copy,
/// allocate or free a message, so topic tasks and the inference thread do not block each other; a lock-free pointer swap
/// would not keep sample and counters consistent. Share it in an `Arc`.
///
/// Call [`Inputs::assemble_into`] from one thread only, the inference thread. [`Inputs::check`] and [`Inputs::read_joints`]
/// may be called from any other thread and do not wait for an assembly.
pub struct Inputs {
    specs: Vec<InputSpec>,
    topics: Vec<InputTopic>,
    frames: Mutex<Option<Arc<FrameCheck>>>,
    names: Vec<(Arc<str>, Arc<str>)>,
    stores: Vec<Store>,
    instruction: Mutex<Option<Arc<str>>>,
    /// The operator's switch, where there is one.
    enable: Option<Mutex<EnableSwitch>>,
    /// The one lock taken under another (a slot's, or a scratch's).
    clock: Mutex<Clock>,
    /// Buffers and clock reader of the assembling thread.
    assembly: Mutex<(Scratch, ClockReader)>,
    /// Buffers of checks, so that a check never waits for an assembly.
    checking: Mutex<Scratch>,
}

#[derive(Debug, Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    verdict: Verdict,
}

impl Inputs {
    /// Inputs with the cameras in the policy's order. Of several inputs of kind `Joints` the first is used; without one, a pose
    /// is required. All inputs of kind `Instruction` set the same instruction.
    pub fn new(specs: Vec<InputSpec>) -> Self {
        Self {
            names: specs.iter().map(|spec| (spec.name.as_str().into(), spec.topic_list().into())).collect(),
            topics: InputTopic::of(&specs),
            stores: specs.iter().map(Store::new).collect(),
            instruction: Mutex::default(),
            enable: None,
            clock: Mutex::default(),
            assembly: Mutex::default(),
            checking: Mutex::default(),
            frames: Mutex::default(),
            specs,
        }
    }

    /// Allows motion only while [`Inputs::offer_enable`] receives true.
    pub fn with_enable_switch(mut self) -> Self {
        self.enable = Some(Mutex::default());
        self
    }

    /// Refuses frames whose size the policy does not accept, from now on and on arrival.
    pub fn set_frame_check(&self, check: Arc<FrameCheck>) {
        *lock(&self.frames) = Some(check);
    }

    /// The inputs as configured.
    pub fn specs(&self) -> &[InputSpec] {
        &self.specs
    }

    /// The topics of the inputs, each once. Their indices are those of [`Inputs::offer`].
    pub fn topics(&self) -> &[InputTopic] {
        &self.topics
    }

    /// Accepts a serialized message of one of the [`Inputs::topics`] that arrived at ROS time `received`, for every input that
    /// names the topic. Invalid, empty and not finite messages are refused and counted, and the previous valid sample stays. Of a
    /// joint state in which a needed joint is not finite, the other joints are used. Call it from one task for each topic.
    ///
    /// # Errors
    /// Why the message, or a part of it, was refused: the first reason, where several inputs refuse it.
    pub fn offer(&self, topic: usize, bytes: Bytes, received: Stamp) -> Result<(), Error> {
        let unknown = || Error::UnknownTopic { index: topic, count: self.topics.len() };
        let topic = self.topics.get(topic).ok_or_else(unknown)?;
        let offered = topic.inputs.iter().map(|&input| self.offer_to(input, &topic.name, &bytes, received));
        offered.fold(Ok(()), Result::and)
    }

    /// Accepts a message for one of the inputs of its topic.
    fn offer_to(&self, input: usize, topic: &str, bytes: &Bytes, received: Stamp) -> Result<(), Error> {
        let (Some(spec), Some(store)) = (self.specs.get(input), self.stores.get(input)) else { return Ok(()) };
        let source = Source { spec, topic, received };
        let slot = match store {
            Store::Latest(slot) => slot,
            Store::Joints(joints) => return self.offer_joints(&source, joints, bytes),
        };
        let frames = lock(&self.frames).clone();
        let content = intake::check(&source, bytes, frames.as_deref());
        let stamp = match content.inspect_err(|error| store.refuse(error))? {
            Content::Stamped(stamp, turned) => {
                if let Some(orientation) = turned.filter(|_| lock(slot).report_rotation()) {
                    tracing::warn!(
                        "input `{}` on topic `{}`: frames have the EXIF orientation {orientation}, which is ignored; if the policy's \
                         training data were turned upright, set {}.exif: apply",
                        spec.name,
                        topic,
                        spec.parameter()
                    );
                }
                stamp
            }
            Content::Text(text) => {
                self.set_instruction(text);
                lock(slot).offer_latest(Sample { stamp: received, received, bytes: Bytes::new(), same: false });
                return Ok(());
            }
        };
        // The held frame is shared for the comparison, which is made without the lock.
        let held = lock(slot).latest().map(|sample| sample.bytes.clone());
        let same = held.is_some_and(|held| intake::same_but_stamp(&held, bytes));
        let sample = Sample { stamp, received, bytes: bytes.clone(), same };
        let (outdated, displaced) = {
            let mut slot = lock(slot);
            let (epoch, tolerance) = self.read_clock(&mut slot.stream().clock, received);
            (slot.enter_epoch(epoch), slot.offer(sample, tolerance))
        };
        // Freed after the lock is released, because frames are large.
        drop((outdated, displaced));
        Ok(())
    }

    fn offer_joints(&self, source: &Source<'_>, joints: &JointStore, bytes: &[u8]) -> Result<(), Error> {
        let received = source.received;
        let mut parts = lock(&joints.parts);
        let content = intake::check_joints(source, bytes, &joints.index, &mut parts);
        let content = content.inspect_err(|error| joints.refuse(error))?;
        if let Some(error) = &content.refused {
            joints.refuse(error);
        } else if parts.is_empty() {
            lock(&joints.table).ignore(|| intake::joints_of(bytes));
            return Ok(());
        }
        let (stamp, layout, counted) = (content.stamp, content.layout, content.refused.is_none());
        let mut table = lock(&joints.table);
        let (epoch, tolerance) = self.read_clock(&mut table.stream().clock, received);
        table.enter_epoch(epoch);
        table.offer(&parts, Arrived { stamp, received, layout, counted }, tolerance);
        content.refused.map_or(Ok(()), Err)
    }

    fn read_clock(&self, reader: &mut ClockReader, now: Stamp) -> (u64, Span) {
        let mut clock = lock(&self.clock);
        (clock.advance(reader, now), clock.tolerance())
    }

    /// Sets the instruction (from the parameter). The latest wins, from here or from a topic; the empty text removes the
    /// instruction, so that no inference is possible.
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

    /// Copies the newest position of every joint that the policy reads or moves, whatever its age (check the stamps). `out`
    /// stays unchanged if nothing is newer. False without an input of joint states. Takes one short lock; allocates nothing if
    /// `out` is reused.
    pub fn read_joints(&self, out: &mut JointSample) -> bool {
        let Some((joints, (name, _))) = self.joints().and_then(|at| Some((self.joint_store(at)?, self.names.get(at)?)))
        else {
            return false;
        };
        if !Arc::ptr_eq(&out.joints, &joints.index.names) {
            *out =
                JointSample { name: name.clone(), joints: Arc::clone(&joints.index.names), ..JointSample::default() };
        }
        let table = lock(&joints.table);
        table.read_into(&mut out.sequence, &mut out.readings);
        out.stamp = table.stamp().unwrap_or_default();
        true
    }

    /// Accepts a message of the enable switch that arrived at ROS time `received`.
    pub fn offer_enable(&self, on: bool, received: Stamp) {
        if let Some(enable) = &self.enable {
            lock(enable).offer(on, received);
        }
    }

    /// Last state of the enable switch; `None` without a switch.
    pub fn enable_switch(&self) -> Option<EnableSwitch> {
        self.enable.as_ref().map(|enable| *lock(enable))
    }

    /// Checks that the enable switch allows motion at `now`. Always without a switch.
    ///
    /// # Errors
    /// [`Violation`] with the state of the switch.
    pub fn check_enable(&self, now: Stamp, rules: &Rules) -> Result<(), Violation> {
        let breach = self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age));
        breach.map_or(Ok(()), |breach| Err(Violation { at: now, breaches: vec![breach] }))
    }

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
        candidates.iter_mut().for_each(|candidate| candidate.snapshot.held = None);
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
        candidates.iter_mut().for_each(|candidate| candidate.snapshot.held = None);
        let forbidding = std::mem::take(&mut verdict.breaches).into_iter().map(|breach| (breach, true));
        forbidding.chain(verdict.tolerated.drain(..).map(|breach| (breach, false))).collect()
    }

    /// Adds faults that are not of one sample: no state input, no instruction, the enable switch.
    fn judge_others(&self, now: Stamp, rules: &Rules, instructed: bool, verdict: &mut Verdict) {
        let stateless = !self.specs.iter().any(|spec| matches!(spec.kind, InputKind::Joints | InputKind::Pose));
        let missing = [(stateless, "joints", Fault::Missing), (!instructed, "instruction", Fault::NoInstruction)];
        for (_, name, fault) in missing.into_iter().filter(|(missing, ..)| *missing) {
            verdict.breaches.push(Breach::new(name, fault));
        }
        verdict.breaches.extend(self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age)));
    }

    /// Counters of every input, in their order, and their rates at `now`.
    pub fn statistics(&self, now: Stamp) -> Vec<InputStatistics> {
        self.names.iter().zip(&self.stores).map(|(names, store)| store.statistics(names, now)).collect()
    }

    /// Number of times ROS time went back.
    pub fn clock_jumps(&self) -> u64 {
        lock(&self.clock).jumps()
    }

    fn joints(&self) -> Option<usize> {
        self.specs.iter().position(|spec| spec.kind == InputKind::Joints)
    }

    fn joint_store(&self, input: usize) -> Option<&JointStore> {
        match self.stores.get(input)? {
            Store::Joints(joints) => Some(joints),
            Store::Latest(_) => None,
        }
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
            let displaced = match store {
                Store::Latest(slot) => {
                    let mut slot = lock(slot);
                    (slot.enter_epoch(epoch), slot.snapshot(now, tolerance, &mut candidate.snapshot))
                }
                Store::Joints(joints) => {
                    let mut table = lock(&joints.table);
                    table.enter_epoch(epoch);
                    table.snapshot(now, tolerance, &mut candidate.snapshot, &mut candidate.joints);
                    (None, None)
                }
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
            let (Some(spec), Some(store)) = (self.specs.get(candidate.input), self.stores.get(candidate.input)) else {
                continue;
            };
            let Some((stamp, bytes)) = candidate.snapshot.held.take() else { continue };
            let name = candidate.name.clone();
            let slot = match store {
                Store::Latest(slot) => slot,
                Store::Joints(store) => {
                    if Some(candidate.input) == joints {
                        candidate.joints.copy_into(name, stamp, &store.index, out.joints.get_or_insert_default());
                        lock(&store.table).mark_used(&candidate.joints);
                    }
                    continue;
                }
            };
            match spec.kind {
                InputKind::Camera { transport } => {
                    let sample = CameraSample { name, stamp, transport, options: spec.frames, bytes };
                    put(&mut out.cameras, &mut cameras, sample);
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

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").field("specs", &self.specs).field("stores", &self.stores).finish_non_exhaustive()
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

#[cfg(test)]
mod tests;
