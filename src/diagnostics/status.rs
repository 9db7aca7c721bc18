//! One status of a `diagnostic_msgs/DiagnosticArray` while it is being written.

use std::fmt::Display;

use r2r::diagnostic_msgs::msg::{DiagnosticStatus, KeyValue};

use crate::convert::clean;
use vla_base::time::Span;

/// How bad; the numbers are those of `DiagnosticStatus`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub(crate) enum Severity {
    /// As it should be.
    #[default]
    Ok = 0,
    /// Look at it; the node goes on.
    Warn = 1,
    /// Something asked for is not done.
    Error = 2,
}

/// A status: the worst severity raised, every remark, and figures with their unit in the key.
#[derive(Debug, Default)]
pub(crate) struct Status {
    task: &'static str,
    severity: Severity,
    summary: String,
    remarks: Vec<String>,
    values: Vec<(String, String)>,
}

impl Status {
    /// An empty status of `task`, e.g. `inputs`.
    pub(crate) fn new(task: &'static str) -> Self {
        Self { task, ..Self::default() }
    }

    /// What is shown when nothing was raised.
    pub(crate) fn summary(&mut self, text: impl Into<String>) {
        self.summary = text.into();
    }

    /// Adds a remark and raises the severity.
    pub(crate) fn raise(&mut self, severity: Severity, remark: impl Into<String>) {
        self.severity = self.severity.max(severity);
        self.remarks.push(remark.into());
    }

    /// Adds a figure.
    pub(crate) fn value(&mut self, key: impl Into<String>, value: impl Display) {
        self.values.push((key.into(), value.to_string()));
    }

    /// Adds a time in milliseconds; the key carries the unit.
    pub(crate) fn millis(&mut self, key: &str, span: Option<Span>) {
        let shown = span.map_or_else(|| "none".to_owned(), |span| format!("{:.1}", span.millis()));
        self.value(format!("{key} (ms)"), shown);
    }

    /// How bad it is.
    pub(crate) fn severity(&self) -> Severity {
        self.severity
    }

    /// As a message: `<node>: <task>`.
    pub(crate) fn into_message(self, node: &str, hardware_id: &str) -> DiagnosticStatus {
        let message = if self.remarks.is_empty() { self.summary } else { self.remarks.join("; ") };
        let value = |(key, value): (String, String)| KeyValue { key: clean(key), value: clean(value) };
        DiagnosticStatus {
            level: self.severity as u8,
            name: format!("{node}: {}", self.task),
            message: clean(message),
            hardware_id: hardware_id.to_owned(),
            values: self.values.into_iter().map(value).collect(),
        }
    }
}
