//! The list of the node's parameters. `docs/parameters.md` is made from it.

use super::shape::PolicyShape;
use ros2_parameters::Overrides;
use ros2_parameters::Value;
use ros2_parameters::{Constraint, Declaration};
use vla_policy::spec::STEP_S;

mod keys;
mod motion;

/// Longest age and skew that can be allowed: an hour.
const LONGEST_MS: f64 = 3_600_000.0;
/// For how long a camera may send the same frame, in ms: no sensor's noise repeats bit by bit, so two seconds of it are a fault, and
/// a codec that repeats a frame now and then is none.
const STUCK_CAMERA_MS: f64 = 2000.0;
/// For how long joint states may repeat while a plan moves the joints, in ms. The plan has moved them by more than an encoder's
/// step, and a second is several times what drives take to follow.
const STUCK_JOINTS_MS: f64 = 1000.0;
/// A mebibyte count that no machine reaches.
const MOST_MIB: i64 = 1 << 24;

/// Every parameter of a node that runs this policy.
///
/// The overrides matter for what is named by parameters itself: joints have limits of their own, and poses are inputs.
pub fn declarations(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    let mut all = node();
    all.extend(engines(shape));
    all.extend(inputs(shape));
    all.extend(keys::pose_inputs(shape, overrides));
    all.extend(keys::state(shape));
    all.extend(keys::action(shape));
    all.extend(inference(shape));
    all.extend(motion::motion());
    all.extend(keys::limits(shape, overrides));
    all
}

fn declare(
    name: impl Into<String>,
    default: Value,
    constraint: Constraint,
    description: impl Into<String>,
) -> Declaration {
    Declaration { name: name.into(), default, description: description.into(), constraint, read_only: false }
}

