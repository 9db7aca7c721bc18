//! The node's parameters on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vla_offline::replay::{BagClock, BagSource};
use vla_policy::PolicySpec;
use vla_policy::spec::POLICY_FILE;
use vla_runtime::parameters::{LimitsFrom, NodeName, Overrides, Parameters, PolicyShape, Settings, Value};

/// Bag arguments, shared by several commands.
#[derive(clap::Args, Debug)]
pub(crate) struct BagArgs {
    /// Bag: an .mcap or .db3 file, or a folder with metadata.yaml.
    pub bag: PathBuf,
    /// The clock to use where header stamps and log times are of different clocks, as in a simulator's bag: header or log.
    /// Default: log, and an error where the two differ.
    #[arg(long, value_name = "header|log")]
    clock: Option<BagClock>,
}

impl BagArgs {
    /// The bag and how it is read.
    pub(crate) fn source(&self) -> BagSource {
        BagSource { bag: self.bag.clone(), clock: self.clock }
    }
}

/// Arguments for a policy and its node's parameters, shared by several commands.
#[derive(clap::Args, Debug)]
pub(crate) struct PolicyArgs {
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
    pub(crate) fn dir(&self) -> &Path {
        &self.policy
    }

    /// The files of the policy, the parameter file, and the files that parameters name.
    pub(crate) fn files(&self, spec: &PolicySpec, settings: &Settings) -> Vec<PathBuf> {
        let mut files = files(spec);
        files.extend(parameter_files(settings, self.params.as_deref()));
        files
    }

    /// The parameter file and assignments, for people.
    pub(crate) fn described(&self) -> String {
        let file = self.params.iter().map(|file| file.display().to_string());
        let assignments = self.param.iter().map(|assignment| format!("-p {assignment}"));
        file.chain(assignments).collect::<Vec<_>>().join(" ")
    }

    /// The parameters as a node named `/vla_trt` would have them.
    ///
    /// # Errors
    /// Every parameter that is unknown, out of range or missing.
    pub(crate) fn settings(&self, spec: &PolicySpec) -> anyhow::Result<Arc<Settings>> {
        settings(spec, self.params.as_deref(), &self.param)
    }
}

/// The files of a policy: none of them may be an output.
pub(crate) fn files(spec: &PolicySpec) -> Vec<PathBuf> {
    let bundle = spec.files().into_iter().map(|name| spec.dir.join(name));
    let stages = spec.stages.iter().flat_map(|stage| {
        let mut weights = stage.onnx.clone().into_os_string();
        weights.push(".data");
        [stage.file.clone(), stage.onnx.clone(), weights.into()]
    });
    bundle.chain([spec.dir.join(POLICY_FILE)]).chain(stages).collect()
}

/// The parameter file, and the files that parameters name.
pub(crate) fn parameter_files(settings: &Settings, params: Option<&Path>) -> Vec<PathBuf> {
    let description = if let LimitsFrom::File(file) = &settings.limits_from { Some(file.clone()) } else { None };
    let engines = settings.engine.stages.values().filter_map(|stage| stage.path.clone());
    params.map(Path::to_owned).into_iter().chain(description).chain(engines).collect()
}

/// Parameters that a file and `NAME:=VALUE` arguments set for a node named `/vla_trt`.
///
/// # Errors
/// A file or an argument that cannot be read.
pub(crate) fn overrides(params: Option<&Path>, assignments: &[String]) -> anyhow::Result<Overrides> {
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt")?);
    if let Some(file) = params {
        overrides.add_file(file)?;
    }
    for assignment in assignments {
        overrides.add_argument(assignment)?;
    }
    Ok(overrides)
}

/// The settings of a node that runs `spec` with these parameters.
///
/// # Errors
/// As [`overrides`], every parameter that does not fit the policy, and an invalid robot description.
pub(crate) fn settings(
    spec: &PolicySpec,
    params: Option<&Path>,
    assignments: &[String],
) -> anyhow::Result<Arc<Settings>> {
    let mut overrides = overrides(params, assignments)?;
    for warning in overrides.warnings() {
        tracing::warn!("{warning}");
    }
    overrides.set("policy", Value::String(spec.dir.to_string_lossy().into_owned()));
    let mut parameters = Parameters::new(PolicyShape::load(spec)?, &overrides)?;
    parameters.read_limits_file()?;
    if let Some(ignored) = parameters.ignored() {
        tracing::warn!("{ignored}");
    }
    if parameters.do_without_description() {
        tracing::warn!(
            "limits_from is topic, and there are no topics here: limits.<joint> hold alone; set limits_from: file and limits_file to \
             have those of the robot description"
        );
    }
    for warning in &parameters.settings().limit_warnings {
        tracing::warn!("{warning}");
    }
    Ok(Arc::clone(parameters.settings()))
}
