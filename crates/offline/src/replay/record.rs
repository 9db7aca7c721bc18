//! Record of a replay, for its summary and report. Curves are kept in bounded memory; of a chunk, about 150 bytes and 4 bytes a stage and
//! input remain, and the rows of a few hundred.

use std::sync::Arc;
use std::time::Duration;

use super::source::RecordedActions;
use crate::page::Trace;
use vla_base::time::{Span, Stamp};
use vla_messages::JointStateView;
use vla_motion::{ClampCounts, LimitCounts, MotionLimits, MotionPlan};
use vla_policy::observation::{InputStatistics, Violation};
use vla_runtime::parameters::Settings;
use vla_runtime::session::{BrakeResponse, Control, PublishedChunk, Session};

mod followed;
mod moments;
mod motion;
mod rows;
mod run;

pub use followed::Followed;
pub use moments::{Claim, KeptMoment, MomentKind};
pub use motion::{HeldBack, JointRecord, Jump, LIMIT_KINDS, MotionRecord, Stop, limit_word};
pub use rows::{KeptRows, Rows};
pub use run::Run;

/// One published chunk.
#[derive(Clone, Debug)]
pub struct ChunkRecord {
    /// Log time of the inference.
    pub at: Stamp,
    /// Rows that were late at publication.
    pub late_rows: u32,
    /// Values clamped to position limits.
    pub clamped: u64,
    /// Age of each stamped input at the inference, in ms, in the order of [`Record::input_names`].
    pub ages: Box<[f32]>,
    /// Wall-clock times of the parts of this inference, in ms, in the order of [`Record::parts`].
    pub parts: Box<[f32]>,
    /// All of it.
    pub total: Duration,
}

/// A cycle without a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Log time.
    pub at: Stamp,
    /// `violation` or `refused`.
    pub kind: &'static str,
    /// Affected inputs, each with its problem.
    pub inputs: Vec<(String, &'static str)>,
    /// The whole text.
    pub text: String,
}

impl Event {
    /// An observation that broke a rule.
    pub fn violation(at: Stamp, violation: &Violation) -> Self {
        let inputs = violation.breaches.iter().map(|breach| (breach.input.to_string(), breach.word())).collect();
        Self { at, kind: "violation", inputs, text: violation.to_string() }
    }

    /// A chunk that was refused.
    pub fn refusal(at: Stamp, text: &str) -> Self {
        Self { at, kind: "refused", inputs: Vec::new(), text: text.to_owned() }
    }

    /// Whether it is of the same cause.
    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.inputs == other.inputs
    }
}

/// Cycles without a chunk that are no fault: their times in s of the record.
#[derive(Clone, Debug, Default)]
pub struct QuietCycles {
    /// The observation was the last one's.
    pub unchanged: Vec<f64>,
    /// The robot was stopped.
    pub stopped: Vec<f64>,
    /// An input had not arrived yet.
    pub waiting: Vec<f64>,
}

/// Everything that one replay shows. Times in s count from [`Record::origin`].
#[derive(Debug, Default)]
pub struct Record {
    /// What was run.
    pub run: Run,
    /// Time 0 of the record.
    pub origin: Option<Stamp>,
    /// Names of the columns of chunks and states: joints, and pose columns, of which there is no state.
    pub joints: Vec<String>,
    /// Stamped inputs in the order of [`ChunkRecord::ages`].
    pub input_names: Vec<String>,
    /// Parts of an inference in run order: encoding, stages, the rest of the engines' time, decoding.
    pub parts: Vec<String>,
    /// Chunks in order.
    pub chunks: Vec<ChunkRecord>,
    /// Rows of the chunks that are drawn.
    pub rows: KeptRows,
    /// Measured position of each column, in the order of [`Record::joints`], over s.
    pub states: Vec<Trace>,
    /// The trajectory that the controller would have been commanded.
    pub motion: MotionRecord,
    /// Rows compared with the recorded actions or with the joint states that followed, in the order of [`Record::joints`].
    pub followed: Vec<Followed>,
    /// Rows were compared with the actions of a data set.
    pub has_actions: bool,
    /// What the cameras showed at the moments that matter.
    pub moments: Vec<KeptMoment>,
    /// Violations and refusals in order.
    pub events: Vec<Event>,
    /// Times of cycles that made no chunk and are no fault.
    pub quiet: QuietCycles,
    /// Cycles whose observation was the last one's.
    pub unchanged: u64,
    /// Cycles while stopped.
    pub stopped: u64,
    /// Cycles before every input had arrived once, and the inputs missing in the last of them.
    pub waiting: u64,
    /// See there.
    pub waited_for: String,
    /// Joints that may be moved, in the order of [`ClampCounts::per_joint`].
    pub moved: Arc<[String]>,
    /// Why there are no trajectories, when no joint may move.
    pub no_trajectories: Option<Arc<str>>,
    /// Counts of every input at the end.
    pub inputs: Vec<InputStatistics>,
    clamped: ClampCounts,
    limited: usize,
    comparison: followed::Comparison,
    pictures: moments::Moments,
    /// The last cycle, and its event where it was one.
    last: Option<Stamp>,
    last_event: Option<Event>,
}

