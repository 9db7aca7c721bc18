//! Checks before anything runs, shared by `vla-trt doctor` and `vla_trt_node --check`: one finding a line, with its remedy.
//!
//! [`InputCheck`] listens to the inputs of a policy for a while, to a bag or to the topics of a running ROS graph, and compares
//! them with the parameters. [`settings`] looks at the parameters alone.

mod inputs;
mod joints;
mod parameters;

use serde::Serialize;

pub use inputs::{InputCheck, InputPublisher, MessageSource, TopicPublishers};
pub use parameters::settings;

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

/// The result of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What was checked: `gpu`, `l4t`, `engine`, `input`, ...
    pub check: &'static str,
    /// Which one, where a check has several: a stage, an input.
    pub subject: Option<String>,
    /// What was found, in one line.
    pub finding: String,
    /// What to do, in one line; `None` where nothing has to be done.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding without subject and remedy.
    pub fn new(severity: Severity, check: &'static str, finding: impl AsRef<str>) -> Self {
        Self { severity, check, subject: None, finding: one_line(finding.as_ref()), remedy: None }
    }

    /// As it should be.
    pub fn ok(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Ok, check, finding)
    }

    /// Worth knowing.
    pub fn info(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Info, check, finding)
    }

    /// To be seen to.
    pub fn warning(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Warning, check, finding)
    }

    /// To be corrected.
    pub fn error(check: &'static str, finding: impl AsRef<str>) -> Self {
        Self::new(Severity::Error, check, finding)
    }

    /// The same, about one of several.
    #[must_use]
    pub fn of(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn todo(self, remedy: impl AsRef<str>) -> Self {
        Self { remedy: Some(one_line(remedy.as_ref())), ..self }
    }

    fn title(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{} {subject}", self.check),
            None => self.check.to_owned(),
        }
    }
}

/// The worst of the findings.
pub fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}

/// The findings as a table: one line each, and a last one that counts errors and warnings.
///
/// ```
/// use vla_runtime::check::{Finding, table};
/// let findings = [Finding::ok("input", "20.0 Hz").of("front"), Finding::error("input", "no publisher").of("wrist")];
/// assert_eq!(
///     table(&findings),
///     "ok       input front  20.0 Hz\nerror    input wrist  no publisher\nerrors: 1, warnings: 0\n"
/// );
/// ```
pub fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.title().len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let remedy = finding.remedy.iter().map(|remedy| format!("  -> {remedy}")).collect::<String>();
        text += &format!("{:7}  {:width$}  {}{remedy}\n", finding.severity.name(), finding.title(), finding.finding);
    }
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    text + &format!("errors: {}, warnings: {}\n", count(Severity::Error), count(Severity::Warning))
}

/// Lines joined by a space: a finding is one line, whatever a library or a file had to say.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
