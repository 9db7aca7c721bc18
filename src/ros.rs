//! The ROS 2 node: topics, parameters, services and diagnostics around [`crate::session`]. The only user of r2r.
//!
//! Threads: r2r's node spins on one; tokio tasks drain one topic or serve one service each;
//! one thread owns the policy, one watches the motion and one streams commands. Between them there are latest-value slots and
//! one short list of calls, and no lock is held over inference.

pub mod args;
mod clock;
mod context;
mod convert;
mod description;
mod diagnostics;
mod error;
mod inference;
mod latest;
mod level;
mod logging;
mod parameters;
mod phase;
mod policy_files;
mod publishers;
mod report;
mod requests;
mod rosout;
mod services;
mod shutdown;
mod spin;
mod startup;
mod stream;
mod subscriptions;
mod ticker;
mod trajectory;
mod watch;

use std::time::Duration;

pub use error::Error;
pub use level::Level;
pub use shutdown::Ended;

use args::Arguments;
use context::DEFAULT_NAME;
use logging::Logging;
use shutdown::Signals;

/// Runs the node until SIGINT or SIGTERM.
///
/// # Errors
/// Whatever keeps it from starting, and a thread that ended by itself.
pub fn run(arguments: &Arguments) -> Result<Ended, Error> {
    let level = arguments.log_level(DEFAULT_NAME).unwrap_or_default();
    let (logging, records) = Logging::new(level, arguments.console_logs);
    logging.install();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Tasks only move bytes and short messages: two workers, whatever the machine.
    let runtime = runtime.worker_threads(2).thread_name("ros").enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { what: "the async runtime", source })?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut running = startup::start(arguments, logging, records)?;
        let failed = tokio::select! {
            name = signals.next() => {
                tracing::info!("{name}: shutting down");
                None
            }
            () = running.spin.ended() => Some(Error::ThreadEnded("spin")),
        };
        let ended = running.shut_down().await;
        failed.map_or(Ok(ended), Err)
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}
