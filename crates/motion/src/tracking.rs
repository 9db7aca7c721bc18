//! How far the joints are from what they are commanded.

use super::bounds::JointKind;
use super::grid::{DT, GRID, stamp_of, tick_at};
use super::measured::Measured;
use super::motion::Motion;
use super::plan::hermite;
use vla_base::time::{Span, Stamp};

/// Time by which a controller may lag behind its commands: transport, its own cycle and the way of the joint state back.
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
             {error:.3} {unit}, allowed {allowed:.3} {unit} (limits.{joint}.tracking_error); is it blocked or moved by hand, or \
             does its controller not follow?"
        )
    }
}

impl Motion {
    /// Position that a joint is commanded, or was commanded, at a time; `None` without a plan.
    pub fn commanded(&self, at: Stamp, joint: usize) -> Option<f64> {
        let plan = self.plan()?;
        let (tick, track) = (tick_at(at), &plan.track);
        if joint >= track.joints {
            return None;
        }
        let knot = |tick: i64| if tick < track.first { self.past() } else { track }.at(tick, joint);
        let share = (at - stamp_of(tick)).nanos() as f64 / GRID.nanos() as f64;
        Some(hermite(knot(tick), knot(tick + 1), share, DT).0)
    }

    /// The joint that is furthest beyond its allowed tracking error. A measured position is compared with every position that was
    /// commanded within [`TRACKING_LATENCY`] before its stamp, and the least distance counts.
    pub fn deviation(&self, measured: &Measured) -> Option<Deviation> {
        let mut worst: Option<(usize, f64)> = None;
        for joint in 0..self.names().len() {
            let Some((stamp, position)) = measured.get(joint) else { continue };
            // Nothing is commanded any more, or what was is forgotten: an old sample is for the age of the input to find.
            if self.is_over(stamp) || !self.remembers(stamp) {
                continue;
            }
            let error = self.tracking_error(stamp, joint, position)?;
            let excess = error - self.bounds().of(joint).tracking_error();
            if excess > 0.0 && worst.is_none_or(|(_, most)| excess > most) {
                worst = Some((joint, excess));
            }
        }
        let (joint, _) = worst?;
        let (bounds, (stamp, measured)) = (self.bounds().of(joint), measured.get(joint)?);
        Some(Deviation {
            joint: self.names().get(joint)?.clone(),
            planned: self.commanded(stamp, joint)?,
            measured,
            error: self.tracking_error(stamp, joint, measured)?,
            allowed: bounds.tracking_error(),
            kind: bounds.kind,
        })
    }

    /// Whether it is known what was commanded at a time.
    fn remembers(&self, at: Stamp) -> bool {
        let first = self.plan().map_or(i64::MAX, |plan| plan.track.first);
        let past = self.past();
        tick_at(at) >= if past.rows() > 0 { past.first.min(first) } else { first }
    }

    /// Distance of a position from the band of positions commanded within [`TRACKING_LATENCY`] before `stamp`.
    fn tracking_error(&self, stamp: Stamp, joint: usize, position: f64) -> Option<f64> {
        let oldest = stamp - TRACKING_LATENCY;
        let ends = [self.commanded(oldest, joint)?, self.commanded(stamp, joint)?];
        let knots = (tick_at(oldest) + 1..=tick_at(stamp)).filter_map(|tick| self.commanded(stamp_of(tick), joint));
        let (low, high) = knots.chain(ends).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), commanded| {
            (low.min(commanded), high.max(commanded))
        });
        Some((low - position).max(position - high).max(0.0))
    }
}
