//! Why a chunk, its limits or a robot description was refused.

use vla_base::time::{Span, Stamp};

/// Each message names what was expected, what was found and what to change.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values do not fill the rows and columns.
    #[error("chunk: expected {rows} rows of {joints} joints, at least one of each, found {values} values")]
    Shape {
        /// Rows.
        rows: usize,
        /// Joint names.
        joints: usize,
        /// Values.
        values: usize,
    },
    /// The step from row to row is not above zero.
    #[error("chunk: expected a step above zero from row to row, found {} ms; set action.step_s", .step.millis())]
    Step {
        /// Step found.
        step: Span,
    },
    /// A value is NaN or infinite.
    #[error("chunk: row {row}, joint `{joint}`: expected a finite position, found {value}; the chunk is not published")]
    NotFinite {
        /// Row.
        row: usize,
        /// Joint.
        joint: String,
        /// Value found.
        value: f32,
    },
    /// Every row was due before the chunk could be published.
    #[error(
        "every row of the chunk is late: {rows} rows were due from {start} to {end}, now is {now}, {} ms after the last row; \
         inference takes longer than the chunk covers (rows x step): use fewer denoising steps, a faster engine, fresher inputs or a policy with a longer step",
        (*.now - *.end).millis()
    )]
    WhollyLate {
        /// Rows.
        rows: usize,
        /// Due time of the first row.
        start: Stamp,
        /// Due time of the last row.
        end: Stamp,
        /// Time of publication.
        now: Stamp,
    },
    /// The limits are those of other joints.
    #[error(
        "the limits are for {limits} joints, but the chunk has {joints}; make the limits from the names in the chunk"
    )]
    LimitWidth {
        /// Joints of the limits.
        limits: usize,
        /// Joints of the chunk.
        joints: usize,
    },
    /// The limits come from a robot description that has not arrived.
    #[error(
        "no robot description received from {from}; the robot does not move without its limits. Check that the description is \
         published there"
    )]
    NoDescription {
        /// The parameter and what it names.
        from: String,
    },
    /// The limits contradict each other or are missing; every problem.
    #[error("limits: {}", .problems.join("; "))]
    Limits {
        /// One line a problem.
        problems: Vec<String>,
    },
    /// The chunk covers less time than latency and period need.
    #[error(
        "a chunk covers {} ms ({rows} rows of {} ms), which is less than {} ms, twice the sum of latency ({} ms) and period \
         ({} ms): one lost or late chunk leaves a gap in the motion; use fewer denoise.steps or a faster engine, a higher \
         rate_hz (0: one inference after the other), or a longer action.step_s",
        covered(*.rows, *.step), .step.millis(), 2.0 * (.latency.millis() + .period.millis()), .latency.millis(),
        .period.millis()
    )]
    TooShort {
        /// Rows.
        rows: usize,
        /// Time from row to row.
        step: Span,
        /// 95th percentile from observation to publication.
        latency: Span,
        /// From inference to inference.
        period: Span,
    },
    /// There is no fresh measured position to start from.
    #[error(
        "motion starts at the measured positions of {joints}: expected a fresh position of each, found {found}; check that the \
         driver publishes all of them on inputs.joints.topic"
    )]
    NoStart {
        /// Joints that are moved.
        joints: String,
        /// What was found instead.
        found: String,
    },
    /// A column that an output takes is not in the chunk.
    #[error(
        "output `{output}`: expected the column `{column}` in the chunk, found none; restart the node with the policy's keys"
    )]
    NoColumn {
        /// Name of the output.
        output: String,
        /// Column that it takes.
        column: String,
    },
    /// The values of an end effector are no position and rotation.
    #[error(
        "output `{output}`: row {row} of the chunk is no pose: its rotation has no direction; the chunk is not published"
    )]
    NotAPose {
        /// Name of the output.
        output: String,
        /// Row.
        row: usize,
    },
    /// A joint state changed by about a turn.
    #[error("{0}; the chunk does not move the robot")]
    TurnJump(String),
    /// The observation is stamped in the future.
    #[error(
        "the observation ({observation}) is {} ms ahead of the clock ({now}), {} ms are allowed (inputs.future_tolerance_ms): \
         the clock was set back meanwhile, or the clocks of sensor and node differ; motion continues with the next chunk",
        (*.observation - *.now).millis(), .tolerance.millis()
    )]
    FromFuture {
        /// Stamp of the observation.
        observation: Stamp,
        /// Time of publication.
        now: Stamp,
        /// Allowed.
        tolerance: Span,
    },
    /// The clock was set back while a chunk was made.
    #[error(
        "the clock was set back from {before} to {now}; motion continues with the next chunk once the robot is at rest"
    )]
    SetBack {
        /// Time of publication.
        now: Stamp,
        /// What it showed before.
        before: Stamp,
    },
    /// The node is shutting down.
    #[error("the node is shutting down: no chunk moves the robot")]
    Ending,
    /// The motion is suspended.
    #[error("{reason}: no chunk moves the robot")]
    Suspended {
        /// Why.
        reason: std::sync::Arc<str>,
    },
    /// Stopped.
    #[error("stopped: the robot does not move until ~/resume is called")]
    Stopped,
    /// The observation was taken before a hold, or before the end of a stop.
    #[error(
        "observation {observation} was taken before the motion was stopped at {held}, so its chunk is ignored; motion resumes with \
         the next newer observation"
    )]
    BeforeHold {
        /// Stamp of the observation.
        observation: Stamp,
        /// When the motion was held or came to rest.
        held: Stamp,
    },
    /// Too many consecutive chunks met limits.
    #[error(
        "{chunks} chunks in a row met a limit, at most {limit} may (clamps.refuse_after); most often joint `{worst}`: check that \
         the policy was trained for this robot, and limits.{worst}"
    )]
    Limited {
        /// In a row, this one included.
        chunks: u64,
        /// Allowed.
        limit: u64,
        /// Joint that met limits most often.
        worst: String,
    },
    /// The computed plan has a value that is not finite.
    #[error("the new motion plan has a value that is not finite, so it is not published; the plan before ends at rest")]
    PlanNotFinite,
    /// The robot description cannot be used.
    #[error("robot description: {reason}")]
    Urdf {
        /// What is wrong and where.
        reason: String,
    },
}

fn covered(rows: usize, step: Span) -> f64 {
    step.millis() * rows as f64
}
