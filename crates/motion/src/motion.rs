//! From chunks to one motion: each new chunk joins the plan in force, within the joints' bounds, and ends at rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Chunk;
use super::bounds::{JointBounds, LimitCounts, Limited};
use super::error::Error;
use super::grid::{DT, GRID, SET_BACK, hand_over, stamp_of, tick_at, ticks_of};
use super::handover::{self, Frozen, Members, Mode};
use super::pace::{Moving, Pace};
use super::plan::{Plan, Track, hermite};
use super::reference;
use super::turns::unwrap_rows;
use vla_base::time::{Span, Stamp};

/// Knots after which a stop is over whatever happens: a minute.
const LONGEST_STOP: usize = 6000;

/// Knots of the past that are kept: rows of a chunk that are late already are told by them.
const PAST: usize = 300;

/// Plans made so far, by whatever motion: publishers tell by it which of two is newer.
static PLANS: AtomicU64 = AtomicU64::new(0);

/// How chunks become motion. May change from chunk to chunk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MotionSettings {
    /// How a chunk takes over.
    pub mode: Mode,
    /// Time of the blend from the promised motion into the new one.
    pub blend: Span,
    /// `m` of ensemble's weights `exp(-m i)`.
    pub ensemble_decay: f64,
    /// Longest motion without a new chunk, stop included.
    pub max_blind: Span,
    /// Chunks in a row that may meet a limit; the next is refused. `None`: any number.
    pub refuse_after: Option<u64>,
}

impl Default for MotionSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Blend,
            blend: Span::from_nanos(100_000_000),
            ensemble_decay: 0.01,
            max_blind: Span::from_nanos(500_000_000),
            refuse_after: None,
        }
    }
}

impl MotionSettings {
    /// Seconds that a stop may take: half of `max_blind`, so that the other half is motion.
    fn stop_within(&self) -> f64 {
        (self.max_blind.seconds() / 2.0).max(2.0 * DT)
    }
}

/// A chunk about to take over.
#[derive(Clone, Copy, Debug)]
pub struct NewChunk<'a> {
    /// Its rows. Every value is finite.
    pub chunk: &'a Chunk,
    /// When it takes over: the time of publication.
    pub now: Stamp,
    /// Values of it that were brought inside position limits.
    pub clamped: u64,
    /// Measured positions of the joints, in the plan's order: where motion starts when no plan is being followed. `None`: no
    /// fresh measurement.
    pub measured: Option<&'a [f64]>,
    /// Rows frozen and rows ramped, under [`Mode::Rtc`].
    pub frozen: (usize, usize),
}

/// Whether a chunk met a limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Met {
    No,
    /// On the way from rest to the reference alone: the robot may be far from where the policy begins.
    Starting,
    Yes,
}

/// The motion of one robot's joints. Allocates nothing after a few chunks.
#[derive(Debug, Default)]
pub struct Motion {
    names: Arc<[String]>,
    bounds: JointBounds,
    paces: Vec<Pace>,
    columns: Vec<usize>,
    plan: Option<Arc<Plan>>,
    spare: Vec<Arc<Plan>>,
    /// The plan in force as if no stop were in it, from its hand-over to the chunk's end.
    path: Track,
    next_path: Track,
    /// What was commanded before the plan in force took over, as far back as a chunk may have been observed.
    past: Track,
    reference: Track,
    /// Measured positions, at rest, when there is no plan.
    still: Track,
    states: Vec<Moving>,
    members: Members,
    counts: LimitCounts,
}

impl Motion {
    /// No motion of these joints yet, without bounds.
    pub fn new(names: Arc<[String]>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Keeps these bounds from the next chunk on.
    pub fn set_bounds(&mut self, bounds: JointBounds) {
        self.bounds = bounds;
    }

    /// The bounds in force.
    pub fn bounds(&self) -> &JointBounds {
        &self.bounds
    }

    /// What was commanded before the plan in force.
    pub(super) fn past(&self) -> &Track {
        &self.past
    }

    /// Joints.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// The plan in force; it may be over.
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        self.plan.as_ref()
    }

    /// How often limits were met.
    pub fn counts(&self) -> &LimitCounts {
        &self.counts
    }

    /// Discards the plan: the next motion starts at the measured positions, and limits that were met before do not count.
    pub fn forget(&mut self) {
        self.discard();
        self.counts.chunks_in_a_row = 0;
    }

    fn discard(&mut self) {
        self.spare.extend(self.plan.take());
        self.members.clear();
        self.past.restart(0, self.names.len());
    }

    /// Whether no plan is being followed at `now`: there is none, or it has come to rest.
    pub fn is_over(&self, now: Stamp) -> bool {
        self.plan.as_ref().is_none_or(|plan| now >= plan.end())
    }