/// As [`declare`], and fixed at start.
fn fixed(
    name: impl Into<String>,
    default: Value,
    constraint: Constraint,
    description: impl Into<String>,
) -> Declaration {
    Declaration { read_only: true, ..declare(name, default, constraint, description) }
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn one_of(words: &[&str]) -> Constraint {
    Constraint::OneOf(words.iter().map(|word| (*word).to_owned()).collect())
}

fn up_to(from: f64, to: f64) -> Constraint {
    Constraint::DoubleRange { from, to, step: 0.0 }
}

fn node() -> Vec<Declaration> {
    vec![
        fixed(
            "policy",
            text(""),
            Constraint::None,
            "Folder of the policy bundle (the one with policy.yaml), absolute or relative to the working directory. Required.",
        ),
        fixed("use_sim_time", Value::Bool(false), Constraint::None, "Take the time from /clock instead of the system."),
        declare(
            "frame_id",
            text(""),
            Constraint::None,
            "frame_id in the header of published chunks: the frame of the poses in them, where there are any.",
        ),
        declare(
            "log_level",
            text("info"),
            one_of(&["debug", "info", "warn", "error", "fatal"]),
            "Least severe messages that are logged to the console and to /rosout.",
        ),
        declare(
            "log_shapes",
            Value::Bool(false),
            Constraint::None,
            "Log name, type and shape of every tensor at each inference. For finding faults: it is a lot of text.",
        ),
    ]
}

fn engines(shape: &PolicyShape) -> Vec<Declaration> {
    let mut all = vec![
        fixed(
            "engine.kind",
            text("onnx"),
            one_of(&["tensorrt", "onnx"]),
            "What runs the policy: TensorRT engines built on this device, or ONNX Runtime on the CPU.",
        ),
        fixed(
            "engine.threads",
            Value::Integer(1),
            Constraint::IntegerRange { from: 1, to: 256, step: 0 },
            "CPU threads of one inference (onnx). Chunks are the same bit by bit only for the same number.",
        ),
        declare(
            "engine.cuda_graph",
            Value::Bool(true),
            Constraint::None,
            "Record a whole inference as one CUDA graph after its first run (tensorrt). false: start every engine by itself.",
        ),
        declare(
            "engine.max_restarts",
            Value::Integer(3),
            Constraint::IntegerRange { from: 0, to: 1000, step: 0 },
            "How often the engines are loaded again by themselves after the device was lost (a sticky CUDA error), counted from \
             the start or the last ~/reload. Then the node is degraded.",
        ),
        declare(
            "engines.load_order",
            Value::StringArray(Vec::new()),
            Constraint::OrderOf(shape.stages.clone()),
            "Order in which the engines are loaded, at the next load. Empty: the largest file first.",
        ),
        declare(
            "memory.budget_mib",
            Value::Integer(0),
            Constraint::IntegerRange { from: 0, to: MOST_MIB, step: 0 },
            "Memory that the engines together may take, host and GPU added, in MiB; at the next load. 0: what is free then less \
             memory.reserve_mib. `vla-trt plan` says how much a policy needs.",
        ),
        declare(
            "memory.reserve_mib",
            Value::Integer(512),
            Constraint::IntegerRange { from: 0, to: MOST_MIB, step: 0 },
            "Memory left to the system, the cameras and the other nodes, in MiB; at the next load.",
        ),
        declare(
            "memory.count_available",
            Value::Bool(false),
            Constraint::None,
            "Where GPU and CPU share one memory: take MemAvailable of /proc/meminfo for what is free, page cache included, in \
             place of the GPU driver's figure, which leaves it out (docs/memory.md); at the next load.",
        ),
        declare(
            "memory.release_host_copy",
            Value::Bool(true),
            Constraint::None,
            "Give back the copy that TensorRT keeps of an engine in host memory, where a trial at its build showed that this is \
             safe (docs/memory.md): it goes to a file without a name beside the engine; at the next load. false: it stays.",
        ),
    ];
    for stage in &shape.stages {
        all.push(fixed(
            format!("engines.{stage}.path"),
            text(""),
            Constraint::None,
            format!(
                "File of the engine of stage {stage}, absolute or relative to the policy folder. Empty: engines/{stage}.engine, or \
                 for engine.kind onnx the network that the policy names."
            ),
        ));
        all.push(declare(
            format!("engines.{stage}.allow_unverified"),
            Value::Bool(false),
            Constraint::None,
            format!(
                "Load the engine of stage {stage} also when it has no provenance file, at the next load; warns at every start. \
                 One whose provenance differs is refused all the same."
            ),
        ));
        all.push(declare(
            format!("engines.{stage}.allow_inaccurate"),
            Value::Bool(false),
            Constraint::None,
            format!(
                "Load the engine of stage {stage} also when it failed its accuracy gate (`vla-trt verify`), at the next load; \
                 warns at every start."
            ),
        ));
    }
    all
}

fn inputs(shape: &PolicyShape) -> Vec<Declaration> {
    let mut all = Vec::new();
    for camera in &shape.cameras {
        let name = |field: &str| format!("inputs.cameras.{camera}.{field}");
        all.push(fixed(
            name("topic"),
            text(&format!("camera/{camera}/image_raw")),
            Constraint::TopicName,
            format!("Topic of the view {camera}. Compressed frames have a topic of their own, mostly .../compressed."),
        ));
        all.push(fixed(
            name("transport"),
            text("raw"),
            one_of(&["raw", "compressed"]),
            format!("Message type of the view {camera}: raw is sensor_msgs/Image, compressed is sensor_msgs/CompressedImage."),
        ));
        all.extend(freshness(&format!("inputs.cameras.{camera}"), &format!("a frame of the view {camera}"), 200.0));
        all.push(stuck(
            &format!("inputs.cameras.{camera}"),
            STUCK_CAMERA_MS,
            format!(
                "For how long in ms, by header stamp, frames of the view {camera} may be the same bit by bit under fresh stamps. 0: \
                 for ever, as a simulated camera sees a scene in which nothing moves."
            ),
        ));
    }
    all.push(fixed(
        "inputs.joints.topic",
        text("joint_states"),
        Constraint::TopicName,
        "Topic of the joint states (sensor_msgs/JointState). Joints are found by name and merged by joint: their order is free, and \
         several publishers may share the topic.",
    ));
    all.extend(freshness("inputs.joints", "the position of a joint that the policy reads", 100.0));
    all.push(stuck(
        "inputs.joints",
        STUCK_JOINTS_MS,
        "For how long in ms the joint states of a publisher may repeat bit by bit while the plan moves one of their joints. 0: for ever."
            .to_owned(),
    ));
    all.push(fixed(
        "inputs.instruction.topic",
        text("instruction"),
        Constraint::TopicName,
        "Topic of the instruction (std_msgs/String, reliable, transient local). The latest of topic and parameter holds.",
    ));
    all.extend(enable_switch());
    all.extend([
        declare(
            "inputs.max_skew_ms",
            Value::Double(100.0),
            up_to(0.0, LONGEST_MS),
            "Largest distance in ms between the stamps of the required inputs of one observation.",
        ),
        declare(
            "inputs.future_tolerance_ms",
            Value::Double(20.0),
            up_to(0.0, LONGEST_MS),
            "How far in ms a stamp may lie ahead of now, and the clock may step back, before it is not trusted.",
        ),
        declare(
            "inputs.on_violation",
            text("skip"),
            one_of(&["skip", "hold", "stop"]),
            "When an input is missing, too old, frozen, stuck or out of step, or an inference is refused for what it was given or gives \
             (a joint missing, a picture that does not decode, an instruction that does not fit, values that are not finite): skip this \
             inference; hold, braking now and going on with the next good chunk; or stop, braking now until ~/resume is called.",
        ),
    ]);
    all
}

fn enable_switch() -> [Declaration; 2] {
    [
        fixed(
            "inputs.enable.topic",
            text(""),
            Constraint::OptionalTopicName,
            "Topic of the operator's enable switch (dead-man switch, std_msgs/Bool). The robot moves only while it says true; false, or \
             silence for inputs.enable.max_age_ms, brakes and stops until ~/resume is called. Empty: no switch. It replaces no hardware \
             emergency stop.",
        ),
        declare(
            "inputs.enable.max_age_ms",
            Value::Double(500.0),
            up_to(20.0, 10_000.0),
            "Longest time in ms that a message of the enable switch lets the robot move, from its arrival. Publish it at least three \
             times as often.",
        ),
    ]
}

fn stuck(prefix: &str, default_ms: f64, description: String) -> Declaration {
    declare(format!("{prefix}.stuck_after_ms"), Value::Double(default_ms), up_to(0.0, LONGEST_MS), description)
}

fn freshness(prefix: &str, sample: &str, max_age_ms: f64) -> [Declaration; 3] {
    [
        fixed(
            format!("{prefix}.stamp"),
            text("header"),
            one_of(&["header", "arrival"]),
            format!(
                "What the age of {sample} is counted from: header, the time of capture in header.stamp, or arrival, for a driver that \
                 does not stamp its messages (header.stamp is zero); the time in transport is then not seen."
            ),
        ),
        declare(
            format!("{prefix}.max_age_ms"),
            Value::Double(max_age_ms),
            up_to(1.0, LONGEST_MS),
            format!("Greatest age in ms, by header stamp, at which {sample} is used."),
        ),
        declare(
            format!("{prefix}.required"),
            Value::Bool(true),
            Constraint::None,
            format!(
                "Whether the age of {sample} can forbid inference. If not it is only reported; one must still have come."
            ),
        ),
    ]
}

fn inference(shape: &PolicyShape) -> Vec<Declaration> {
    vec![
        declare(
            "instruction",
            text(""),
            Constraint::None,
            "What the robot shall do, in words. Empty: wait for the instruction topic.",
        ),
        declare(
            "rate_hz",
            Value::Double(5.0),
            up_to(-1.0, 1000.0),
            "Inferences per second. 0: as fast as useful, the next one starting with the first newer observation after the last. \
             -1: only on demand (~/infer_once).",
        ),
        declare(
            "seed",
            Value::Integer(0),
            Constraint::IntegerRange { from: 0, to: i64::MAX, step: 0 },
            "Seed of the initial noise. The noise depends on it and on the observation's stamps, nothing else.",
        ),
        declare(
            "denoise.steps",
            Value::Integer(i64::from(shape.default_steps)),
            Constraint::IntegersOf(shape.denoise_steps.iter().map(|&steps| i64::from(steps)).collect()),
            "Denoising steps of each inference: more are slower. The policy is exported for some numbers only.",
        ),
        declare(
            "action.step_s",
            Value::Double(shape.step.seconds()),
            up_to(*STEP_S.start(), *STEP_S.end()),
            "Time in s from one action row to the next. The policy's own unless set: a longer one plays chunks slower.",
        ),
    ]
}
