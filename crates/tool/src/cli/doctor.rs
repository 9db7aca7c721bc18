//! `vla-trt doctor`: what this machine, and a policy on it, look like before anything is loaded.

use std::path::PathBuf;

use super::Outcome;
use crate::doctor;
use crate::doctor::{Finding, Machine, Report, Severity};

/// Say what is wrong with this machine, and with a policy on it, one line a finding with what to do beside it.
///
/// Looks at GPU, board, JetPack and L4T, driver, TensorRT, power mode, clocks, memory, swap, desktop, ONNX Runtime and the
/// ROS environment, and holds every engine of the policy against this device, as loading would. Changes nothing. Exit
/// codes: 0 nothing worse than info; 1 the command failed; 2 wrong arguments; 3 an error was found; 5 warnings were found.
#[derive(clap::Args, Debug)]
pub struct Doctor {
    /// Policy folder.
    policy: Option<PathBuf>,
    /// Print one JSON object in place of lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// JSON that cannot be made.
pub fn run(args: &Doctor) -> anyhow::Result<Outcome> {
    let report = doctor::examine(&Machine::this(), args.policy.as_deref());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", lines(&report));
    }
    Ok(outcome(report.severity))
}

/// How a report ends the command.
pub fn outcome(severity: Severity) -> Outcome {
    match severity {
        Severity::Ok | Severity::Info => Outcome::Success,
        Severity::Warning => Outcome::Warned,
        Severity::Error => Outcome::Differs,
    }
}

/// A report for people: one line a finding, and a last one that counts.
pub fn lines(report: &Report) -> String {
    let title = |finding: &Finding| match &finding.subject {
        Some(subject) => format!("{} {subject}", finding.check),
        None => finding.check.to_owned(),
    };
    let width = report.findings.iter().map(|finding| title(finding).len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &report.findings {
        let remedy = finding.remedy.iter().map(|remedy| format!("  -> {remedy}")).collect::<String>();
        text += &format!("{:7}  {:width$}  {}{remedy}\n", finding.severity.name(), title(finding), finding.finding);
    }
    let count = |severity: Severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    text + &format!("errors: {}, warnings: {}\n", count(Severity::Error), count(Severity::Warning))
}
