//! Why a chunk was refused.

use crate::time::{Span, Stamp};

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
    /// Limits that cannot be kept; every problem.
    #[error("limits: {}", .problems.join("; "))]
    Limits {
        /// One line a problem.
        problems: Vec<String>,
    },
    /// A stop without a known position.
    #[error("stop: joint `{joint}`: expected its current position, found {}", found(*.position))]
    StopPosition {
        /// Joint.
        joint: String,
        /// Position; `None` when there is none.
        position: Option<f64>,
    },
}

fn found(position: Option<f64>) -> String {
    position.map_or_else(|| "none".to_owned(), |position| position.to_string())
}
