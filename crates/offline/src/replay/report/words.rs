//! The words of the report.

/// Word and meaning.
pub(super) const WORDS: &[(&str, &str)] = &[
    (
        "cycle",
        "One inference time. It makes a chunk, or is counted as violation, refused, unchanged, stopped or waiting.",
    ),
    ("observation", "The newest usable message of every input at a cycle."),
    ("chunk", "The policy's answer to one observation: rows of positions, one row a time step. Not yet a motion."),
    ("late row", "A row that was already due when the chunk was published."),
    (
        "joined trajectory",
        "What the robot's controller is commanded: the rows of one chunk after the other, joined without a jump and kept within the limits. \
         It comes from the code that the node runs.",
    ),
    ("hand-over", "A new chunk takes over from the trajectory before. The parameter handover.mode says how."),
    ("limit met", "Position, velocity, acceleration or jerk limits held a joint back from the rows of a chunk."),
    ("clamped", "A row beyond a position limit was set to the limit."),
    ("rest", "The stop at the end of every trajectory: without a new chunk the robot comes to rest there."),
    ("braking", "The robot is brought to rest, for a violation, or because no new chunk came in time."),
    (
        "violation",
        "An input was missing, too old, frozen, stuck or out of step. inputs.on_violation says what the robot does.",
    ),
    ("refused", "The inference failed, or its chunk must not be used, for example because all its rows are late."),
    (
        "unchanged",
        "No input, instruction, seed or step count changed since the last chunk, so nothing was inferred. No fault.",
    ),
    ("stopped", "The motion was stopped (on_violation: stop) until an operator resumes it, so nothing was inferred."),
    ("waiting for inputs", "At the start an input had not arrived yet. No fault."),
    (
        "replaced unused",
        "Good messages that a newer one replaced before an inference used them. No fault of a fast input.",
    ),
];
