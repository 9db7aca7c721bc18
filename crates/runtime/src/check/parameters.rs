//! What the parameters alone say.

use super::Finding;
use crate::parameters::{LimitsFrom, Settings};

/// Findings about the limits of the joints, and about joints for which the robot description gives none.
pub fn settings(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "limits";
    let mut findings: Vec<Finding> = settings
        .limit_warnings
        .iter()
        .map(|warning| Finding::warning(CHECK, warning).todo("set limits.<joint>, or correct the robot description"))
        .collect();
    findings.push(match &settings.limits {
        Err(error) => match &settings.limits_from {
            LimitsFrom::Topic(topic) => {
                Finding::info(CHECK, format!("come from the robot description on {topic}: known when the node runs"))
            }
            _ => Finding::error(CHECK, error.to_string()).todo("correct limits.<joint> or limits_file"),
        },
        Ok(limits) => {
            let without: Vec<&str> = limits.without_velocity().collect();
            match without.as_slice() {
                [] => Finding::ok(CHECK, format!("{} joints have a limit of velocity", limits.names().len())),
                names if settings.allow_unlimited => Finding::warning(
                    CHECK,
                    format!("no limit of velocity, as motion.allow_unlimited permits: {}", names.join(", ")),
                )
                .todo("set limits.<joint>.velocity"),
                names => Finding::error(
                    CHECK,
                    format!(
                        "no limit of velocity: {}; chunks would be published, and the robot would not move",
                        names.join(", ")
                    ),
                )
                .todo("set limits.<joint>.velocity, or limits_from: file with a URDF"),
            }
        }
    });
    findings
}