impl Record {
    /// An empty record of a replay of this session's policy under these settings.
    pub fn new(session: &Session, settings: &Settings, latency: Span) -> Self {
        let policy = session.policy();
        let spec = policy.spec();
        let moved = session.control().joints();
        let none = Arc::new(MotionLimits::default());
        let limits = settings.limits.as_ref().unwrap_or(&none);
        let stages = spec.stage_names();
        let parts =
            ["encode".to_owned()].into_iter().chain(stages).chain(["transfer and wait", "decode"].map(str::to_owned));
        let stamped = settings.inputs.iter().filter(|input| input.kind.is_stamped());
        Self {
            run: Run::new(spec, settings, latency),
            parts: parts.collect(),
            joints: policy.columns().to_vec(),
            states: policy.columns().iter().map(|_| Trace::new(motion::STRETCHES)).collect(),
            motion: MotionRecord::new(&moved, limits),
            pictures: moments::Moments::new(&settings.inputs),
            moved,
            input_names: stamped.map(|input| input.name.clone()).collect(),
            ..Self::default()
        }
    }

    /// A time of the record.
    pub fn seconds(&self, at: Stamp) -> f64 {
        (at - self.origin.unwrap_or(at)).seconds()
    }

    /// Takes down a message of a topic of the inputs.
    pub fn message(&mut self, at: Stamp, topic: usize, data: &bytes::Bytes) {
        self.origin.get_or_insert(at);
        self.pictures.message(topic, data);
    }

    /// Takes down the positions of the commanded joints.
    pub fn joint_state(&mut self, at: Stamp, state: &JointStateView<'_>) {
        let position = |joint: &String| {
            let index = state.names().position(|name| name == joint);
            index.and_then(|index| state.position(index)).unwrap_or(f64::NAN)
        };
        let positions: Vec<f64> = self.joints.iter().map(position).collect();
        let seconds = self.seconds(at);
        let measured = self.states.iter_mut().zip(&positions).filter(|(_, position)| position.is_finite());
        measured.for_each(|(trace, position)| trace.push(seconds, *position));
        let stamp = Some(state.header.stamp).filter(|stamp| *stamp != Stamp::default());
        self.comparison.state(stamp.unwrap_or(at), &positions);
    }

    /// Takes down a published chunk with its trajectory. `session` published it.
    pub(super) fn chunk(&mut self, now: Stamp, published: &PublishedChunk<'_>, control: &Control, settings: &Settings) {
        let at = self.cycle(now);
        let (chunk, timings) = (published.chunk, published.timings);
        let mut claims = Vec::new();
        if self.chunks.is_empty() {
            claims.push(Claim { kind: MomentKind::First, rank: 0.0, text: "the first observation".to_owned() });
        }
        if published.trajectory.is_some()
            && let Some(plan) = control.plan()
        {
            let counts = control.status(settings).counts;
            claims.extend(self.hand_over(&plan, published, &counts));
        }
        self.pictures.offer(now, at, claims);
        self.comparison.chunk(chunk);
        self.rows.push(self.seconds(chunk.start), chunk);
        self.run.instruction(at, &published.observation.instruction);
        let millis = |time: Duration| (time.as_secs_f64() * 1e3) as f32;
        let stages = timings.stages.iter().map(|stage| stage.time);
        let parts = [timings.encode].into_iter().chain(stages).chain([timings.overhead(), timings.decode]);
        self.clamped.add(published.clamped);
        self.chunks.push(ChunkRecord {
            at: now,
            late_rows: chunk.late_rows,
            clamped: published.clamped.total,
            ages: published.observation.identity().map(|(_, stamp)| stamp.age_at(now).millis() as f32).collect(),
            parts: parts.map(millis).collect(),
            total: timings.total,
        });
        self.last_event = None;
    }

    /// Takes down a cycle without a chunk, and how the motion responded.
    pub(super) fn event(&mut self, event: Event, brake: &BrakeResponse<'_>, control: &Control) {
        let at = self.cycle(event.at);
        let mut claims = Vec::new();
        if !self.last_event.as_ref().is_some_and(|last| last.is_like(&event)) {
            let kind = if event.kind == "violation" { MomentKind::Violation } else { MomentKind::Refused };
            claims.push(Claim { kind, rank: 0.0, text: event.text.clone() });
        }
        if brake.stop.is_some()
            && let Some(plan) = control.plan()
        {
            let origin = self.origin.unwrap_or(event.at);
            self.motion.stop(&plan, event.at, &event.text, &|stamp| (stamp - origin).seconds());
            let text = format!("the robot is brought to rest ({})", brake.action.as_str());
            claims.push(Claim { kind: MomentKind::Stop, rank: 0.0, text });
        }
        self.pictures.offer(event.at, at, claims);
        self.last_event = Some(event.clone());
        self.events.push(event);
    }

