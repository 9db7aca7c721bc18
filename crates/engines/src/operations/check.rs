//! What an engine relies on in a program.

use super::{FORMAT, Program};

/// See [`Program::check`].
pub(super) fn check(program: &Program) -> Result<(), String> {
    if program.format != FORMAT {
        return Err(format!("expected format {FORMAT}, found {}", program.format));
    }
    Ok(())
}
