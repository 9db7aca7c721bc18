//! Immediate end of the process, without exit handlers.

/// Ends the process at once: no exit handlers and no static destructors, which would unload an inference library while a
/// thread still runs in it. Buffered output that was not flushed is lost.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: `_exit` of POSIX takes any status, touches no memory and does not return.
    unsafe { libc::_exit(status.into()) }
}