    /// Takes down a cycle whose observation was the last one's.
    pub(super) fn unchanged(&mut self, now: Stamp) {
        self.unchanged += 1;
        let at = self.cycle(now);
        self.quiet.unchanged.push(at);
    }

    /// Takes down a cycle while stopped.
    pub(super) fn stopped(&mut self, now: Stamp) {
        self.stopped += 1;
        let at = self.cycle(now);
        self.quiet.stopped.push(at);
    }

    /// Takes down a cycle before every input had come once.
    pub(super) fn waiting(&mut self, now: Stamp, violation: &Violation) {
        self.waiting += 1;
        self.waited_for = violation.to_string();
        let at = self.cycle(now);
        self.quiet.waiting.push(at);
    }

    /// Takes down the recorded actions of what is replayed next.
    pub(super) fn actions(&mut self, actions: RecordedActions) {
        self.has_actions = true;
        self.comparison.actions(actions);
    }

    /// Takes down that the session starts again, on another recording.
    pub(super) fn restart(&mut self) {
        let origin = self.origin.unwrap_or_default();
        self.motion.restart(self.last.take(), &|stamp| (stamp - origin).seconds());
        self.comparison.restart();
        self.states.iter_mut().for_each(|trace| trace.push(0.0, f64::NAN));
        self.last_event = None;
    }

    /// Completes the record.
    pub(super) fn finish(mut self, no_trajectories: Option<Arc<str>>) -> Self {
        let origin = self.origin.unwrap_or_default();
        self.motion.finish(self.last, &|stamp| (stamp - origin).seconds());
        self.followed = self.comparison.joints().to_vec();
        self.moments = std::mem::take(&mut self.pictures).into_kept();
        self.no_trajectories = no_trajectories;
        self
    }

    /// Values that were clamped to position limits, of all chunks.
    pub fn clamped(&self) -> &ClampCounts {
        &self.clamped
    }

    /// Hand-overs at which a limit was met.
    pub fn limited(&self) -> usize {
        self.limited
    }

    /// Adds the counts of inputs that took their last message.
    pub fn count_inputs(&mut self, counts: &[InputStatistics]) {
        if self.inputs.is_empty() {
            self.inputs = counts.to_vec();
            return;
        }
        self.inputs.iter_mut().zip(counts).for_each(|(all, more)| all.add(more));
    }

    /// Why cycles had no chunk, a line each: the first `most` events, and what was waited for to the end where there were none.
    pub fn reasons(&self, most: usize) -> Vec<String> {
        if self.events.is_empty() && self.chunks.is_empty() && self.waiting > 0 {
            return vec![format!("{} cycles waited for inputs: {}", self.waiting, self.waited_for)];
        }
        let events = self.events.iter().take(most);
        events.map(|event| format!("at {}: {}: {}", event.at, event.kind, event.text)).collect()
    }

    /// The `q`-quantile (0 to 1) of the whole inference's wall-clock time.
    pub fn latency(&self, q: f64) -> Option<Duration> {
        let mut times: Vec<Duration> = self.chunks.iter().map(|chunk| chunk.total).collect();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        times.get((last as f64 * q.clamp(0.0, 1.0)).round() as usize).copied()
    }

    /// Takes down that a chunk takes over; returns why the moment matters.
    fn hand_over(
        &mut self,
        plan: &Arc<MotionPlan>,
        published: &PublishedChunk<'_>,
        counts: &LimitCounts,
    ) -> impl Iterator<Item = Claim> + use<> {
        let origin = self.origin.unwrap_or_default();
        let (jump, held) = self.motion.hand_over(plan, published.chunk, counts, &|stamp| (stamp - origin).seconds());
        let jump = jump.map(|jump| Claim { kind: MomentKind::Jump, rank: jump.seconds, text: jump.to_string() });
        let clamped = published.clamped.total;
        let met = held.total + clamped;
        self.limited += usize::from(met > 0);
        let limit = (met > 0).then(|| {
            let clamped = if clamped > 0 { format!("{clamped} values clamped; ") } else { String::new() };
            Claim { kind: MomentKind::Limit, rank: met as f64, text: format!("{clamped}{held}") }
        });
        jump.into_iter().chain(limit)
    }

    /// Begins a cycle; returns its time in s.
    fn cycle(&mut self, now: Stamp) -> f64 {
        self.origin.get_or_insert(now);
        self.last = Some(now);
        self.seconds(now)
    }
}
