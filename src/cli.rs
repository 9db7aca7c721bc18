//! The command line: one file a subcommand, exit codes in one place.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::session;

mod bar;
pub mod export;
pub mod infer;
pub mod make_checkpoint;
pub mod make_demo_policy;
pub mod plan;
pub mod replay;

/// Vision-language-action policies on a robot.
#[derive(Parser, Debug)]
#[command(name = "vla-trt", version, propagate_version = true)]
pub struct Cli {
    /// Print what is done in more detail; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a policy once on arrays and write every named tensor.
    Infer(infer::Infer),
    /// Write a policy from a checkpoint.
    Export(export::Export),
    /// Write a checkpoint with seeded weights.
    MakeCheckpoint(make_checkpoint::MakeCheckpoint),
    /// Write the demo policy.
    MakeDemoPolicy(make_demo_policy::MakeDemoPolicy),
    /// Say what a policy takes of memory and whether it fits, without loading it.
    Plan(plan::Plan),
    /// Run a policy over a recorded bag, without ROS.
    Replay(replay::Replay),
}

/// How a command ended. Usage errors are clap's own: exit code 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Exit code 0.
    Success,
    /// The command ran, and what it checked differs: exit code 3.
    Differs,
    /// What was asked does not fit into memory: exit code 4.
    DoesNotFit,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => ExitCode::SUCCESS,
            Outcome::Differs => ExitCode::from(3),
            Outcome::DoesNotFit => ExitCode::from(4),
        }
    }
}

/// Parses the arguments, runs the command, and turns its result into an exit code; errors go to standard error with
/// their causes, exit code 1.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let result = match cli.command {
        Command::Infer(args) => infer::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Export(args) => export::run(&args),
        Command::MakeCheckpoint(args) => make_checkpoint::run(&args),
        Command::MakeDemoPolicy(args) => make_demo_policy::run(&args),
    };
    match result {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            let session = error.downcast_ref().is_some_and(session::Error::does_not_fit);
            let arrays = error.downcast_ref().is_some_and(crate::infer::Error::does_not_fit);
            if session || arrays { Outcome::DoesNotFit.into() } else { ExitCode::FAILURE }
        }
    }
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("VLA_TRT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
