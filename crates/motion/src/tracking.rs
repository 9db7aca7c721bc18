//! Tracking error: distance between measured and commanded positions.

use super::grid::{DT, SAMPLE_PERIOD, stamp_of, tick_at};
use super::limits::JointKind;
use super::measured::Measured;
use super::motion::Motion;
use super::trajectory::hermite;
use vla_base::time::{Span, Stamp};

/// Time by which a measured position may lag behind its command: transport, controller cycle and the joint state's way back.
pub const TRACKING_LATENCY: Span = Span::from_nanos(200_000_000);

/// A joint that does not follow its plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Deviation {
    /// Name of the joint.
    pub joint: String,
    /// Commanded position at the time of the sample, rad or m.
    pub planned: f64,
    /// Measured position.
    pub measured: f64,
    /// Distance from all positions commanded within [`TRACKING_LATENCY`] before the sample.
    pub error: f64,
    /// Allowed distance.
    pub allowed: f64,
    /// How the joint moves.
    pub kind: JointKind,
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { joint, planned, measured, error, allowed, kind } = self;
        let unit = if *kind == JointKind::Prismatic { "m" } else { "rad" };
        write!(
            f,
            "joint `{joint}` does not follow its plan: measured {measured:.3} {unit}, planned {planned:.3} {unit}, tracking error \
             {error:.3} {unit}, allowed {allowed:.3} {unit} (limits.{joint}.tracking_error); check that the joint is free and that \
             its controller follows the trajectory"
        )
    }
}

impl Motion {
    /// Commanded position of a joint at a time, also in the past; `None` without a plan.
    pub fn commanded(&self, at: Stamp, joint: usize) -> Option<f64> {
        let plan = self.plan()?;
        let (tick, trajectory) = (tick_at(at), &plan.trajectory);
        if joint >= trajectory.joints {
            return None;
        }
        let sample = |tick: i64| if tick < trajectory.first { self.past() } else { trajectory }.at(tick, joint);
        let share = (at - stamp_of(tick)).nanos() as f64 / SAMPLE_PERIOD.nanos() as f64;
        Some(hermite(sample(tick), sample(tick + 1), share, DT).0)
    }

    /// The joint that is furthest beyond its allowed tracking error. A measured position is compared with every position that was
    /// commanded within [`TRACKING_LATENCY`] before its stamp, and the least distance counts.
    pub fn deviation(&self, measured: &Measured) -> Option<Deviation> {
        let mut worst: Option<(usize, f64)> = None;
        for joint in 0..self.names().len() {
            let Some((stamp, position)) = measured.get(joint) else { continue };
            // The plan is over, or the command is no longer known: the age check of the input finds an old sample.
            if self.is_over(stamp) || !self.knows_command_at(stamp) {
                continue;
            }
            let error = self.tracking_error(stamp, joint, position)?;
            let excess = error - self.limits().of(joint).tracking_error();
            if excess > 0.0 && worst.is_none_or(|(_, most)| excess > most) {
                worst = Some((joint, excess));
            }
        }
        let (joint, _) = worst?;
        let (limits, (stamp, measured)) = (self.limits().of(joint), measured.get(joint)?);
        Some(Deviation {
            joint: self.names().get(joint)?.clone(),
            planned: self.commanded(stamp, joint)?,
            measured,
            error: self.tracking_error(stamp, joint, measured)?,
            allowed: limits.tracking_error(),
            kind: limits.kind,
        })
    }

    /// Whether the command of a time is still known.
    fn knows_command_at(&self, at: Stamp) -> bool {
        let first = self.plan().map_or(i64::MAX, |plan| plan.trajectory.first);
        let past = self.past();
        tick_at(at) >= if past.rows() > 0 { past.first.min(first) } else { first }
    }

    /// Distance of a position from the band of positions commanded within [`TRACKING_LATENCY`] before `stamp`.
    fn tracking_error(&self, stamp: Stamp, joint: usize, position: f64) -> Option<f64> {
        let oldest = stamp - TRACKING_LATENCY;
        let ends = [self.commanded(oldest, joint)?, self.commanded(stamp, joint)?];
        let samples = (tick_at(oldest) + 1..=tick_at(stamp)).filter_map(|tick| self.commanded(stamp_of(tick), joint));
        let (low, high) = samples.chain(ends).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), commanded| {
            (low.min(commanded), high.max(commanded))
        });
        Some((low - position).max(position - high).max(0.0))
    }
}
