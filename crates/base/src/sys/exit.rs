//! The end of a process that still has a thread inside somebody else's library.

use std::ffi::c_int;

// SAFETY: `_exit` of POSIX takes any status, touches no memory and does not return.
unsafe extern "C" {
    safe fn _exit(status: c_int) -> !;
}

/// Ends the process at once: no exit handlers and no static destructors, which would pull an inference engine's
/// library from under a thread that is still inside it. What is buffered and not flushed is lost.
pub fn exit_now(status: u8) -> ! {
    _exit(c_int::from(status))
}
