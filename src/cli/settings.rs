//! The node's parameters on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::parameters::{NodeName, Overrides, Parameters, PolicyShape, Settings, Value};
use crate::policy::PolicySpec;
use crate::replay::{BagClock, Source};

/// A bag on the command line, as several commands take it.
#[derive(clap::Args, Debug)]
pub struct BagArgs {
    /// Bag: an .mcap or .db3 file, or a folder with metadata.yaml.
    pub bag: PathBuf,
    /// The clock that counts where header stamps and log times are of two clocks, as in a simulator's bag: header replays on
    /// the header stamps, log on the log times. Default: the log's, and an error where the two differ.
    #[arg(long, value_name = "header|log")]
    clock: Option<BagClock>,
}

impl BagArgs {
    /// The bag and how it is read.
    pub fn source(&self) -> Source {
        Source { bag: self.bag.clone(), clock: self.clock }
    }
}

/// Where the policy is and how its node would be configured, as several commands take it.
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
        settings(spec, self.params.as_deref(), &self.param)
    }
}

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
    Ok(Arc::clone(Parameters::new(PolicyShape::load(spec)?, &overrides)?.settings()))
}