    /// Position that a plan commands a joint at `at`, while that plan is being followed.
    pub fn followed(&self, at: Stamp, joint: usize) -> Option<f64> {
        if self.is_over(at) { None } else { self.commanded(at, joint) }
    }

    /// Unwraps the rows of continuous joints, beginning at `from(joint)`, or where the joint is commanded to be when the first row
    /// is due.
    pub fn unwrap(&self, chunk: &mut Chunk, from: impl Fn(usize) -> Option<f64>) {
        let first = chunk.due(0);
        unwrap_rows(chunk, &self.bounds, |joint| from(joint).or_else(|| self.followed(first, joint)));
    }

    /// Position of a joint at `at` that is committed to before a chunk takes over at about `over`: the planned path, or the stop
    /// when that will have begun by then. For a time in the past: what was commanded. `None` after the plan's rows, and when no
    /// plan will be followed any more.
    pub fn promised(&self, at: Stamp, joint: usize, over: Stamp) -> Option<f64> {
        let plan = self.plan.as_ref().filter(|plan| over < plan.end())?;
        let (tick, stops) = (tick_at(at), hand_over(over) > plan.cut);
        let track = match if stops { &plan.track } else { &self.path } {
            // The past ends where the plan begins.
            track if tick < track.first => &self.past,
            track if tick >= track.last() && !stops => return None,
            track => track,
        };
        if joint >= track.joints {
            return None;
        }
        let share = (at - stamp_of(tick)).nanos() as f64 / GRID.nanos() as f64;
        Some(hermite(track.at(tick, joint), track.at(tick + 1, joint), share, DT).0)
    }

    /// Makes the plan that follows a new chunk, from the second knot after its time on. Up to there it is the plan before, while
    /// that is followed; else the joints rest at the measured positions.
    ///
    /// # Errors
    /// [`Error::LimitWidth`] for a chunk of other joints, [`Error::NoStart`] when no plan is followed and no position measured,
    /// [`Error::Limited`] when too many chunks in a row met a limit, [`Error::PlanNotFinite`]. The plan in force stays then, and ends at rest by itself.
    pub fn take(&mut self, new: &NewChunk<'_>, settings: &MotionSettings) -> Result<&Arc<Plan>, Error> {
        reference::joint_columns(new.chunk, &mut self.columns);
        if self.columns.len() != self.names.len() {
            return Err(Error::LimitWidth { limits: self.names.len(), joints: self.columns.len() });
        }
        self.pace(settings);
        let now = self.not_before_the_plan(new.now);
        if self.is_over(now) {
            if new.measured.is_none_or(|positions| positions.len() != self.names.len()) {
                return Err(Error::NoStart { joints: self.names.join(", "), found: "no measurement".to_owned() });
            }
            self.discard();
        }
        let from = hand_over(now);
        let mut outside = new.clamped > 0;
        reference::fill(new.chunk, &self.columns, &self.paces, from, &mut self.reference, |joint| {
            self.counts.add(joint, Limited::Position, 1);
            outside = true;
        });
        self.start(from, new.measured);
        self.join(new, settings, from);
        let met = self.follow(from, settings.blend);
        let cut = self.cut(from, tick_at(now + settings.max_blind));
        let judged = self.judge(if outside { Met::Yes } else { met }, settings);
        if let Err(error) = judged.and_then(|()| self.promise(from, cut, now)) {
            // What is refused has no say in later chunks.
            self.members.pop();
            return Err(error);
        }
        self.plan.as_ref().ok_or(Error::PlanNotFinite)
    }

    /// Brings the joints to rest from the second knot after `now` on; `None` when no plan is being followed: the joints rest, and
    /// where they are commanded to be may not be where they are.
    pub fn hold(&mut self, now: Stamp, settings: &MotionSettings) -> Option<&Arc<Plan>> {
        let now = self.not_before_the_plan(now);
        if self.is_over(now) {
            return None;
        }
        self.pace(settings);
        self.members.clear();
        let from = hand_over(now);
        // It does nothing but stop already: a new stop from here would end later.
        if self.plan.as_ref().is_some_and(|plan| from > plan.cut) {
            return self.plan.as_ref();
        }
        self.start(from, None);
        self.next_path.restart(from, self.names.len());
        for state in &self.states {
            self.next_path.push(state.position, state.velocity);
        }
        self.promise(from, from, now).inspect_err(|error| tracing::error!("no stop: {error}")).ok()?;
        self.plan.as_ref()
    }

    /// `now`, and not before the plan in force was made. When the clock was set back, that plan is forgotten.
    fn not_before_the_plan(&mut self, now: Stamp) -> Stamp {
        match self.plan.as_ref().map(|plan| plan.made) {
            Some(made) if now < made - SET_BACK => {
                self.forget();
                now
            }
            Some(made) => now.max(made),
            None => now,
        }
    }

