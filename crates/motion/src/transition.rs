//! Chunk transitions: how a new chunk takes over from the one before.
//!
//! Each mode combines the rows of the new chunk with the committed trajectory into one reference. [`super::Motion`] then follows it
//! within the joints' limits, starting from exactly the position and velocity of the plan in force.

use std::collections::VecDeque;
use std::f64::consts::{E, PI};

use super::grid::SAMPLE_PERIOD;
use super::trajectory::SampledTrajectory;
use vla_base::time::Span;

/// Most chunks that `ensemble` averages; the oldest is dropped first.
const WINDOW: usize = 32;

/// How a new chunk takes over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TransitionMode {
    /// From the hand-over on only the new chunk.
    Replace,
    /// Blends from the committed trajectory into the new chunk along half a cosine.
    #[default]
    Blend,
    /// The weighted mean of all chunks that have a row for the time (temporal ensembling; T. Zhao et al., "Learning
    /// Fine-Grained Bimanual Manipulation with Low-Cost Hardware", 2023).
    Ensemble,
    /// Rows that will be late stay as committed, the following ones are ramped (real-time chunking; K. Black, M. Galliker and S. Levine,
    /// "Real-Time Execution of Action Chunking Flow Policies", 2025). The policy receives the committed rows as an action prefix.
    Rtc,
}

impl TransitionMode {
    /// The word used in parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Blend => "blend",
            Self::Ensemble => "ensemble",
            Self::Rtc => "rtc",
        }
    }
}

/// The rows of the new chunk that `rtc` freezes and ramps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Frozen {
    /// Last tick of the reference that stays as committed.
    pub(super) until: i64,
    /// Last tick of the ramp.
    pub(super) ramped_until: i64,
}

/// Share of the new chunk after `share` (0 to 1) of the blend: half a cosine, so that neither position nor velocity jumps.
pub(super) fn cosine(share: f64) -> f64 {
    (1.0 - (PI * share.clamp(0.0, 1.0)).cos()) / 2.0
}

/// Weight of the committed trajectory after `share` (0 to 1) of the overlap: `c (e^c - 1) / (e - 1)` with c = 1 - share, as real-time chunking
/// weighs its guidance.
pub(super) fn decay(share: f64) -> f64 {
    let c = 1.0 - share.clamp(0.0, 1.0);
    c * (c.exp() - 1.0) / (E - 1.0)
}

/// Share of the way through `span` at `ticks` samples; past its end for an empty one.
fn progress(ticks: i64, span: Span) -> f64 {
    if span <= Span::ZERO { 1.0 } else { ticks as f64 * SAMPLE_PERIOD.nanos() as f64 / span.nanos() as f64 }
}

/// Blends `reference` out of `committed` over `span` from its first sample on. `first` goes on as committed, so the position of
/// the next sample differs from the committed one by `cosine(10 ms / span)` of the gap between both.
pub(super) fn blend(reference: &mut SampledTrajectory, committed: &SampledTrajectory, span: Span) {
    mix(reference, committed, |ticks, _| cosine(progress(ticks, span)));
}

/// Keeps the frozen samples and ramps those after them.
pub(super) fn freeze(reference: &mut SampledTrajectory, committed: &SampledTrajectory, frozen: Frozen) {
    let ramp = frozen.ramped_until - frozen.until;
    mix(reference, committed, |_, tick| match tick - frozen.until {
        before if before <= 0 => 0.0,
        past if past >= ramp => 1.0,
        between => 1.0 - decay(between as f64 / ramp as f64),
    });
}

/// Puts `committed + share * (reference - committed)` in the place of each position whose share is below one.
fn mix(reference: &mut SampledTrajectory, committed: &SampledTrajectory, share: impl Fn(i64, i64) -> f64) {
    let joints = reference.joints.max(1);
    for (ticks, row) in reference.positions.chunks_exact_mut(joints).enumerate() {
        let tick = reference.first + ticks as i64;
        let share = share(ticks as i64, tick);
        if share >= 1.0 {
            continue;
        }
        for (joint, position) in row.iter_mut().enumerate() {
            let before = committed.at(tick, joint).0;
            *position = before + share * (*position - before);
        }
    }
}

/// The references of the last chunks, for temporal ensembling.
#[derive(Clone, Debug, Default)]
pub(super) struct EnsembleWindow {
    /// Oldest first.
    references: VecDeque<SampledTrajectory>,
    spare: Vec<SampledTrajectory>,
}

impl EnsembleWindow {
    pub(crate) fn clear(&mut self) {
        self.spare.extend(self.references.drain(..));
    }

