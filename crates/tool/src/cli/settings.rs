//! The node's parameters on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;

use vla_datasets::{Assignment, ColorSpace, Selection};
use vla_offline::replay::{BagClock, BagSource, DatasetSource, Source, Topics};
use vla_policy::PolicySpec;
use vla_policy::spec::POLICY_FILE;
use vla_runtime::parameters::{LimitsFrom, NodeName, Overrides, Parameters, PolicyShape, Remap, Settings, Value};

/// A bag or a data set, shared by several commands.
#[derive(clap::Args, Debug)]
pub(crate) struct BagArgs {
    #[command(flatten)]
    which: BagOrDataset,
    /// The clock to use where header stamps and log times are of different clocks, as in a simulator's bag: header or log.
    /// Default: log, and an error where the two differ.
    #[arg(long, value_name = "header|log", conflicts_with = "dataset")]
    clock: Option<BagClock>,
    /// Read what is left of a bag that its recorder did not finish or that is damaged: messages before the cut, files of a folder
    /// without metadata.yaml. Warnings say what is lost. Without it such a bag is refused.
    #[arg(long, conflicts_with = "dataset")]
    recover: bool,
    #[command(flatten)]
    reading: DatasetArgs,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct BagOrDataset {
    /// Bag: an .mcap or .db3 file, or a folder with metadata.yaml.
    bag: Option<PathBuf>,
    /// LeRobot data set (v2.1 or v3.0) in place of a bag: the folder that contains meta, data and videos (docs/datasets.md).
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
}

/// How a data set is read, shared by several commands.
#[derive(clap::Args, Debug)]
pub(crate) struct DatasetArgs {
    /// Episodes of the data set, such as 0,3-5. Default: all.
    #[arg(long, value_name = "LIST", requires = "dataset")]
    episodes: Option<Selection>,
    #[command(flatten)]
    columns: ColumnArgs,
}

/// The columns of a data set, shared by several commands.
#[derive(clap::Args, Debug)]
pub(crate) struct ColumnArgs {
    /// Columns of a key of the policy, where meta/modality.json and the names of the joints do not say them:
    /// state.KEY=observation.state[0:7], action.KEY=action[0:7], video.CAMERA=observation.images.NAME, instruction=COLUMN. Several
    /// parts are joined with +. May be given several times.
    #[arg(long = "column", value_name = "KEY=COLUMN", requires = "dataset")]
    columns: Vec<Assignment>,
    /// Colours of videos that are tagged with another matrix than BT.601: tagged follows the tag, as torchcodec and PyAV 18 do;
    /// bt601 ignores it, as PyAV 15 and OpenCV do. Default: tagged.
    #[arg(long, value_name = "tagged|bt601", requires = "dataset")]
    color: Option<ColorSpace>,
}

impl DatasetArgs {
    /// The data set in this folder, and how it is read.
    pub(crate) fn source(&self, dir: &Path) -> DatasetSource {
        DatasetSource { dir: dir.to_owned(), episodes: self.episodes.clone(), ..self.columns.source(dir) }
    }
}

impl ColumnArgs {
    /// All episodes of the data set in this folder.
    pub(crate) fn source(&self, dir: &Path) -> DatasetSource {
        let color = self.color.unwrap_or_default();
        DatasetSource { dir: dir.to_owned(), episodes: None, columns: self.columns.clone(), color }
    }
}

impl BagArgs {
    /// The bag or the data set, and how it is read.
    ///
    /// # Errors
    /// A data set given as a bag.
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        let source = source(self.which.bag.as_deref(), self.clock, self.which.dataset.as_deref(), &self.reading)?;
        Ok(match source {
            Source::Bag(bag) => BagSource { recover: self.recover, ..bag }.into(),
            dataset => dataset,
        })
    }
}

/// The bag or the data set of a command line, and how it is read.
///
/// # Errors
/// A data set given as a bag.
pub(crate) fn source(
    bag: Option<&Path>,
    clock: Option<BagClock>,
    dataset: Option<&Path>,
    reading: &DatasetArgs,
) -> anyhow::Result<Source> {
    match (bag, dataset) {
        (Some(bag), _) if bag.join(DATASET_FILE).is_file() => {
            let bag = bag.display();
            bail!("{bag}: expected a bag, found a LeRobot data set; give it as --dataset {bag}")
        }
        (Some(bag), _) => Ok(BagSource { clock, ..bag.into() }.into()),
        (None, Some(dir)) => Ok(reading.source(dir).into()),
        (None, None) => bail!("expected a bag, or --dataset DIR"),
    }
}

/// A bag, or a data set with its own columns, for options that take either.
pub(crate) fn bag_or_dataset(path: &Path, clock: Option<BagClock>) -> Source {
    match path.join(DATASET_FILE).is_file() {
        true => DatasetSource::from(path).into(),
        false => BagSource { clock, ..path.into() }.into(),
    }
}

