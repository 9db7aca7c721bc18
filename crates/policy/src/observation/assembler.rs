//! The rules, applied to what the slots hold: a pure function of snapshots and the time.

use std::sync::Arc;

use bytes::Bytes;

use super::history::Absent;
use super::joints::JointsSnapshot;
use super::pose::Pose;
use super::slot::{Slot, Snapshot};
use super::spec::{FrameHistory, InputKind, InputRule, InputSpec, Pairing, Rules};
use super::transforms::{Common, LookupError};
use super::violation::{Breach, Fault};
use vla_base::time::{Span, Stamp};

/// An input is silent after this many of its mean periods without a message.
const SILENT_PERIODS: i64 = 3;
/// Frames in a row that must be the same before a camera can count as stuck: a few slow ones may be.
const FEWEST_SAME: u64 = 4;
/// Joints that are named in one breach.
const NAMED: usize = 4;

/// A stamped input and what its slot holds.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Index of the input.
    pub input: usize,
    pub name: Arc<str>,
    pub kind: InputKind,
    pub rule: InputRule,
    pub snapshot: Snapshot,
    /// Of a camera: the newest frame.
    pub frame: Bytes,
    /// Earlier frames that the policy reads.
    pub history: FrameHistory,
    /// As many of them as there are, with their stamps, in that order.
    pub earlier: Vec<(Stamp, Bytes)>,
    /// What is wrong with them.
    pub gap: Option<Fault>,
    /// Of a pose: the newest.
    pub pose: Option<Pose>,
    /// Of joint states.
    pub joints: JointsSnapshot,
    /// Of joints and poses: the time that they are taken at, where that is not the newest sample's.
    pub at: Option<Stamp>,
    /// Of a pose: at other times than the newest, as [`JointsSnapshot::sampled`].
    pub sampled_poses: Vec<Pose>,
    /// Why there is no sample of such a time, and which time it is.
    pub absent: Option<(Absent, Stamp, usize)>,
    /// Of a transform that is missing or old: the newest time of its chain, or why there is none.
    pub chain: Option<Result<Option<Common>, LookupError>>,
}

impl Candidate {
    pub(crate) fn new(input: usize, spec: &InputSpec) -> Self {
        Self {
            input,
            name: spec.name.as_str().into(),
            kind: spec.kind,
            rule: InputRule::age(Span::ZERO, true),
            snapshot: Snapshot::default(),
            frame: Bytes::new(),
            earlier: Vec::with_capacity(spec.history.before.len()),
            history: spec.history.clone(),
            gap: None,
            pose: None,
            joints: JointsSnapshot::default(),
            at: None,
            sampled_poses: Vec::new(),
            absent: None,
            chain: None,
        }
    }

    /// Takes the earlier frames that the policy reads from a camera's slot.
    pub(crate) fn take_earlier(&mut self, slot: &Slot<Bytes>) {
        self.earlier.clear();
        self.gap = None;
        let Some(newest) = self.stamp() else { return };
        let tolerance = self.history.tolerance;
        for &before in &self.history.before {
            let wanted = newest - before;
            let nearest = slot.nearest(wanted);
            let distance = nearest.map(|sample| (sample.stamp - wanted).max(wanted - sample.stamp));
            match nearest.filter(|_| distance.is_some_and(|distance| distance <= tolerance)) {
                Some(sample) => self.earlier.push((sample.stamp, sample.value.clone())),
                None => self.gap = self.gap.or(Some(Fault::NoHistory { before, distance, tolerance })),
            }
        }
    }

