//! The signals that end the node.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::Error;

/// Handlers of SIGINT, SIGTERM and SIGHUP. A signal that arrives before [`Signals::next`] is kept.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where the parent ignores it (`nohup`): the node then outlives its terminal.
    hangup: Option<Signal>,
    /// Held, so that the signal does nothing.
    _file_size: Signal,
}

impl Signals {
    /// Installs the handlers. Call it inside the runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> Result<Self, Error> {
        // A recording that meets `ulimit -f` is a fault of the recording, and not the end of the node.
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let take = |kind| signal(kind).map_err(|source| Error::Runtime { what: "the signal handler", source });
        // Read before the handler replaces it.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup =
            (!ignores(&status, SignalKind::hangup().as_raw_value())).then(|| take(SignalKind::hangup())).transpose()?;
        let file_size = take(file_size)?;
        Ok(Self {
            _file_size: file_size,
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for a signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether a process of this `/proc/<pid>/status` ignores the signal.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_the_parent_has_ignored_is_read_from_the_mask() {
        // As nohup leaves it, and as Rust starts (SIGPIPE, 13).
        assert!(ignores("Name:\tx\nSigIgn:\t0000000000000001\n", 1));
        assert!(!ignores("SigIgn:\t0000000000001000\n", 1));
        assert!(ignores("SigIgn:\t0000000000001000\n", 13));
        assert!(!ignores("", 1));
    }
}