/// What makes a folder a data set.
const DATASET_FILE: &str = "meta/info.json";

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
    #[command(flatten)]
    names: NameArgs,
}

/// Names of the node whose part the tool plays.
#[derive(clap::Args, Debug)]
pub(crate) struct NameArgs {
    /// Namespace of the node: relative topics of the parameters lie in it, and sections of the parameter file are matched with it.
    #[arg(long, value_name = "/NAMESPACE", default_value = "/")]
    namespace: String,
    /// Name of the node: topics such as ~/instruction lie in it, and sections of the parameter file are matched with it.
    #[arg(long, value_name = "NAME", default_value = "vla_trt")]
    node_name: String,
    /// Another name for a topic, as the node's `-r` does; also __node:=NAME and __ns:=/NAMESPACE; may be given several times.
    #[arg(short = 'r', long = "remap", value_name = "FROM:=TO")]
    remap: Vec<Remap>,
}

impl NameArgs {
    /// No parameters yet, for the node of these names.
    fn overrides(&self) -> anyhow::Result<Overrides> {
        let node = Remap::rename(&NodeName::new(&self.namespace, &self.node_name)?, &self.remap)?;
        let rules = Remap::rules(&node, &self.remap);
        Ok(Overrides::new(node).with_remaps(rules))
    }
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

    /// The parameters as the node would have them, with the topics' names in the ROS graph, for a run over `source`.
    ///
    /// # Errors
    /// Every parameter that is unknown, out of range or missing, and names that ROS 2 does not take.
    pub(crate) fn settings(&self, spec: &PolicySpec, source: &Source) -> anyhow::Result<Arc<Settings>> {
        settings_over(spec, source, add(self.names.overrides()?, self.params.as_deref(), &self.param)?)
    }

    /// The topics on which the node would publish.
    ///
    /// # Errors
    /// Names that ROS 2 does not take.
    pub(crate) fn topics(&self) -> anyhow::Result<Topics> {
        let names = self.names.overrides()?;
        Ok(Topics::of(&|topic| names.resolve(topic)))
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
    add(Overrides::new(NodeName::new("/", "vla_trt")?), params, assignments)
}

fn add(mut overrides: Overrides, params: Option<&Path>, assignments: &[String]) -> anyhow::Result<Overrides> {
    if let Some(file) = params {
        overrides.add_file(file)?;
    }
    for assignment in assignments {
        overrides.add_argument(assignment)?;
    }
    Ok(overrides)
}

/// The settings of a node that runs `spec` with these parameters, changed for a run over `source`. A data set needs no parameters:
/// topics and joints that are not given have the names of the policy's keys.
///
/// # Errors
/// As [`overrides`], every parameter that does not fit the policy, and an invalid robot description.
pub(crate) fn settings_for(
    spec: &PolicySpec,
    source: &Source,
    params: Option<&Path>,
    assignments: &[String],
) -> anyhow::Result<Arc<Settings>> {
    settings_over(spec, source, overrides(params, assignments)?)
}

fn settings_over(spec: &PolicySpec, source: &Source, mut overrides: Overrides) -> anyhow::Result<Arc<Settings>> {
    if let Source::Bag(_) = source {
        return checked(spec, overrides);
    }
    name_inputs(spec, &mut overrides)?;
    Ok(Arc::new(source.settings(spec, &*checked(spec, overrides)?)))
}

/// Gives topics and joints without a parameter the names of the policy's keys.
fn name_inputs(spec: &PolicySpec, overrides: &mut Overrides) -> anyhow::Result<()> {
    let shape = PolicyShape::load(spec)?;
    let mut set = |names: &[String], value: Value| {
        if names.iter().all(|name| overrides.get(name).is_none())
            && let Some(name) = names.first()
        {
            overrides.set(name, value);
        }
    };
    for camera in &spec.cameras {
        let group = format!("inputs.cameras.{camera}");
        set(&[format!("{group}.topic"), format!("{group}.blank")], Value::String(format!("/dataset/{camera}")));
    }
    let joints =
        |key: &str, width: usize| Value::StringArray((0..width).map(|index| format!("{key}.{index}")).collect());
    for (key, width) in &spec.state {
        set(&[format!("state.{key}.joints"), format!("state.{key}.pose")], joints(key, *width));
    }
    for (key, width) in &spec.action.keys {
        let of_state = spec.state.iter().any(|(name, other)| name == key && other == width);
        if !of_state && shape.eef_action(key).is_none() {
            set(&[format!("action.{key}.joints")], joints(key, *width));
        }
    }
    Ok(())
}

fn checked(spec: &PolicySpec, mut overrides: Overrides) -> anyhow::Result<Arc<Settings>> {
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
    let mut settings = Settings::clone(parameters.settings());
    let topics = settings.inputs.iter_mut().flat_map(|input| &mut input.topics);
    topics.for_each(|topic| *topic = overrides.resolve(topic));
    Ok(Arc::new(settings))
}