    /// Stamp of the newest sample.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.snapshot.stamp
    }

    /// Whether it is a part of the state.
    pub(crate) fn is_state(&self) -> bool {
        !matches!(self.kind, InputKind::Camera { .. } | InputKind::Instruction)
    }

    /// Drops the frames: the memory of those that were replaced is to be free.
    pub(crate) fn release(&mut self) {
        self.frame = Bytes::new();
        self.earlier.clear();
    }

    fn breach(&self, fault: Fault, now: Stamp) -> Breach {
        let detail = match fault {
            _ if self.kind == InputKind::Transform => self.chain_detail(),
            Fault::Missing => self.joints.without_reading(),
            Fault::Stale { max_age: limit, .. } | Fault::Stopped { limit, .. } => self.joints.older_than(limit, now),
            Fault::TwoTopics => self.joints.ambiguous().map(|(joint, one, other)| {
                format!(
                    "`{joint}` comes on {one} and on {other}; set inputs.joints.topic_of.{joint} to the one that counts"
                )
                .into()
            }),
            Fault::ShortHistory { .. } | Fault::Gap { .. } => {
                self.absent.and_then(|(.., time)| self.joints.not_sampled(time))
            }
            _ => None,
        };
        let refusal = self.snapshot.refusal.clone();
        Breach { input: self.name.clone(), sample: self.kind.sample_name(), fault, detail, refusal }
    }

    /// What is wrong with the chain of a transform: the frame that is not there, or whose newest transform is the oldest.
    fn chain_detail(&self) -> Option<Arc<str>> {
        match self.chain.as_ref()? {
            Ok(Some(common)) => Some(format!("`{}`", common.frame).into()),
            Ok(None) => Some("every transform between the two frames is static, so the pose has no time".into()),
            Err(error) => Some(error.to_string().into()),
        }
    }

    /// Whether the frames of a transform are known and no chain joins them.
    fn is_disconnected(&self) -> bool {
        matches!(self.chain, Some(Err(LookupError::Disconnected { .. } | LookupError::Loop { .. })))
    }

    /// Whether messages have ceased to arrive, rather than arriving late. Where only one came, silence for half of
    /// what the rule allows is taken for it.
    fn is_silent(&self, now: Stamp, limit: Span) -> bool {
        let quiet = now - self.snapshot.arrived;
        match self.snapshot.period {
            Some(period) => quiet > period.times(SILENT_PERIODS),
            None => quiet.times(2) > limit,
        }
    }
}

/// What the rules say.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Breaches that forbid inference.
    pub breaches: Vec<Breach>,
    /// Breaches of optional inputs, reported only.
    pub tolerated: Vec<Breach>,
}

impl Verdict {
    pub(crate) fn clear(&mut self) {
        self.breaches.clear();
        self.tolerated.clear();
    }

    fn add(&mut self, candidate: &Candidate, fault: Fault, now: Stamp) {
        // Nothing may stand in for a stream that was never seen, so that is not tolerated of any input.
        let unusable =
            matches!(fault, Fault::Missing | Fault::TwoTopics | Fault::ShortHistory { .. } | Fault::Gap { .. })
                || fault == Fault::Disconnected && candidate.stamp().is_none();
        let forbids = candidate.rule.required || unusable;
        if forbids { &mut self.breaches } else { &mut self.tolerated }.push(candidate.breach(fault, now));
    }
}

/// Adds every breach among the stamped inputs to the verdict: one fault an input, the one that explains the others. Those that
/// are only out of step come last.
pub(super) fn judge(candidates: &[Candidate], rules: &Rules, now: Stamp, verdict: &mut Verdict) {
    for candidate in candidates {
        let own = own_fault(candidate, rules, now);
        if let Some(fault) = own {
            verdict.add(candidate, fault, now);
        }
        // Nothing may stand in for a sample that is not there, also where another fault is tolerated.
        let absent = match candidate.stamp() {
            None => Some(Fault::Missing),
            Some(_) => state_fault(candidate, now),
        };
        if let Some(fault) = absent.filter(|fault| !candidate.rule.required && own != Some(*fault)) {
            verdict.add(candidate, fault, now);
        }
    }
    // Paired with the frames, joints and poses are at one time with the oldest of them.
    let compared = |c: &&Candidate| rules.pairing == Pairing::Newest || !c.is_state();
    let required = || candidates.iter().filter(compared).filter(|c| c.rule.required).filter_map(Candidate::stamp);
    let (oldest, newest) = (required().min(), required().max());
    for candidate in candidates.iter().filter(compared) {
        let Some(stamp) = candidate.stamp() else { continue };
        // A required input is named when it is the one behind; an optional one whichever way it is away.
        let behind = newest.map_or(Span::ZERO, |newest| newest - stamp);
        let ahead = oldest.map_or(Span::ZERO, |oldest| stamp - oldest);
        let skew = if candidate.rule.required { behind } else { behind.max(ahead) };
        if skew <= rules.max_skew || own_fault(candidate, rules, now).is_some() {
            continue;
        }
        let fault = if behind > rules.max_skew && candidate.is_silent(now, rules.max_skew) {
            Fault::Stopped { age: stamp.age_at(now).max(behind), limit: rules.max_skew }
        } else {
            Fault::Skewed { skew, max_skew: rules.max_skew }
        };
        verdict.add(candidate, fault, now);
    }
}

