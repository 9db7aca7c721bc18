//! The ROS 2 node `vla_trt_node`: topics, parameters, services and diagnostics around [`vla_runtime::session`].
//!
//! In: camera frames, joint states, poses and an instruction from topics; parameters; service calls. Out: `~/action_chunk`,
//! `~/joint_trajectory`, `~/joint_command`, `/diagnostics` and `/rosout`. The only user of r2r; the robot logic is in
//! [`vla_runtime`] and runs without ROS, too (`vla-trt replay`).
//!
//! Threads: one spins r2r's node; one owns the policy; the watchdog checks the motion every 10 ms; one streams commands. Tokio tasks
//! drain one topic or serve one service each; one carries out the transitions of the life cycle, one runs the tasks of `~/run`. Threads share latest-value slots and one short request queue; no lock is held over an
//! inference.
//!
//! [`run`] runs the node until its `shutdown` future ends. The binary owns what is global to the process: the async runtime, the
//! logger and panic hook ([`Logging`]), the signal handlers ([`Signals`]) and the standard streams ([`Console`]).

pub mod args;
mod call_queue;
pub mod check;
mod clock;
mod console;
mod context;
mod convert;
mod description_topic;
mod diagnostics;
mod error;
mod graph;
mod inference;
mod latched;
mod latest;
mod level;
mod lifecycle;
mod logging;
mod operator;
mod outputs;
mod parameters;
mod phase;
mod policy_files;
mod publishers;
mod realtime;
mod recording;
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
mod task;
mod threads;
mod ticker;
mod watchdog;

use std::future::Future;

pub use console::Console;
pub use context::DEFAULT_NAME;
pub use error::Error;
pub use level::Level;
pub use logging::{Logging, Records};
pub use shutdown::Shutdown;
pub use signals::Signals;

use args::Arguments;

/// How the node ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why it did not start, or which part of it ended by itself.
    pub result: Result<(), Error>,
    /// Whether every thread has ended.
    pub shutdown: Shutdown,
}

impl Outcome {
    /// The node did not start; none of its threads is running.
    pub fn not_started(error: Error) -> Self {
        Self { result: Err(error), shutdown: Shutdown::Clean }
    }
}

/// Runs the node until `shutdown` ends, with the reason for the log, or until a thread or task ends that should not. Then brakes the
/// robot and ends every thread. Call it inside a multi-threaded tokio runtime.
///
/// `records` is the queue of `logging`, which the node publishes on /rosout.
pub async fn run(
    arguments: &Arguments,
    logging: Logging,
    records: Records,
    shutdown: impl Future<Output = &'static str>,
) -> Outcome {
    let mut running = match startup::start(arguments, logging, records) {
        Ok(running) => running,
        Err(error) => return Outcome::not_started(error),
    };
    let fault = tokio::select! {
        reason = shutdown => {
            tracing::info!("{reason}: shutting down");
            None
        }
        fault = running.fault() => Some(fault),
    };
    let shutdown = running.shut_down(fault.as_ref()).await;
    Outcome { result: fault.map_or(Ok(()), Err), shutdown }
}