    /// Adds the newest reference and drops those that are over.
    pub(crate) fn push(&mut self, reference: &SampledTrajectory) {
        while self.references.len() >= WINDOW || self.references.front().is_some_and(|old| old.last() < reference.first)
        {
            self.spare.extend(self.references.pop_front());
        }
        let mut trajectory = self.spare.pop().unwrap_or_default();
        trajectory.restart(reference.first, reference.joints);
        trajectory.positions.extend_from_slice(&reference.positions);
        trajectory.velocities.extend_from_slice(&reference.velocities);
        self.references.push_back(trajectory);
    }

    /// Drops the newest.
    pub(crate) fn pop(&mut self) {
        self.spare.extend(self.references.pop_back());
    }

    /// Replaces each position of the newest reference by the weighted mean over the window.
    ///
    /// The i-th oldest member that has the sample weighs `exp(-decay * i)`, as in ACT. A member fades out over the last `fade` of its
    /// rows, so that its end is no jump.
    pub(crate) fn average(&self, reference: &mut SampledTrajectory, decay: f64, fade: Span) {
        let joints = reference.joints.max(1);
        for (row, positions) in reference.positions.chunks_exact_mut(joints).enumerate() {
            let tick = reference.first + row as i64;
            let has = |trajectory: &&SampledTrajectory| {
                trajectory.joints == joints && (trajectory.first..=trajectory.last()).contains(&tick)
            };
            let newest = self.references.len().saturating_sub(1);
            let mut total = 0.0;
            for (i, (at, trajectory)) in
                self.references.iter().enumerate().filter(|(_, trajectory)| has(trajectory)).enumerate()
            {
                let left = if at == newest { 1.0 } else { cosine(progress(trajectory.last() - tick, fade)) };
                let weight = (-decay * i as f64).exp() * left;
                if total == 0.0 {
                    positions.iter_mut().for_each(|position| *position = 0.0);
                }
                total += weight;
                for (joint, position) in positions.iter_mut().enumerate() {
                    *position += weight * trajectory.at(tick, joint).0;
                }
            }
            if total > 0.0 {
                positions.iter_mut().for_each(|position| *position /= total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trajectory(first: i64, positions: &[f64]) -> SampledTrajectory {
        let velocities = vec![0.0; positions.len()];
        SampledTrajectory { first, joints: 1, positions: positions.to_vec(), velocities }
    }

    #[test]
    fn blend_starts_at_the_promise_and_ends_at_the_new_chunk() {
        let mut reference = trajectory(10, &[1.0; 6]);
        blend(&mut reference, &trajectory(8, &[0.0; 4]), Span::from_nanos(4 * SAMPLE_PERIOD.nanos()));
        let expected = [0.0, 0.146_446_609_4, 0.5, 0.853_553_390_6, 1.0, 1.0];
        assert!(reference.positions.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{reference:?}");
        let mut at_once = trajectory(10, &[1.0; 3]);
        blend(&mut at_once, &trajectory(8, &[0.0; 4]), Span::ZERO);
        assert_eq!(at_once.positions, [1.0; 3]);
    }

    #[test]
    fn rtc_keeps_frozen_knots_and_ramps_the_next() {
        let mut reference = trajectory(10, &[1.0; 8]);
        freeze(&mut reference, &trajectory(8, &[0.25; 20]), Frozen { until: 12, ramped_until: 16 });
        assert_eq!(&reference.positions[..3], [0.25; 3]);
        assert_eq!(&reference.positions[6..], [1.0; 2]);
        assert!(reference.positions.windows(2).all(|pair| pair[0] <= pair[1]));
        let half = 0.25 + 0.75 * (1.0 - 0.5 * (0.5f64.exp() - 1.0) / (E - 1.0));
        assert!((reference.positions[4] - half).abs() < 1e-12);
    }

    #[test]
    fn ensemble_weighs_the_oldest_most_and_forgets_what_is_over() {
        let mut window = EnsembleWindow::default();
        window.push(&trajectory(0, &[5.0; 3]));
        window.push(&trajectory(5, &[0.0; 10]));
        let newest = trajectory(7, &[1.0; 10]);
        window.push(&newest);
        assert_eq!(window.references.len(), 2, "the first was over");
        let mut reference = newest.clone();
        window.average(&mut reference, 0.5, Span::ZERO);
        let share = (-0.5f64).exp() / (1.0 + (-0.5f64).exp());
        assert!((reference.positions[0] - share).abs() < 1e-12);
        assert_eq!(reference.positions[9], 1.0, "the newest alone has the last samples");
    }

    #[test]
    fn a_member_fades_out_before_its_end() {
        let mut window = EnsembleWindow::default();
        window.push(&trajectory(0, &[0.0; 11]));
        let newest = trajectory(2, &[1.0; 20]);
        window.push(&newest);
        let mut reference = newest.clone();
        window.average(&mut reference, 0.0, Span::from_nanos(5 * SAMPLE_PERIOD.nanos()));
        assert_eq!((reference.positions[0], reference.positions[8]), (0.5, 1.0));
        let jumps = reference.positions.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(jumps.fold(0.0, f64::max) < 0.2);
    }
}