    fn pace(&mut self, settings: &MotionSettings) {
        let joints = 0..self.names.len();
        self.paces.clear();
        self.paces.extend(joints.map(|joint| Pace::new(self.bounds.of(joint), settings.stop_within())));
        self.counts.resize(self.names.len());
    }

    /// States at the knot of the hand-over: those of the plan in force, else the joints' own at rest.
    fn start(&mut self, from: i64, measured: Option<&[f64]>) {
        let joints = self.names.len();
        let measured = measured.unwrap_or_default();
        self.states.clear();
        self.states.extend((0..joints).map(|joint| {
            let (position, velocity) = match &self.plan {
                Some(plan) => plan.track.at(from, joint),
                None => (measured.get(joint).copied().unwrap_or(f64::NAN), 0.0),
            };
            let before = self.plan.as_ref().map_or(velocity, |plan| plan.track.at(from - 1, joint).1);
            Moving { position, velocity, acceleration: (velocity - before) / DT }
        }));
        self.still.restart(from, joints);
        for state in &self.states {
            self.still.push(state.position, 0.0);
        }
    }

    /// Makes one reference of the new chunk and of what was promised.
    fn join(&mut self, new: &NewChunk<'_>, settings: &MotionSettings, from: i64) {
        let promised = match &self.plan {
            None => &self.still,
            // A plan that has begun to stop is left from its stop.
            Some(plan) if from > plan.cut => &plan.track,
            Some(_) => &self.path,
        };
        let at_rest = self.is_at_rest(from);
        let reference = &mut self.reference;
        if settings.mode != Mode::Ensemble {
            self.members.clear();
        }
        match settings.mode {
            // From rest no mode jumps.
            Mode::Replace if at_rest => handover::blend(reference, promised, settings.blend),
            Mode::Rtc if self.plan.is_none() => handover::blend(reference, promised, settings.blend),
            Mode::Replace => {}
            Mode::Blend => handover::blend(reference, promised, settings.blend),
            Mode::Ensemble => {
                self.members.push(reference);
                self.members.average(reference, settings.ensemble_decay, settings.blend);
                handover::blend(reference, promised, settings.blend);
            }
            Mode::Rtc => {
                let (frozen, ramped) = new.frozen;
                // The policy was told of no rows: it goes its own way.
                if frozen + ramped == 0 {
                    return handover::blend(reference, promised, settings.blend);
                }
                let last = |rows: usize| rows.checked_sub(1).map_or(from, |row| tick_at(new.chunk.due(row)));
                let until = last(frozen).max(from);
                // Few rows may be left of what was promised; a ramp over none would be a jump.
                let ramp = (last(frozen + ramped) - last(frozen)).max(ticks_of(settings.blend));
                handover::freeze(reference, promised, Frozen { until, ramped_until: until + ramp });
            }
        }
    }

    /// Whether nothing moves from this knot on.
    fn is_at_rest(&self, from: i64) -> bool {
        self.plan.as_ref().is_none_or(|plan| from >= plan.track.last())
    }

    /// Follows the reference within the bounds, and tells whether one was met. A start from rest is over with the first knot after
    /// the blend that no bound held back.
    fn follow(&mut self, from: i64, blend: Span) -> Met {
        let joints = self.names.len();
        let blended = from + ticks_of(blend);
        let mut starting = self.is_at_rest(from);
        let reference = &self.reference;
        self.next_path.restart(from, joints);
        for state in &self.states {
            self.next_path.push(state.position, state.velocity);
        }
        let mut met = Met::No;
        for tick in from + 1..=reference.last() {
            let (before, after) = (tick - 1, (tick + 1).min(reference.last()));
            let seconds = (after - before) as f64 * DT;
            let mut held_back = false;
            for (joint, (state, pace)) in self.states.iter_mut().zip(&self.paces).enumerate() {
                let position = reference.at(tick, joint).0;
                let velocity = (reference.at(after, joint).0 - reference.at(before, joint).0) / seconds;
                let (next, limited) = pace.follow(*state, position, velocity);
                // The row's own values were counted where they were brought inside.
                if let Some(kind) = limited {
                    self.counts.add(joint, kind, 1);
                    held_back |= kind != Limited::Jerk;
                }
                *state = next;
                self.next_path.push(next.position, next.velocity);
            }
            starting &= held_back || tick < blended;
            if held_back {
                met = met.max(if starting { Met::Starting } else { Met::Yes });
            }
        }
        met
    }

