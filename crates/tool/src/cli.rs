//! The command line: one file a subcommand, exit codes in one place.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use vla_runtime::{remedies, session};

// First, because the other modules use its macros.
#[macro_use]
mod out;

mod absmax;
mod bar;
mod bench;
mod build;
mod calibrate;
pub mod doctor;
mod eval;
mod export;
mod family;
mod infer;
mod init_params;
mod inspect;
mod make_checkpoint;
mod make_demo_policy;
mod plan;
mod prepare_system;
mod quantize;
mod replay;
mod serve;
mod settings;
mod to_lerobot;
mod verify;

/// Vision-language-action policies on a robot.
#[derive(Parser, Debug)]
#[command(name = "vla-trt", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Print what is done in more detail; twice for everything.
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// Exit codes for the help text; the help of each command lists its own.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 an error; 2 wrong arguments; 3 compared results differ; 4 it does not fit into \
    memory; 5 done, with warnings; 6 no result, such as no chunk, and no output was written. Files are written completely or \
    not at all. Output to a closed pipe is dropped and changes no exit code.";

// The help texts are the doc comments of the arguments.
#[derive(Subcommand, Debug)]
enum Command {
    Adopt(build::AdoptArguments),
    Bench(bench::BenchArguments),
    Build(build::BuildArguments),
    Calibrate(calibrate::CalibrateArguments),
    Doctor(doctor::DoctorArguments),
    Eval(eval::EvalArguments),
    Export(export::ExportArguments),
    Infer(infer::InferArguments),
    InitParams(init_params::InitParamsArguments),
    Inspect(inspect::InspectArguments),
    MakeCheckpoint(make_checkpoint::MakeCheckpointArguments),
    MakeDemoPolicy(make_demo_policy::MakeDemoPolicyArguments),
    Plan(plan::PlanArguments),
    PrepareSystem(prepare_system::PrepareSystemArguments),
    Quantize(quantize::QuantizeArguments),
    Replay(replay::ReplayArguments),
    Serve(serve::ServeArguments),
    ToLerobot(to_lerobot::ToLerobotArguments),
    Verify(verify::VerifyArguments),
}

/// How a command ended. Usage errors are clap's own: exit code 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Exit code 0.
    Success,
    /// The command ran, and its check found a difference or an error: exit code 3.
    Differs,
    /// The engines do not fit into memory: exit code 4.
    DoesNotFit,
    /// The command ran and has warnings: exit code 5.
    Warned,
    /// The command completed without a result; an existing output file is unchanged: exit code 6.
    Empty,
    /// Exit code of a program that the command ran.
    Command(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => ExitCode::SUCCESS,
            Outcome::Differs => ExitCode::from(3),
            Outcome::DoesNotFit => ExitCode::from(4),
            Outcome::Warned => ExitCode::from(5),
            Outcome::Empty => ExitCode::from(6),
            Outcome::Command(code) => ExitCode::from(code),
        }
    }
}

/// Parses the arguments, runs the command, and turns its result into an exit code; errors go to standard error with
/// their causes, exit code 1.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    // So that a file beyond `ulimit -f` gives an error with its name instead of ending the process.
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()) {
        tracing::debug!("SIGXFSZ: {error}");
    }
    let result = match cli.command {
        Command::Adopt(args) => build::adopt(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Infer(args) => infer::run(&args),
        Command::InitParams(args) => init_params::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::PrepareSystem(args) => prepare_system::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::ToLerobot(args) => to_lerobot::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Export(args) => export::run(&args),
        Command::MakeCheckpoint(args) => make_checkpoint::run(&args),
        Command::MakeDemoPolicy(args) => make_demo_policy::run(&args),
    };
    let code = match result {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("error: {}", with_remedy(&error));
            failed(&error)
        }
    };
    match out::finish() {
        Ok(()) => code,
        Err(error) => {
            eprintln!("error: writing to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of an error.
fn failed(error: &anyhow::Error) -> ExitCode {
    let session = error.downcast_ref().is_some_and(session::Error::does_not_fit);
    let offline = error.downcast_ref::<vla_offline::Error>();
    if session || offline.is_some_and(vla_offline::Error::does_not_fit) {
        Outcome::DoesNotFit.into()
    } else if offline.is_some_and(vla_offline::Error::is_empty) {
        Outcome::Empty.into()
    } else {
        ExitCode::FAILURE
    }
}

/// The error with its causes, and advice if it is an engine error.
fn with_remedy(error: &anyhow::Error) -> String {
    let text = with_causes(error);
    match remedies::find(error.as_ref()).and_then(remedies::remedy) {
        Some(remedy) => format!("{text}\n{remedy}"),
        None => text,
    }
}

/// The error and its causes in one text, without causes that a message already contains.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("VLA_TRT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .log_internal_errors(false)
        .init();
}
