//! The node's parameters on the command line.

use std::path::Path;
use std::sync::Arc;

use crate::parameters::{NodeName, Overrides, Parameters, Settings, Value};
use crate::policy::PolicySpec;

/// What a file and `NAME:=VALUE` arguments set for a node named `/vla_trt`.
///
/// # Errors
/// A file or an argument that cannot be read.
pub fn overrides(params: Option<&Path>, assignments: &[String]) -> anyhow::Result<Overrides> {
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt")?);
    if let Some(file) = params {
        overrides.add_file(file)?;
    }
    for assignment in assignments {
        overrides.add_argument(assignment)?;
    }
    Ok(overrides)
}

/// The settings of a node that runs `spec` with these.
///
/// # Errors
/// As [`overrides`], and everything that does not fit the policy.
pub fn settings(spec: &PolicySpec, params: Option<&Path>, assignments: &[String]) -> anyhow::Result<Arc<Settings>> {
    let mut overrides = overrides(params, assignments)?;
    for warning in overrides.warnings() {
        tracing::warn!("{warning}");
    }
    overrides.set("policy", Value::String(spec.dir.to_string_lossy().into_owned()));
    Ok(Arc::clone(Parameters::new(spec.into(), &overrides)?.settings()))
}
