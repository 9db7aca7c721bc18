//! Standard output and standard error of the commands.
//!
//! `println!` of the standard library panics when the pipe is closed, as in `vla-trt plan my_policy | head -1`. The macros of
//! this module, which have the same names, drop output to a closed pipe: the command completes, and its exit code is
//! unaffected. Output that is lost for another reason, such as a full disk, is an error at the end.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;

/// The first write error other than a closed pipe.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Like the standard library's `print!` and, with a newline, `println!`.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::out::stdout(format_args!($($text)*)) };
}

/// See `print!`.
macro_rules! println {
    () => { $crate::cli::out::stdout(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::out::stdout(format_args!("{}\n", format_args!($($text)*))) };
}

/// See `print!`; writes to standard error.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::out::stderr(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes to standard output.
pub(crate) fn stdout(text: fmt::Arguments<'_>) {
    keep(io::stdout().lock().write_fmt(text));
}

/// Writes to standard error. A failure cannot be reported and is ignored.
pub(crate) fn stderr(text: fmt::Arguments<'_>) {
    io::stderr().lock().write_fmt(text).unwrap_or_default();
}

/// Whether all output was written.
///
/// # Errors
/// The first write error other than a closed pipe.
pub(crate) fn finish() -> io::Result<()> {
    keep(io::stdout().lock().flush());
    LOST.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take().map_or(Ok(()), Err)
}

fn keep(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        LOST.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
    }
}
