//! The node's parameters, for its six services and for `vla-trt replay --params`.
//!
//! ```text
//! --params-file, -p  -> Overrides  (names, values, where they were given)
//! the policy's shape, the table -> declarations -> Store  (types, ranges, read-only; every change is all or nothing)
//! Store, robot description -> Settings   (typed, in the node's own units, consistent)
//! ```
//!
//! [`Parameters`] keeps store and settings together: a value that is accepted, at the start or live, has passed every check and is in
//! force.

mod declarations;
mod description;
mod placeholder;
mod reference;
mod settings;
mod shape;
mod table;

use std::sync::Arc;

use description::RobotDescription;
use ros2_parameters::{Known, Sorted};

pub use declarations::declarations;
pub use placeholder::PLACEHOLDER;
pub use reference::reference;
pub use ros2_parameters::{
    Change, Constraint, Declaration, Descriptor, Error, Ignored, Listing, NodeName, NodePattern, Origin, Override,
    Overrides, Problems, Remap, SourceLocation, Store, Value, ValueType, check_topic, nearest, yaml,
};
pub use settings::{
    CommandKind, CommandSettings, DeliveryQos, Durability, EngineSettings, GripperRoute, History, LimitsFrom,
    MemorySettings, OutputKind, OutputMessage, OutputSettings, PoseRoute, RecordSettings, Reliability, Route,
    SecondGoal, Settings, StageSettings, SubscriptionQos, TaskSettings, TwistRoute,
};
pub use shape::{EefAction, PolicyShape};

/// Names of parameters that take effect outside the settings, too.
pub mod names {
    use super::table::node;

    /// The instruction, where a topic may replace the parameter.
    pub const INSTRUCTION: &str = node::INSTRUCTION.name;
    /// The logger's level.
    pub const LOG_LEVEL: &str = node::LOG_LEVEL.name;
}

/// The parameters of one running node.
///
/// The settings are those of the store at every moment: a change that would not give settings is refused.
#[derive(Clone, Debug)]
pub struct Parameters {
    store: Store,
    shape: PolicyShape,
    description: RobotDescription,
    settings: Arc<Settings>,
    ignored: Ignored,
}

impl Parameters {
    /// Declares the parameters of a node that runs a policy of this shape and gives them their first values.
    ///
    /// # Errors
    /// All problems: unknown names with the nearest known one, wrong types, forbidden, missing and contradicting values. An unknown name
    /// in a section that other nodes share is no problem unless it looks like a mistake: [`Parameters::ignored`].
    ///
    /// A robot description is not read here: with `limits_from: file` call [`Parameters::read_limits_file`], with `topic`
    /// [`Parameters::describe`]. Until then the settings have no limits, and no joint moves.
    pub fn new(shape: PolicyShape, overrides: &Overrides) -> Result<Self, Problems> {
        let unfilled = placeholder::unfilled(overrides);
        if !unfilled.is_empty() {
            return Err(unfilled);
        }
        let declarations = declarations(&shape, overrides);
        let Sorted { own, ignored } = Known::new(&declarations, table::GROUPS).sort(overrides.given());
        let (store, mut problems) = Store::declare_with_problems(declarations, own);
        let description = RobotDescription::awaited(&Settings::limits_source(&store));
        match Settings::from_store(&store, &shape, &description) {
            Ok(settings) if problems.is_empty() => {
                Ok(Self { store, shape, description, settings: Arc::new(settings), ignored })
            }
            Ok(_) => Err(explained(problems)),
            Err(others) => {
                problems.extend_without_follow_ups(others);
                Err(explained(problems))
            }
        }
    }

    /// The declared parameters with their values.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Given names that are none of this node's; `None` when there are none.
    pub fn ignored(&self) -> Option<&Ignored> {
        Some(&self.ignored).filter(|ignored| !ignored.is_empty())
    }

    /// The settings as of the last change.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Reads the URDF file of `limits_from: file`; with another source it does nothing.
    ///
    /// # Errors
    /// A file that cannot be read, that is no URDF, or whose limits are placeholders or contradict `limits.<joint>`, naming the joints.
    pub fn read_limits_file(&mut self) -> Result<(), Problems> {
        let LimitsFrom::File(path) = &self.settings.limits_from else { return Ok(()) };
        let file = path.display().to_string();
        let refused = |reason: String| Problems::from(Error::Description { file: file.clone(), reason });
        let text = description::read(path).map_err(|error| refused(error.to_string()))?;
        self.describe(&text).map_err(|error| refused(error.to_string()))
    }

