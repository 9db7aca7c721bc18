//! Phase of the node.

use std::fmt;

use vla_engines::ErrorClass;

/// The node's phase; shown by `/diagnostics` and in refusals of services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No policy is loaded, and none is asked for: unconfigured or finalized.
    Unloaded,
    /// Working out what has to be loaded.
    Planning,
    /// Loading engine `index` of `total`.
    Loading {
        /// From 1, in load order.
        index: usize,
        /// Number of engines.
        total: usize,
        /// Its stage.
        stage: String,
    },
    /// Every engine is loaded; the first inference sets up what the next ones reuse.
    WarmUp,
    /// Inferring, or waiting to be asked.
    Ready,
    /// No policy is loaded: the load failed.
    Degraded {
        /// Class of the error.
        class: ErrorClass,
        /// What failed.
        reason: String,
        /// What to do.
        remedy: Remedy,
    },
}

/// Remedy after a failed load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Remedy {
    /// `~/reload`, after a change of files, memory or parameters.
    #[default]
    Reload,
    /// Only a restart of the node.
    Restart,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "~/reload tries again",
            Self::Restart => "~/reload cannot help; restart the node",
        })
    }
}

/// The first line of a report, for where one line is shown; the log has the rest.
pub(crate) fn brief(report: &str) -> String {
    let mut lines = report.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut text = lines.next().unwrap_or_default().to_owned();
    // A heading needs its first item.
    if text.ends_with(':')
        && let Some(first) = lines.next()
    {
        text = format!("{text} {first}");
    }
    if lines.next().is_some() {
        text += " (more in the log)";
    }
    text
}

impl Phase {
    /// The word for diagnostics.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Unloaded => "unconfigured",
            Self::Planning => "planning",
            Self::Loading { .. } => "loading",
            Self::WarmUp => "warm-up",
            Self::Ready => "ready",
            Self::Degraded { .. } => "degraded",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loading { index, total, stage } => write!(f, "loading {index} of {total} ({stage})"),
            Self::Degraded { reason, .. } => write!(f, "degraded: {}", brief(reason)),
            plain => f.write_str(plain.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_many_lines_is_told_in_one() {
        assert_eq!(brief("no room"), "no room");
        assert_eq!(brief("no room: 3 MiB missing\n  table\n"), "no room: 3 MiB missing (more in the log)");
        assert_eq!(brief("do not fit together:\n  a is f32"), "do not fit together: a is f32");
        assert_eq!(brief("do not fit:\n  a\n  b"), "do not fit: a (more in the log)");
        assert_eq!(brief(""), "");
        let phase = Phase::Degraded { class: ErrorClass::Other, reason: "x\ny".into(), remedy: Remedy::Reload };
        assert_eq!(phase.to_string(), "degraded: x (more in the log)");
    }
}
