//! Declares the parameters of [`super::table`] for one policy. `docs/parameters.md` is made from the declarations.

use super::shape::PolicyShape;
use super::table::{engines, inputs, motion, node, record};
use ros2_parameters::{Constraint, Declaration, Overrides, Value};

mod keys;
mod outputs;
pub(super) mod qos;

/// Greatest age of a camera's frames by default, in ms; of joint states and poses it is half of that.
const CAMERA_MAX_AGE_MS: f64 = 200.0;

/// Every parameter of a node that runs this policy.
///
/// Overrides decide which parameters exist where parameters name something: joints have limits, poses are inputs, and topics have QoS.
pub fn declarations(shape: &PolicyShape, overrides: &Overrides) -> Vec<Declaration> {
    let mut all = vec![
        node::POLICY.declare(),
        node::USE_SIM_TIME.declare(),
        node::AUTOSTART.declare(),
        node::FRAME_ID.declare(),
        node::LOG_LEVEL.declare(),
        node::LOG_SHAPES.declare(),
    ];
    all.extend(engines(shape));
    all.extend(inputs(shape));
    all.extend(keys::joint_inputs(shape, overrides));
    all.extend(keys::pose_inputs(shape, overrides));
    all.extend(keys::state(shape));
    all.extend(keys::action(shape));
    all.extend(inference(shape));
    all.extend(motion());
    all.extend(outputs::outputs(overrides));
    all.extend(keys::limits(shape, overrides));
    all.extend([
        record::PATH.declare(),
        record::MAX_BYTES.declare(),
        record::MAX_FILE_BYTES.declare(),
        record::MAX_FILE.declare(),
        record::QUEUE_BYTES.declare(),
    ]);
    all.extend(qos::subscriptions(&all, overrides));
    all
}

fn engines(shape: &PolicyShape) -> Vec<Declaration> {
    let mut all = vec![
        engines::KIND.declare(),
        engines::THREADS.declare(),
        engines::ENCODE_THREADS.declare(),
        engines::ENCODE_DEVICE.declare(),
        engines::CUDA_GRAPH.declare(),
        engines::INTEGER_KERNELS.declare(),
        engines::MAX_RESTARTS.declare(),
        Declaration { constraint: Constraint::OrderOf(shape.stages.clone()), ..engines::LOAD_ORDER.declare() },
        engines::BUDGET_MIB.declare(),
        engines::RESERVE_MIB.declare(),
        engines::COUNT_AVAILABLE.declare(),
        engines::RELEASE_HOST_COPY.declare(),
    ];
    for stage in &shape.stages {
        all.push(engines::PATH.declare_of(stage));
        all.push(engines::ALLOW_UNVERIFIED.declare_of(stage));
        all.push(engines::ALLOW_INACCURATE.declare_of(stage));
    }
    all
}

fn inputs(shape: &PolicyShape) -> Vec<Declaration> {
    let mut all = Vec::new();
    for camera in &shape.cameras {
        let (prefix, sample) = (format!("inputs.cameras.{camera}"), format!("a frame of the view {camera}"));
        let [stamp, max_age, required] = freshness(&prefix, &sample);
        all.push(inputs::CAMERA_TOPIC.declare_of(camera));
        all.push(inputs::CAMERA_TRANSPORT.declare_of(camera));
        all.push(inputs::CAMERA_ENCODING.declare_of(camera));
        all.push(inputs::CAMERA_EXIF.declare_of(camera));
        all.push(inputs::CAMERA_BLANK.declare_of(camera));
        all.push(stamp);
        all.push(Declaration { default: Value::Double(CAMERA_MAX_AGE_MS), ..max_age });
        all.push(required);
        all.push(inputs::CAMERA_STUCK_AFTER.declare_of(camera));
    }
    all.push(inputs::JOINTS_TOPIC.declare());
    all.push(inputs::JOINTS_TOPICS.declare());
    all.push(inputs::JOINTS_PREFIXES.declare());
    all.extend(freshness("inputs.joints", "the position of a joint that the policy reads"));
    all.extend([
        inputs::JOINTS_STUCK_AFTER.declare(),
        inputs::TF_TOPIC.declare(),
        inputs::TF_STATIC_TOPIC.declare(),
        inputs::INSTRUCTION_TOPIC.declare(),
        inputs::ENABLE_TOPIC.declare(),
        inputs::ENABLE_MAX_AGE.declare(),
        inputs::PAIRING.declare(),
        inputs::MAX_SKEW.declare(),
        inputs::FUTURE_TOLERANCE.declare(),
        inputs::ON_VIOLATION.declare(),
    ]);
    all
}

/// The parameters of an input with these names; `sample` says what is sampled.
fn freshness(prefix: &str, sample: &str) -> [Declaration; 3] {
    [
        inputs::STAMP.declare_as(prefix, sample),
        inputs::MAX_AGE.declare_as(prefix, sample),
        inputs::REQUIRED.declare_as(prefix, sample),
    ]
}

fn inference(shape: &PolicyShape) -> Vec<Declaration> {
    let steps = shape.denoise_steps.iter().map(|&steps| i64::from(steps)).collect();
    vec![
        node::INSTRUCTION.declare(),
        node::RATE_HZ.declare(),
        node::SEED.declare(),
        Declaration {
            default: Value::Integer(i64::from(shape.default_steps)),
            constraint: Constraint::IntegersOf(steps),
            ..node::DENOISE_STEPS.declare()
        },
        Declaration { default: Value::Double(shape.step.seconds()), ..node::STEP.declare() },
        node::TASK_REQUIRED.declare(),
        node::TASK_SECOND_GOAL.declare(),
    ]
}

fn motion() -> [Declaration; 15] {
    [
        motion::MODE.declare(),
        motion::BLEND.declare(),
        motion::ENSEMBLE_DECAY.declare(),
        motion::RTC_FROZEN.declare(),
        motion::RTC_OVERLAP.declare(),
        motion::MAX_BLIND.declare(),
        motion::STOP_AFTER.declare(),
        motion::ALLOW_UNLIMITED.declare(),
        motion::REFUSE_AFTER.declare(),
        motion::REALTIME_PRIORITY.declare(),
        motion::COMMAND_RATE_HZ.declare(),
        motion::COMMAND_TYPE.declare(),
        motion::LIMITS_FROM.declare(),
        motion::LIMITS_FILE.declare(),
        motion::LIMITS_TOPIC.declare(),
    ]
}
