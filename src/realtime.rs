//! Real-time priority of the threads that keep the robot safe and moving (`realtime.priority`).

use vla_base::sys::run_as_real_time;

/// Gives the calling thread this priority; 0 asks for none. A refusal is a warning that says what to set; the thread then runs without it.
pub(crate) fn apply(thread: &str, priority: u8) {
    if priority == 0 {
        return;
    }
    match run_as_real_time(priority) {
        Ok(()) => tracing::info!("the {thread} thread has real-time priority {priority} (SCHED_FIFO)"),
        Err(error) => tracing::warn!(
            "the {thread} thread runs without real-time priority: realtime.priority {priority} was refused ({error}); \
             allow it with `rtprio {priority}` for this user in /etc/security/limits.conf, LimitRTPRIO={priority} of the \
             systemd unit, or --ulimit rtprio={priority} --cap-add SYS_NICE of docker run, then start the node again; or set \
             realtime.priority to 0"
        ),
    }
}