/// What is wrong with an input by itself.
fn own_fault(candidate: &Candidate, rules: &Rules, now: Stamp) -> Option<Fault> {
    let (snapshot, max_age) = (&candidate.snapshot, candidate.rule.max_age);
    let tolerance = rules.future_tolerance;
    // A thread that was held up since it read the clock has not seen a stamp from the future.
    let latest = now.max(snapshot.arrived);
    if let Some(stamp) = snapshot.ahead {
        return Some(Fault::Future { ahead: stamp - latest, tolerance });
    }
    if candidate.is_disconnected() {
        return Some(Fault::Disconnected);
    }
    let Some(stamp) = candidate.stamp() else { return Some(Fault::Missing) };
    let (age, ahead) = (stamp.age_at(now), stamp - latest);
    // Of cameras. Joints may rest: whether they are stuck depends on the plan.
    let (same, repeats) = snapshot.same;
    let stuck_after = candidate.rule.stuck_after;
    if ahead > tolerance {
        // Held in good faith, before the clock (or the tolerance) was changed.
        Some(Fault::Future { ahead, tolerance })
    } else if age > max_age && candidate.is_silent(now, max_age) {
        Some(Fault::Stopped { age, limit: max_age })
    } else if age > max_age && snapshot.repeats > 0 {
        Some(Fault::Frozen { age, max_age, repeats: snapshot.repeats })
    } else if age > max_age {
        Some(Fault::Stale { age, max_age })
    } else if stuck_after > Span::ZERO && same >= stuck_after && repeats >= FEWEST_SAME {
        Some(Fault::Stuck { same, stuck_after, repeats })
    } else {
        candidate.gap.or_else(|| state_fault(candidate, now))
    }
}

/// Why the state at the time that the rules ask for is not known.
fn state_fault(candidate: &Candidate, now: Stamp) -> Option<Fault> {
    if candidate.joints.ambiguous().is_some() {
        return Some(Fault::TwoTopics);
    }
    let (absent, at, _) = candidate.absent?;
    Some(match absent {
        Absent::TooEarly { oldest } => {
            Fault::ShortHistory { asked: now - at, reach: oldest.map_or(Span::ZERO, |oldest| now - oldest) }
        }
        Absent::Gap { gap } => Fault::Gap { gap, max_gap: candidate.rule.max_age, before: now - at },
    })
}

/// Stamp of the oldest frame, required or, where none is, any: what joints and poses are paired with. `None` while a required one is
/// missing.
pub(super) fn picture(candidates: &[Candidate]) -> Option<Stamp> {
    let cameras = || candidates.iter().filter(|c| !c.is_state());
    match cameras().any(|c| c.rule.required) {
        true => cameras().filter(|c| c.rule.required).map(Candidate::stamp).min().flatten(),
        false => cameras().filter_map(Candidate::stamp).min(),
    }
}

/// Names of joints in a sentence: the first few, and how many more.
pub(super) fn joint_list<'n>(mut names: impl Iterator<Item = &'n String>) -> Option<Arc<str>> {
    let named: Vec<String> = names.by_ref().take(NAMED).map(|name| format!("`{name}`")).collect();
    let text = match (named.is_empty(), names.count()) {
        (true, _) => return None,
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named.join(", ")),
    };
    Some(text.into())
}

/// The stamp of the observation: the oldest required input, or the oldest when none is required.
pub(super) fn observation_stamp(candidates: &[Candidate]) -> Option<Stamp> {
    let stamp = |c: &Candidate| c.at.or(c.stamp());
    let required = candidates.iter().filter(|c| c.rule.required).filter_map(stamp).min();
    required.or_else(|| candidates.iter().filter_map(stamp).min())
}

#[cfg(test)]
mod tests;
