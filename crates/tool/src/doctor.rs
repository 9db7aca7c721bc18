//! What a machine and a policy look like before anything is loaded: one finding a line, what to do beside it.
//!
//! Everything that is a file is read below a [`Root`], and what is no file (CUDA, libraries that are opened, the
//! environment, topics) is a plain value in [`Machine`], so that a whole robot can be laid out in a folder.

use std::path::{Path, PathBuf};

use serde::Serialize;

mod clocks;
mod engines;
mod gpu;
mod machine;
mod memory;
mod root;
mod ros;

pub use clocks::PowerModes;
pub use machine::{Gpu, Machine, Unknown};
pub use memory::{desktop_programs, swaps};
pub use root::Root;

/// Version of the JSON form.
pub const FORMAT: u32 = 1;

/// How bad a finding is. Ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Info,
    /// It runs, but worse than it could, or something that is usually wanted does not run.
    Warning,
    /// The node or an engine will not run like this.
    Error,
}

impl Severity {
    /// As it is printed and written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What was looked at: `gpu`, `l4t`, `engine`, ...
    pub check: &'static str,
    /// Which one, where a check looks at several: the stage's name.
    pub subject: Option<String>,
    /// What was found, in one line.
    pub finding: String,
    /// What to do, in one line; nothing has to be done where it is `None`.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(severity: Severity, check: &'static str, finding: impl AsRef<str>) -> Self {
        Self { severity, check, subject: None, finding: one_line(finding.as_ref()), remedy: None }
    }

    fn ok(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Ok, check, finding)
    }

    fn info(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Info, check, finding)
    }

    fn warning(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Warning, check, finding)
    }

    fn error(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Error, check, finding)
    }

    fn of(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    fn todo(self, remedy: impl AsRef<str>) -> Self {
        Self { remedy: Some(one_line(remedy.as_ref())), ..self }
    }
}

/// Lines joined by a space: a finding is one line, whatever a library or a file had to say.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every finding, in the order in which things depend on each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The worst of the findings.
    pub severity: Severity,
    /// The policy that was looked at.
    pub policy: Option<PathBuf>,
    /// One a line.
    pub findings: Vec<Finding>,
}

/// Looks at a machine, and at a policy on it. Reads every engine of the policy once; loads nothing.
pub fn examine(machine: &Machine, policy: Option<&Path>) -> Report {
    let mut findings = gpu::examine(machine);
    findings.extend(clocks::examine(machine));
    findings.extend(memory::examine(machine));
    findings.push(onnx_runtime(machine));
    findings.extend(ros::examine(machine));
    match policy {
        Some(dir) => findings.extend(engines::examine(machine, dir)),
        None => {
            findings.push(Finding::info("policy", "none given, no engine was looked at").todo("vla-trt doctor POLICY"))
        }
    }
    let severity = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    Report { format: FORMAT, severity, policy: policy.map(Path::to_owned), findings }
}

fn onnx_runtime(machine: &Machine) -> Finding {
    match &machine.onnx_runtime {
        Ok(library) => Finding::ok("onnx runtime", format!("opens: {library}")),
        Err(unknown) => {
            Finding::warning("onnx runtime", format!("not usable: {}", unknown.reason)).todo(&unknown.remedy)
        }
    }
}
