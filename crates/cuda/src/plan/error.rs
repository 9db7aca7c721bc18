//! Why there is no plan.

/// Why a program has no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An operation that no kernel runs, or that contradicts itself.
    #[error("operation {operation} ({name}): {reason}; export the policy again with this version")]
    Operation {
        /// Its number in the program.
        operation: usize,
        /// Its kind.
        name: &'static str,
        /// What is wrong: expected, found.
        reason: String,
    },
    /// A dimension whose value is unknown.
    #[error("dimension {dim}: expected numbers and the symbols {known}, joined by +")]
    Dimension {
        /// The dimension.
        dim: String,
        /// The symbols that have values.
        known: String,
    },
    /// An input whose dimensions contradict the program or another input.
    #[error("input {name}: expected dimensions {expected}, found {found}")]
    Input {
        /// Its name.
        name: String,
        /// As the program says.
        expected: String,
        /// As given.
        found: String,
    },
    /// Addresses are missing.
    #[error("expected {expected} addresses of {what}, found {found}")]
    Addresses {
        /// Inputs or outputs.
        what: &'static str,
        /// As many as the program has.
        expected: usize,
        /// As many as given.
        found: usize,
    },
    /// A value that is input and output, or an output twice.
    #[error("value {value} is an output and also an input or another output; export the policy again with this version")]
    Shared {
        /// Its number.
        value: usize,
    },
}

/// Reason of a [`PlanError::Operation`] whose number is known later.
pub(super) type Reason = String;
