//! The parameters as the node uses them: typed, in its own units, and consistent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::description::RobotDescription;
use super::shape::PolicyShape;
use super::table::keys;
use ros2_parameters::Problems;
use ros2_parameters::Store;
use vla_base::time::Span;
use vla_engines::EngineKind;
use vla_motion::{MotionLimits, MotionSettings};
use vla_policy::EncodeDevice;
use vla_policy::encode::pose::PoseMap;
use vla_policy::observation::{InputSpec, JointMap, Rules};
use vla_policy::processor::DeltaRows;

mod check;
mod outputs;
mod qos;
mod read;

pub use outputs::{CommandKind, GripperRoute, OutputKind, OutputMessage, OutputSettings, PoseRoute, Route, TwistRoute};
pub use qos::{DeliveryQos, Durability, History, Reliability, SubscriptionQos};

/// One consistent state of all parameters. A change makes a new one; the one in use is never altered.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Folder of the policy bundle.
    pub policy: PathBuf,
    /// Engines, their files and load order.
    pub engine: EngineSettings,
    /// Memory budget of the engines.
    pub memory: MemorySettings,
    /// Cameras in the policy's order, then the joints when any is read or moved, then the poses, then the instruction.
    pub inputs: Vec<InputSpec>,
    /// QoS of every topic that an input may name, by the topic's name in the ROS graph.
    pub qos: BTreeMap<String, SubscriptionQos>,
    /// Views of the policy without a camera: the policy sees black.
    pub blank_views: Vec<String>,
    /// One rule an input, and those of the whole observation.
    pub rules: Rules,
    /// Topic of the operator's enable switch; `None`: no switch.
    pub enable_topic: Option<String>,
    /// Threads that encode camera frames; 0: chosen by their number and that of the CPU cores.
    pub encode_threads: usize,
    /// What resamples frames.
    pub encode_device: EncodeDevice,
    /// State keys that joints give, in the policy's order.
    pub state: Vec<JointMap>,
    /// State keys that poses give, in the policy's order.
    pub poses: Vec<PoseMap>,
    /// Action keys that move joints, in the policy's order.
    pub action: Vec<JointMap>,
    /// Action keys that move no joints although they are no end effector's, such as the velocity of a base.
    pub column_keys: Vec<String>,
    /// What a row of each action key with `rep: DELTA` is.
    pub deltas: BTreeMap<String, DeltaRows>,
    /// Empty: wait for the topic.
    pub instruction: String,
    /// Inferences per second; 0: as fast as useful; below: on demand only.
    pub rate_hz: f64,
    /// Seed of the initial noise.
    pub seed: u64,
    /// One of the exported numbers.
    pub denoise_steps: u32,
    /// Time from one action row to the next.
    pub step: Span,
    /// Limits in force of every joint that the actions move, in the order of the action keys: the tighter of the parameters' and of
    /// the robot description's. Or why they are not known: then no joint moves.
    pub limits: Result<Arc<MotionLimits>, vla_motion::Error>,
    /// Joints for which only the parameters' limits hold: the robot description lacks them, or has placeholders.
    pub limit_warnings: Vec<String>,
    /// Source of limits besides the parameters.
    pub limits_from: LimitsFrom,
    /// Let joints move that have no limit of velocity.
    pub allow_unlimited: bool,
    /// How chunks become motion.
    pub motion: MotionSettings,
    /// Rows that rtc freezes; `None`: one more than will be late.
    pub rtc_frozen: Option<usize>,
    /// Rows over which rtc ramps.
    pub rtc_overlap: usize,
    /// Longest hold before a stop; `None`: no limit.
    pub stop_after: Option<Span>,
    /// Streamed commands.
    pub command: CommandSettings,
    /// Routes to the robot's controllers. Empty: `~/joint_trajectory` and `~/joint_command`.
    pub outputs: Vec<OutputSettings>,
    /// Real-time priority of watchdog and stream; 0: none.
    pub realtime_priority: u8,
    /// `frame_id` of published chunks.
    pub frame_id: String,
    /// Log every tensor's shape.
    pub log_shapes: bool,
    /// `debug`, `info`, `warn`, `error` or `fatal`.
    pub log_level: String,
    /// Time from /clock.
    pub use_sim_time: bool,
    /// Configure and activate at the start, without a life cycle manager.
    pub autostart: bool,
    /// Tasks of the action `~/run`.
    pub task: TaskSettings,
    /// Recording of inputs and outputs; `None`: nothing is recorded.
    pub record: Option<RecordSettings>,
}

/// A recording of what the node observes and does.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordSettings {
    /// Folder of the recordings.
    pub path: PathBuf,
    /// Greatest size of all of them, in bytes.
    pub max_bytes: u64,
    /// Size after which a new file begins, in bytes.
    pub max_file_bytes: u64,
    /// Time after which a new file begins.
    pub max_file: Span,
    /// Messages that may wait for the disk, in bytes.
    pub queue_bytes: usize,
}

