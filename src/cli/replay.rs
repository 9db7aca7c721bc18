//! `vla-trt replay`
use super::Outcome;

/// Run a policy over a recorded bag, without ROS.
#[derive(clap::Args, Debug)]
pub struct Replay {}

/// Runs the command.
///
/// # Errors
pub fn run(_args: &Replay) -> anyhow::Result<Outcome> {
    Ok(Outcome::Success)
}
