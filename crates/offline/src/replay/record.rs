//! Record of a replay, for its summary and report.

use std::sync::Arc;
use std::time::Duration;

use vla_base::time::{Span, Stamp};
use vla_messages::JointStateView;
use vla_motion::ClampCounts;
use vla_policy::observation::{InputStatistics, Violation};
use vla_runtime::parameters::Settings;
use vla_runtime::session::Session;

/// One published chunk.
#[derive(Clone, Debug)]
pub struct ChunkRecord {
    /// Log time of the inference.
    pub at: Stamp,
    /// Due time of row 0.
    pub start: Stamp,
    /// Time between rows.
    pub step: Span,
    /// Rows that were late at publication.
    pub late_rows: u32,
    /// `[rows, joints]`, rad or m; pose columns in the unit of their name.
    pub values: Vec<f32>,
    /// Age of each stamped input at the inference, in the order of [`Record::input_names`].
    pub ages: Vec<Span>,
    /// Values clamped to position limits.
    pub clamped: ClampCounts,
    /// Wall-clock times of this inference.
    pub encode: Duration,
    /// One a stage, in run order.
    pub stages: Vec<Duration>,
    /// Output to joint positions.
    pub decode: Duration,
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
}

/// Everything that one replay shows.
#[derive(Debug, Default)]
pub struct Record {
    /// Names of the columns of chunks and states: joints, and pose columns, of which there is no state.
    pub joints: Vec<String>,
    /// Stamped inputs in the order of [`ChunkRecord::ages`].
    pub input_names: Vec<String>,
    /// Stages in run order.
    pub stages: Vec<String>,
    /// Name and fingerprint of the policy.
    pub policy: (String, String),
    /// Chunks in order.
    pub chunks: Vec<ChunkRecord>,
    /// Joint positions over log time; NaN where a message lacked the joint.
    pub states: Vec<(Stamp, Vec<f64>)>,
    /// Violations and refusals in order.
    pub events: Vec<Event>,
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
}

impl Record {
    /// An empty record of a replay of this session's policy under these settings.
    pub fn new(session: &Session, settings: &Settings) -> Self {
        let policy = session.policy();
        let spec = policy.spec();
        Self {
            policy: (spec.name.clone(), spec.fingerprint.clone()),
            stages: spec.stage_names(),
            joints: policy.columns().to_vec(),
            moved: session.control().joints(),
            input_names: settings
                .inputs
                .iter()
                .filter(|input| input.kind.is_stamped())
                .map(|input| input.name.clone())
                .collect(),
            ..Self::default()
        }
    }

    /// Takes down a published chunk.
    pub fn chunk(&mut self, chunk: ChunkRecord) {
        self.chunks.push(chunk);
    }

    /// Takes down a cycle without a chunk.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Takes down a cycle before every input had come once.
    pub fn waiting(&mut self, violation: &Violation) {
        self.waiting += 1;
        self.waited_for = violation.to_string();
    }

    /// Takes down the positions of the commanded joints.
    pub fn joint_state(&mut self, at: Stamp, state: &JointStateView<'_>) {
        let position = |joint: &String| {
            let index = state.names().position(|name| name == joint);
            index.and_then(|index| state.position(index)).unwrap_or(f64::NAN)
        };
        self.states.push((at, self.joints.iter().map(position).collect()));
    }

    /// Values that were clamped to position limits, of all chunks.
    pub fn clamped(&self) -> ClampCounts {
        let mut all = ClampCounts::default();
        self.chunks.iter().for_each(|chunk| all.add(&chunk.clamped));
        all
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
}