/// Tasks of the action `~/run`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskSettings {
    /// The robot moves only while a task runs.
    pub required: bool,
    /// What happens to a goal while another task runs.
    pub second_goal: SecondGoal,
}

/// What happens to a goal while another task runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SecondGoal {
    /// It is rejected.
    #[default]
    Refuse,
    /// It begins when the tasks before it have ended.
    Queue,
}

/// Which engines run the policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineSettings {
    /// The runtime.
    pub kind: EngineKind,
    /// CPU threads of one inference; at least 1.
    pub threads: usize,
    /// Record passes as CUDA graphs.
    pub cuda_graph: bool,
    /// Run quantised networks with ONNX Runtime's integer kernels.
    pub integer_kernels: bool,
    /// Loads after a lost device before the node gives up.
    pub max_restarts: u32,
    /// Every stage once; `None`: the largest file first.
    pub load_order: Option<Vec<String>>,
    /// One entry a stage.
    pub stages: BTreeMap<String, StageSettings>,
}

/// One stage's engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StageSettings {
    /// Its file, joined to the policy folder when it was given relative; `None`: the policy's own.
    pub path: Option<PathBuf>,
    /// Load it also without a provenance file.
    pub allow_unverified: bool,
    /// Load it also when it failed its accuracy gate.
    pub allow_inaccurate: bool,
}

/// What the engines may take of the machine's memory, in MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemorySettings {
    /// All engines together; `None`: what is free less the reserve.
    pub budget_mib: Option<u64>,
    /// Left to the rest of the system.
    pub reserve_mib: u64,
    /// On unified memory: count the page cache as free.
    pub count_available: bool,
    /// Release the copies that TensorRT keeps of its engines in host memory.
    pub release_host_copy: bool,
}

/// Source of limits besides the parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitsFrom {
    /// Nowhere.
    Nowhere,
    /// A URDF file.
    File(PathBuf),
    /// A topic with a robot description.
    Topic(String),
}

/// Streamed commands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CommandSettings {
    /// Commands per second; 0: none.
    pub rate_hz: f64,
    /// The message.
    pub kind: CommandKind,
}

impl Settings {
    /// Reads the parameters of a node that runs this policy.
    ///
    /// # Errors
    /// All missing and contradicting values. A robot description that contradicts the parameters is not one of them: it leaves the
    /// settings without limits.
    pub(super) fn from_store(
        store: &Store,
        shape: &PolicyShape,
        description: &RobotDescription,
    ) -> Result<Self, Problems> {
        let (settings, mut problems) = read::read(store, shape, description);
        problems.extend(check::check(&settings, shape));
        problems.or(settings)
    }

    /// Source of limits besides the parameters.
    pub(super) fn limits_source(store: &Store) -> LimitsFrom {
        read::limits_source(store)
    }

    /// The limit in force that is tighter than `value` of the parameter `name`; `None` where none is, and for a parameter that is
    /// no limit of position or velocity.
    pub fn tighter_limit(&self, name: &str, value: f64) -> Option<f64> {
        let (joint, _) = name.strip_prefix("limits.")?.rsplit_once('.')?;
        let limits = self.limits.as_ref().ok()?.get(joint)?;
        match name {
            _ if name == keys::MIN.name_of(joint) => Some(limits.min).filter(|min| *min > value),
            _ if name == keys::MAX.name_of(joint) => Some(limits.max).filter(|max| *max < value),
            _ if name == keys::VELOCITY.name_of(joint) => Some(limits.velocity).filter(|velocity| *velocity < value),
            _ => None,
        }
    }

    /// QoS of the subscription to a topic, by its name in the ROS graph.
    pub fn qos_of(&self, topic: &str) -> SubscriptionQos {
        self.qos.get(topic).copied().unwrap_or(SubscriptionQos::SENSOR)
    }

    /// Whether inference runs on demand only (`~/infer_once`).
    pub fn on_demand(&self) -> bool {
        self.rate_hz < 0.0
    }

    /// Time from one inference to the next; zero when the next starts at once, or on demand.
    pub fn period(&self) -> Span {
        if self.rate_hz > 0.0 { Span::from_seconds(1.0 / self.rate_hz) } else { Span::ZERO }
    }

    /// Longest hold before the watchdog stops; `None`, no limit, when inference is on demand.
    pub fn stop_after_when_running(&self) -> Option<Span> {
        self.stop_after.filter(|_| !self.on_demand())
    }

    /// Every joint that the policy reads or moves, each once, state first.
    pub fn joint_names(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let joints = self.state.iter().chain(&self.action).flat_map(|map| &map.joints);
        joints.filter(|joint| seen.insert(joint.as_str())).cloned().collect()
    }
}
