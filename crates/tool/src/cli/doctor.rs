//! `vla-trt doctor`: checks this machine, a policy on it and a robot's parameters, before anything is loaded.

use std::path::PathBuf;

use super::Outcome;
use crate::doctor;
use crate::doctor::{Machine, Report, Robot, Severity};
use vla_runtime::check::table;

/// Check this machine, and a policy on it; one line a finding, with its remedy.
///
/// Checks GPU, board, JetPack and L4T, driver, TensorRT, power mode, clocks, memory, swap, desktop, ONNX Runtime and the ROS
/// environment, and whether every engine of the policy would load on this device. With --params it checks the robot's parameters
/// against the policy (names, types, ranges, limits of the joints) and the Fast DDS profile for its cameras; with --bag it checks
/// them against the topics, types, rates and joint names of a recording. Changes nothing. `vla_trt_node --check` checks the running
/// topics. Exit codes: 0 nothing worse than info; 1 the command failed; 2 wrong arguments; 3 an error was found; 5 warnings were
/// found.
#[derive(clap::Args, Debug)]
pub struct DoctorArguments {
    /// Policy folder.
    policy: Option<PathBuf>,
    /// The robot's parameters for the policy: the node's YAML file.
    #[arg(long, value_name = "FILE", requires = "policy")]
    params: Option<PathBuf>,
    /// A recording of the robot: an .mcap or .db3 file, or a folder with metadata.yaml.
    #[arg(long, value_name = "BAG", requires = "params")]
    bag: Option<PathBuf>,
    /// Print one JSON object in place of lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Errors of writing JSON.
pub fn run(args: &DoctorArguments) -> anyhow::Result<Outcome> {
    let robot = args.params.clone().map(|params| Robot { params, bag: args.bag.clone() });
    let report = doctor::examine(&Machine::this(), args.policy.as_deref(), robot.as_ref());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", lines(&report));
    }
    Ok(outcome(report.severity))
}

/// The exit code of a report.
pub fn outcome(severity: Severity) -> Outcome {
    match severity {
        Severity::Ok | Severity::Info => Outcome::Success,
        Severity::Warning => Outcome::Warned,
        Severity::Error => Outcome::Differs,
    }
}

/// A report as text: one line per finding, and a summary line.
pub fn lines(report: &Report) -> String {
    table(&report.findings)
}
