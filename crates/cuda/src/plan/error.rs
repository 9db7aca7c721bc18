//! Why there is no plan.

/// Why a program has no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The program contradicts itself, or a symbol has no value that it can have.
    #[error("the list of operations: {0}; export the policy again with this version")]
    Program(String),
    /// An operation that no kernel runs.
    #[error("operation {operation} ({name}): {reason}; export the policy again with this version")]
    Operation {
        /// Its number in the program.
        operation: usize,
        /// Its kind.
        name: &'static str,
        /// What is wrong: expected, found.
        reason: String,
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
    /// Addresses or dimensions are missing.
    #[error("expected {expected} {what}, found {found}")]
    Count {
        /// Inputs or outputs.
        what: &'static str,
        /// As many as the program has.
        expected: usize,
        /// As many as given.
        found: usize,
    },
}

/// Reason of a [`PlanError::Operation`] whose number is known later.
pub(super) type Reason = String;
