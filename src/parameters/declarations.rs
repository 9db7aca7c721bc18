//! The list of the node's parameters. `docs/parameters.md` is made from it.

use std::collections::BTreeSet;

use super::declaration::{Constraint, Declaration};
use super::overrides::Overrides;
use super::shape::PolicyShape;
use super::value::Value;

/// Longest age and skew that can be allowed: an hour.
const LONGEST_MS: f64 = 3_600_000.0;
/// A mebibyte count that no machine reaches.
const MOST_MIB: i64 = 1 << 24;

/// Every parameter of a node that runs this policy.
///
/// The overrides matter for one thing: the joints, which are given by parameters themselves, have limits of their own.
pub fn declarations(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    let mut all = node();
    all.extend(engines(shape));
    all.extend(inputs(shape));
    for (key, width) in &shape.state {
        all.extend(state_key(key, *width));
    }
    for (key, width) in &shape.action_keys {
        all.extend(action_key(key, *width, shape.state.iter().any(|(state, _)| state == key)));
    }
    all.extend(inference(shape));
    for joint in limited_joints(shape, overrides) {
        all.extend(limits(&joint));
    }
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
            "frame_id in the headers of published chunks and trajectories.",
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
    }
    all.push(fixed(
        "inputs.joints.topic",
        text("joint_states"),
        Constraint::TopicName,
        "Topic of the joint states (sensor_msgs/JointState). Joints are found by name; their order is free.",
    ));
    all.extend(freshness("inputs.joints", "a joint state", 100.0));
    all.push(fixed(
        "inputs.instruction.topic",
        text("instruction"),
        Constraint::TopicName,
        "Topic of the instruction (std_msgs/String, reliable, transient local). The latest of topic and parameter holds.",
    ));
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
            "When an input is missing, too old, frozen or out of step: skip this inference; hold, publishing nothing new and \
             saying so; or stop at the current position until ~/resume is called.",
        ),
    ]);
    all
}

fn freshness(prefix: &str, sample: &str, max_age_ms: f64) -> [Declaration; 2] {
    [
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

fn state_key(key: &str, width: usize) -> [Declaration; 3] {
    [
        fixed(
            format!("state.{key}.joints"),
            Value::StringArray(Vec::new()),
            Constraint::Joints { width },
            format!("Joints of the state {key}, by their names in JointState, in the policy's order. Required."),
        ),
        fixed(
            format!("state.{key}.scale"),
            Value::DoubleArray(vec![1.0; width]),
            Constraint::PerJoint { width, nonzero: true },
            "Factor of each joint: model = joint * scale + offset, joint in rad or m.",
        ),
        fixed(
            format!("state.{key}.offset"),
            Value::DoubleArray(vec![0.0; width]),
            Constraint::PerJoint { width, nonzero: false },
            "Offset of each joint, in the model's unit.",
        ),
    ]
}

fn action_key(key: &str, width: usize, has_state: bool) -> [Declaration; 3] {
    let otherwise = if has_state { format!("Empty: as state.{key}.") } else { "Required.".to_owned() };
    let ones = if has_state { Vec::new() } else { vec![1.0; width] };
    let zeros = if has_state { Vec::new() } else { vec![0.0; width] };
    let otherwise_number = if has_state { otherwise.as_str() } else { "" };
    [
        fixed(
            format!("action.{key}.joints"),
            Value::StringArray(Vec::new()),
            Constraint::Joints { width },
            format!("Joints that the action {key} moves, in the policy's order. {otherwise}"),
        ),
        fixed(
            format!("action.{key}.scale"),
            Value::DoubleArray(ones),
            Constraint::PerJoint { width, nonzero: true },
            format!("Factor of each joint: joint = (model - offset) / scale, joint in rad or m. {otherwise_number}")
                .trim_end(),
        ),
        fixed(
            format!("action.{key}.offset"),
            Value::DoubleArray(zeros),
            Constraint::PerJoint { width, nonzero: false },
            format!("Offset of each joint, in the model's unit. {otherwise_number}").trim_end(),
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
            up_to(0.0, 1000.0),
            "Inferences per second. 0: only on demand (~/infer_once).",
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
            up_to(0.0001, 10.0),
            "Time in s from one action row to the next. The policy's own unless set: a longer one plays chunks slower.",
        ),
    ]
}

fn limits(joint: &str) -> [Declaration; 2] {
    let bound = |field: &str, default: f64, word: &str, none: &str| {
        declare(
            format!("limits.{joint}.{field}"),
            Value::Double(default),
            Constraint::NotNan,
            format!(
                "{word} position that {joint} is sent to, in rad or m; actions beyond are clamped and counted. {none}: none."
            ),
        )
    };
    [bound("min", f64::NEG_INFINITY, "Least", "-.inf"), bound("max", f64::INFINITY, "Greatest", ".inf")]
}

/// The joints that actions move, each once, as the overrides give them.
fn limited_joints(shape: &PolicyShape, overrides: &Overrides) -> Vec<String> {
    let given = |name: String| match overrides.get(&name) {
        Some(Value::StringArray(joints)) if !joints.is_empty() => Some(joints),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (key, _) in &shape.action_keys {
        let joints = given(format!("action.{key}.joints")).or_else(|| given(format!("state.{key}.joints")));
        all.extend(joints.into_iter().flatten().filter(|joint| !joint.is_empty() && seen.insert(*joint)).cloned());
    }
    all
}
