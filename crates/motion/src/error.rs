//! Why a chunk was refused.

use vla_base::time::{Span, Stamp};

/// Errors of the chunk room. Each names what was expected and what was found.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Values that do not fill rows and joints.
    #[error("chunk: expected {rows} rows of {joints} joints, at least one of each, found {values} values")]
    Shape {
        /// Rows.
        rows: usize,
        /// Joint names.
        joints: usize,
        /// Values.
        values: usize,
    },
    /// A step that does not lead forward.
    #[error("chunk: expected a step above zero from row to row, found {} ms; set action.step_s", .step.millis())]
    Step {
        /// Step found.
        step: Span,
    },
    /// NaN or an infinity among the values.
    #[error("chunk: row {row}, joint `{joint}`: expected a finite position, found {value}; the chunk is not published")]
    NotFinite {
        /// Row.
        row: usize,
        /// Joint.
        joint: String,
        /// Value found.
        value: f32,
    },
    /// Every row was due before it could be published.
    #[error(
        "chunk is wholly late: its {rows} rows were due from {start} to {end}, now is {now}, {} ms after the last; \
         inference takes longer than rows x step covers: use fewer denoising steps, a lower rate_hz or fresher inputs",
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
    /// Limits made for other joints.
    #[error("limits are for {limits} joints, the chunk has {joints}; make them from the chunk's own names")]
    LimitWidth {
        /// Joints of the limits.
        limits: usize,
        /// Joints of the chunk.
        joints: usize,
    },
    /// Limits are to come from a robot description, and there is none yet.
    #[error(
        "no robot description yet: none has come on {from}, and nothing moves without its limits; is it published there?"
    )]
    NoDescription {
        /// The parameter and what it names.
        from: String,
    },
    /// Limits that cannot be kept; every problem.
    #[error("limits: {}", .problems.join("; "))]
    Limits {
        /// One line a problem.
        problems: Vec<String>,
    },
    /// A chunk that covers less time than it should.
    #[error(
        "a chunk covers {} ms ({rows} rows of {} ms), which is less than {} ms, twice the sum of latency ({} ms) and period \
         ({} ms): a chunk that is lost or late leaves a gap; use fewer denoise.steps or a faster engine, a higher rate_hz \
         (0: as fast as useful), or a longer action.step_s",
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
    /// No measured position to start at.
    #[error(
        "motion starts at the measured positions of {joints}: expected a fresh one of each, found {found}; does the driver \
         publish all of them on inputs.joints.topic?"
    )]
    NoStart {
        /// Joints that are moved.
        joints: String,
        /// What was found instead.
        found: String,
    },
    /// A joint state that changed by a turn.
    #[error("{0}; the chunk does not move the robot")]
    TurnJump(String),
    /// An observation that is not made yet.
    #[error(
        "the observation ({observation}) is {} ms ahead of the clock ({now}), {} ms are allowed (inputs.future_tolerance_ms): \
         the clock was set back meanwhile, or the clocks of sensor and node differ; the next one goes on",
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
    #[error("the clock was set back from {before} to {now}; the next chunk goes on once the robot is at rest")]
    SetBack {
        /// Time of publication.
        now: Stamp,
        /// What it showed before.
        before: Stamp,
    },
    /// The node ends.
    #[error("the node ends: nothing moves any more")]
    Ending,
    /// Stopped.
    #[error("stopped: nothing moves until ~/resume is called")]
    Stopped,
    /// An observation from before a hold, or from before the end of a stop.
    #[error("the observation ({observation}) is from before the motion was held ({held}); the next fresh one goes on")]
    BeforeHold {
        /// Stamp of the observation.
        observation: Stamp,
        /// When it was held, or came to rest.
        held: Stamp,
    },
    /// Too many chunks met limits.
    #[error(
        "{chunks} chunks in a row met a limit, at most {limit} may (clamps.refuse_after); most often joint `{worst}`: is the \
         policy made for this robot, and are limits.{worst} right?"
    )]
    Limited {
        /// In a row, this one included.
        chunks: u64,
        /// Allowed.
        limit: u64,
        /// Joint that met limits most often.
        worst: String,
    },
    /// The motion could not be computed.
    #[error("the plan holds a value that is not finite; it is not published, and the one before ends at rest")]
    PlanNotFinite,
    /// A robot description that cannot be used.
    #[error("robot description: {reason}")]
    Urdf {
        /// What is wrong and where.
        reason: String,
    },
}

fn covered(rows: usize, step: Span) -> f64 {
    step.millis() * rows as f64
}
