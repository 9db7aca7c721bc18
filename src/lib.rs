//! The ROS 2 node: topics, parameters, services and diagnostics around [`vla_runtime::session`]. The only user of r2r.
//!
//! Threads: r2r's node spins on one; tokio tasks drain one topic or serve one service each;
//! one thread owns the policy, one watches the motion and one streams commands. Between them there are latest-value slots and
//! one short list of calls, and no lock is held over inference.

pub mod args;
mod call_queue;
mod clock;
mod console;
mod context;
mod convert;
mod description_topic;
mod diagnostics;
mod error;
mod graph;
mod inference;
mod latest;
mod level;
mod logging;
mod operator;
mod parameters;
mod phase;
mod policy_files;
mod publishers;
mod realtime;
mod report;
mod requests;
mod respond;
mod rosout;
mod services;
mod shared_memory;
mod shutdown;
mod shutdown_brake;
mod shutdown_reason;
mod signals;
mod spin;
mod startup;
mod stream;
mod subscriptions;
mod threads;
mod ticker;
mod trajectory;
mod watchdog;

use std::time::Duration;

pub use console::Console;
pub use error::Error;
pub use level::Level;
pub use shutdown::Shutdown;

use args::Arguments;
use context::DEFAULT_NAME;
use logging::{Logging, Record};
use shutdown::Running;
use signals::Signals;
use tokio::sync::mpsc;

/// How the node ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why it did not start, or which part of it ended by itself.
    pub result: Result<(), Error>,
    /// Whether every thread is gone.
    pub shutdown: Shutdown,
}

/// Runs the node until SIGINT, SIGTERM or SIGHUP, or until a part of it ends that should not.
pub fn run(arguments: &Arguments) -> Outcome {
    let level = arguments.log_level(DEFAULT_NAME).unwrap_or_default();
    let (logging, records) = Logging::new(level, arguments.console_logs);
    logging.install();
    Logging::log_panics();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Tasks only move bytes and short messages: two workers, whatever the machine.
    let runtime = runtime.worker_threads(2).thread_name("ros").enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => {
            let result = Err(Error::Runtime { what: "the async runtime", source });
            return Outcome { result, shutdown: Shutdown::Clean };
        }
    };
    let outcome = runtime.block_on(async {
        match start(arguments, logging, records) {
            Ok((running, signals)) => until_the_end(running, signals).await,
            Err(error) => Outcome { result: Err(error), shutdown: Shutdown::Clean },
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

fn start(
    arguments: &Arguments,
    logging: Logging,
    records: mpsc::Receiver<Record>,
) -> Result<(Running, Signals), Error> {
    // Before everything else: a signal that comes meanwhile is remembered.
    let signals = Signals::install()?;
    Ok((startup::start(arguments, logging, records)?, signals))
}

async fn until_the_end(mut running: Running, mut signals: Signals) -> Outcome {
    let fault = tokio::select! {
        name = signals.next() => {
            tracing::info!("{name}: shutting down");
            None
        }
        fault = running.fault() => Some(fault),
    };
    let shutdown = running.shut_down(fault.as_ref()).await;
    Outcome { result: fault.map_or(Ok(()), Err), shutdown }
}
