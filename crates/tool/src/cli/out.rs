//! Standard output and standard error of the commands.
//!
//! `println!` of the standard library panics when nobody reads any more, as in `vla-trt plan my_policy | head -1`. The
//! macros of this room, which have the same names, drop what nobody reads: the command still does its work, and its exit
//! code is that of its work. Output that is lost for another reason, such as a full disk, is an error at the end.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;

/// Why output was lost, when it was and somebody wanted it.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// `print!`, and `println!` with a line's end.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::out::stdout(format_args!($($text)*)) };
}

/// See `print!`.
macro_rules! println {
    () => { $crate::cli::out::stdout(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::out::stdout(format_args!("{}\n", format_args!($($text)*))) };
}

/// See `print!`; to standard error.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::out::stderr(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes to standard output.
pub(crate) fn stdout(text: fmt::Arguments<'_>) {
    keep(io::stdout().lock().write_fmt(text));
}

/// Writes to standard error. There is nowhere to say that it failed.
pub(crate) fn stderr(text: fmt::Arguments<'_>) {
    io::stderr().lock().write_fmt(text).unwrap_or_default();
}

/// What became of standard output.
///
/// # Errors
/// The first one that is no closed pipe.
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