    /// Applies a robot description, with `limits_from: file` or `topic`. The last one counts: when it cannot be used, the settings have
    /// no limits and no joint moves until another arrives, or parameters are set that it does not contradict.
    ///
    /// # Errors
    /// Why it cannot be used, naming the joints.
    pub fn describe(&mut self, text: &str) -> Result<(), vla_motion::Error> {
        self.description = RobotDescription::parse(text);
        // The store alone gave settings before.
        if let Ok(settings) = Settings::from_store(&self.store, &self.shape, &self.description) {
            self.settings = Arc::new(settings);
        }
        self.settings.limits.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Continues without a robot description from a topic: only the limits of the parameters hold. True when one was configured.
    pub fn do_without_description(&mut self) -> bool {
        let asked = matches!(self.settings.limits_from, LimitsFrom::Topic(_));
        if asked {
            self.description = RobotDescription::NotUsed;
            if let Ok(settings) = Settings::from_store(&self.store, &self.shape, &self.description) {
                self.settings = Arc::new(settings);
            }
        }
        asked
    }

    /// Sets one parameter while the node runs.
    ///
    /// # Errors
    /// Why not, as the `reason` of the service; nothing has changed then.
    pub fn set(&mut self, name: &str, value: Value) -> Result<Change, String> {
        let mut changes = self.set_atomically(&[(name.to_owned(), value)])?;
        changes.pop().ok_or_else(|| Error::NothingToSet.to_string())
    }

    /// Sets all of these parameters or none while the node runs.
    ///
    /// # Errors
    /// Why not, as the `reason` of the service; nothing has changed then.
    pub fn set_atomically(&mut self, changes: &[(String, Value)]) -> Result<Vec<Change>, String> {
        let (candidate, made) = self.store.changed(changes).map_err(|error| error.to_string())?;
        let settings = Settings::from_store(&candidate, &self.shape, &self.description);
        let settings = settings.map_err(|problems| problems.to_string())?;
        // A description that contradicted the parameters before is no reason to refuse other changes.
        if let (Ok(_), Err(contradiction)) = (&self.settings.limits, &settings.limits) {
            return Err(contradiction.to_string());
        }
        self.store = candidate;
        self.settings = Arc::new(settings);
        Ok(made)
    }
}

fn explained(problems: Problems) -> Problems {
    let problems = without_limits_of_unknown_joints(problems);
    let wrong: Vec<String> = problems.iter().flat_map(Error::names).cloned().collect();
    // A key whose pose was refused needs no joints.
    let wants_pose = |error: &Error| match error {
        Error::Missing { name, .. } => name.strip_suffix(".joints").is_some_and(|key| {
            let pose = format!("{key}.pose");
            wrong.contains(&pose)
        }),
        _ => false,
    };
    let mut explained = Problems::default();
    explained.extend(problems.into_iter().filter(|error| !wants_pose(error)).map(with_use_of_pose));
    explained
}

/// A pose is an input only where a state key names it; the hint says so.
fn with_use_of_pose(error: Error) -> Error {
    match error {
        Error::Unknown { origin, name, hint } => {
            let pose = name.strip_prefix("inputs.poses.").and_then(|rest| rest.split('.').next());
            // A hint with the pose, or with one of a similar name, is more helpful.
            let helps =
                |pose: &str| hint.starts_with("did you mean") || hint.contains(&format!("'inputs.poses.{pose}'"));
            let hint = match pose.filter(|pose| !helps(pose)) {
                Some(pose) => format!("no state key uses the pose '{pose}'; name it in state.<key>.pose"),
                None => hint,
            };
            Error::Unknown { origin, name, hint }
        }
        other => other,
    }
}

/// Where a list of joints is wrong, every parameter of its joints is unknown too: one mistake, not a dozen.
fn without_limits_of_unknown_joints(problems: Problems) -> Problems {
    let about_joints = |name: &String| name.ends_with(".joints");
    let of_joints = ["limits.", "inputs.joints.topic_of.", "inputs.joints.mimic."];
    let of_joint = |name: &String| of_joints.iter().any(|group| name.starts_with(group));
    let follow_up = |error: &Error| matches!(error, Error::Unknown { name, .. } if of_joint(name));
    if !problems.iter().any(|error| error.names().iter().any(about_joints)) {
        return problems;
    }
    let mut kept = Problems::default();
    kept.extend(problems.into_iter().filter(|error| !follow_up(error)));
    kept
}
