//! A policy and the parameters that a node would run it with, as several commands take them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::parameters::{NodeName, Overrides, Parameters, Settings, Value};
use crate::policy::PolicySpec;

/// Where the policy is and how its node would be configured.
#[derive(clap::Args, Debug)]
pub struct PolicyArgs {
    /// Policy folder.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Parameters: the node's own YAML file.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// Set one parameter, as the node's `-p` does; may be given several times.
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE")]
    param: Vec<String>,
}

impl PolicyArgs {
    /// The policy folder.
    pub fn dir(&self) -> &Path {
        &self.policy
    }

    /// The parameters as a node named `/vla_trt` would have them.
    ///
    /// # Errors
    /// Every parameter that is unknown, out of range or missing.
    pub fn settings(&self, spec: &PolicySpec) -> anyhow::Result<Arc<Settings>> {
        let mut overrides = Overrides::new(NodeName::new("/", "vla_trt")?);
        if let Some(file) = &self.params {
            overrides.add_file(file)?;
        }
        for assignment in &self.param {
            overrides.add_argument(assignment)?;
        }
        for warning in overrides.warnings() {
            tracing::warn!("{warning}");
        }
        overrides.set("policy", Value::String(self.policy.to_string_lossy().into_owned()));
        Ok(Arc::clone(Parameters::new(spec.into(), &overrides)?.settings()))
    }
}