    /// A start from rest counts for nothing here: a robot that was refused would never be let go again.
    fn judge(&mut self, met: Met, settings: &MotionSettings) -> Result<(), Error> {
        self.counts.chunks += u64::from(met != Met::No);
        match met {
            Met::No => self.counts.chunks_in_a_row = 0,
            Met::Starting => {}
            Met::Yes => self.counts.chunks_in_a_row += 1,
        }
        match settings.refuse_after {
            Some(limit) if met == Met::Yes && self.counts.chunks_in_a_row > limit => {
                self.counts.refused += 1;
                Err(Error::Limited { chunks: self.counts.chunks_in_a_row, limit, worst: self.worst() })
            }
            _ => Ok(()),
        }
    }

    /// The joint that met limits most often.
    fn worst(&self) -> String {
        let count = |joint: &usize| self.counts.of(*joint).iter().sum::<u64>();
        let worst = (0..self.names.len()).max_by_key(count);
        worst.and_then(|joint| self.names.get(joint)).cloned().unwrap_or_default()
    }

    /// The last knot of the path from which every joint comes to rest by `end`; the first when there is none.
    fn cut(&self, from: i64, end: i64) -> i64 {
        let steps = |tick: i64| {
            let of_joint = |(joint, pace): (usize, &Pace)| pace.stopping_steps(self.next_path.at(tick, joint).1);
            self.paces.iter().enumerate().map(of_joint).max().unwrap_or(0)
        };
        let mut cut = self.next_path.last().min(end);
        while cut > from && cut + steps(cut) > end {
            cut -= 1;
        }
        cut.max(from)
    }

    /// Puts the plan in force: the one before up to `from`, the new path up to `cut`, then the stop.
    fn promise(&mut self, from: i64, cut: i64, now: Stamp) -> Result<(), Error> {
        let joints = self.names.len();
        let mut shared = self.spare_plan();
        // Nobody else holds a spare plan.
        if let Some(plan) = Arc::get_mut(&mut shared) {
            plan.names.clone_from(&self.names);
            let track = &mut plan.track;
            track.restart(tick_at(now).min(from - 1), joints);
            let before = self.plan.as_ref().map_or(&self.still, |plan| &plan.track);
            (track.first..from).for_each(|tick| track.push_row(before, tick));
            (from..=cut).for_each(|tick| track.push_row(&self.next_path, tick));
            stop(&self.paces, track, &mut self.states);
            (plan.cut, plan.from, plan.made) = (cut, from, now);
            plan.sequence = PLANS.fetch_add(1, Ordering::Relaxed) + 1;
            if !plan.is_finite() {
                self.spare.push(shared);
                return Err(Error::PlanNotFinite);
            }
        }
        self.remember(from);
        std::mem::swap(&mut self.path, &mut self.next_path);
        self.spare.extend(self.plan.take());
        self.plan = Some(shared);
        Ok(())
    }

    /// Keeps what the plan in force commands up to the knot `until`, at which another takes over.
    fn remember(&mut self, until: i64) {
        let (past, joints) = (&mut self.past, self.names.len());
        let track = self.plan.as_ref().map_or(&self.still, |plan| &plan.track);
        if past.rows() > 0 && past.last() >= until && past.first <= until {
            // Both plans are the same up to there.
            past.keep_first((until - past.first) as usize);
        }
        if past.rows() == 0 || past.last() >= until || until - past.last() > PAST as i64 {
            past.restart((track.first.max(until - PAST as i64)).min(until), joints);
        }
        (past.last() + 1..=until).for_each(|tick| past.push_row(track, tick));
        past.keep_last(PAST);
    }

    /// A plan that nobody reads any more, or a new one.
    fn spare_plan(&mut self) -> Arc<Plan> {
        let unread = self.spare.iter_mut().position(|plan| Arc::get_mut(plan).is_some());
        unread.map_or_else(Arc::default, |index| self.spare.swap_remove(index))
    }
}

/// Appends the stop from the last row on.
fn stop(paces: &[Pace], track: &mut Track, states: &mut [Moving]) {
    let last = track.last();
    for (joint, state) in states.iter_mut().enumerate() {
        let (position, velocity) = track.at(last, joint);
        *state = Moving { position, velocity, acceleration: 0.0 };
    }
    let (mut steps, start) = (0, last);
    while states.iter().any(|state| state.velocity != 0.0) {
        steps += 1;
        for (joint, (state, pace)) in states.iter_mut().zip(paces).enumerate() {
            let deceleration = pace.braking(track.at(start, joint).1);
            *state = pace.brake(*state, deceleration);
            if steps >= LONGEST_STOP {
                state.velocity = 0.0;
            }
        }
        for state in states.iter() {
            track.push(state.position, state.velocity);
        }
    }
}

#[cfg(test)]
mod tests;
