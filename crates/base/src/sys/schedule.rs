//! Scheduling of the calling thread.

use std::io;

/// Gives the calling thread a real-time priority (`SCHED_FIFO`), ahead of all threads with a lower one or none.
///
/// # Errors
/// The system's error: without the limit `rtprio` or `CAP_SYS_NICE`, and for a priority outside 1 to 99.
pub fn run_as_real_time(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: the handle is the calling thread's own, and the parameters are only read.
    let code = unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_FIFO, &raw const parameters) };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_in_force_or_refused_with_the_reason() {
        // Fields 40 and 41 of `man 5 proc`, counted after the name.
        let fields = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("a file of /proc");
            let rest = stat.rsplit_once(')').expect("a name").1;
            let field = |number: usize| rest.split_whitespace().nth(number - 3).and_then(|word| word.parse().ok());
            (field(40).unwrap_or(-1), field(41).unwrap_or(-1))
        };
        match run_as_real_time(7) {
            Ok(()) => assert_eq!(fields(), (7, libc::SCHED_FIFO)),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                assert_eq!(fields().1, libc::SCHED_OTHER);
            }
        }
        assert_eq!(run_as_real_time(100).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidInput));
    }
}
