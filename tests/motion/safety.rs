//! A refused inference is a violation, and a stop ends only when all is well: at the level of the session, on real ONNX Runtime.

mod stop;
mod suspension;
mod switch;

use vla_trt_tests::demo;

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use vla_base::time::{Span, Stamp};
use vla_messages::{HeaderView, JointTrajectoryMessage, TrajectoryPoint, write};
use vla_motion::WatchdogState;
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, Inputs, OnViolation};
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Braked, CycleOutcome, RefusalKind, ResumeError, Session};

/// Time of an inference in these tests, in ms.
const INFERENCE: i64 = 30;

fn at(ms: i64) -> Stamp {
    Stamp::from_nanos(1_760_000_000_000_000_000 + ms * 1_000_000)
}

/// A grey picture of the demo policy's shape.
fn picture() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 64, 48);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().expect("a header").write_image_data(&[90; 64 * 48 * 3]).expect("pixels");
    file
}

/// The demo policy, and one whose output is NaN. Their files are read when an inference runs, too.
struct Policies {
    good: TempDir,
    nan: TempDir,
}

impl Policies {
    fn new() -> Rc<Self> {
        let (good, nan) = (demo::policy(), tempfile::tempdir().expect("a folder"));
        for file in fs::read_dir(good.path()).expect("the policy") {
            let file = file.expect("a file");
            fs::copy(file.path(), nan.path().join(file.file_name())).expect("a copy");
        }
        let constants = nan.path().join("modulation.safetensors");
        let mut bytes = fs::read(&constants).expect("folded constants");
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize + 8;
        bytes[header..].chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
        fs::write(&constants, bytes).expect("the changed file");
        Rc::new(Self { good, nan })
    }
}

/// The node's loop without the node: the demo robot of `config/aloha.yaml`.
struct Robot {
    session: Session,
    settings: Arc<Settings>,
    inputs: Inputs,
    joints: Vec<String>,
    picture: Vec<u8>,
    policies: Rc<Policies>,
}

impl Robot {
    fn new(assignments: &[&str]) -> Self {
        Self::of(&Policies::new(), assignments)
    }

    fn of(policies: &Rc<Policies>, assignments: &[&str]) -> Self {
        // The cameras of these tests show one picture.
        let still =
            ["top", "left_wrist", "right_wrist"].map(|camera| format!("inputs.cameras.{camera}.stuck_after_ms:=0.0"));
        let assignments: Vec<&str> = still.iter().map(String::as_str).chain(assignments.iter().copied()).collect();
        let settings = demo::settings(policies.good.path(), &assignments);
        let spec = PolicySpec::load(policies.good.path()).expect("the policy");
        let session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let inputs = Inputs::new(settings.inputs.clone());
        let inputs = if settings.enable_topic.is_some() { inputs.with_enable_switch() } else { inputs };
        inputs.set_instruction("pick up the red cube");
        let joints = settings.joint_names();
        Self { session, settings, inputs, joints, picture: picture(), policies: Rc::clone(policies) }
    }

    /// Offers every stamped input, all of one stamp.
    fn sense(&self, now: i64) {
        (0..self.settings.inputs.len()).for_each(|input| self.offer(input, now));
    }

    /// Offers the joint state alone.
    fn sense_joints(&self, now: i64) {
        let joints = self.settings.inputs.iter().position(|input| input.kind == InputKind::Joints);
        self.offer(joints.expect("joints"), now);
    }

    fn offer(&self, input: usize, now: i64) {
        let header = HeaderView { stamp: at(now), frame_id: "" };
        let bytes = match self.settings.inputs[input].kind {
            InputKind::Camera { .. } => write::compressed_image(header, "png", &self.picture),
            InputKind::Joints => write::joint_state(header, &self.joints, &vec![0.1; self.joints.len()], &[], &[]),
            _ => return,
        };
        self.inputs.offer(input, Bytes::from(bytes), at(now)).expect("a good message");
    }

    /// A cycle whose inference takes [`INFERENCE`].
    fn cycle(&mut self, now: i64) -> CycleOutcome<'_> {
        self.session.cycle(at(now), &self.inputs, &self.settings, false, &mut || at(now + INFERENCE))
    }

    fn chunk(&mut self, now: i64) -> JointTrajectoryMessage {
        match self.cycle(now) {
            CycleOutcome::Published(published) => published.trajectory.expect("it moves joints").clone(),
            other => panic!("expected a chunk, found {other:?}"),
        }
    }

    fn resume(&mut self, now: i64) -> Result<bool, ResumeError> {
        self.session.resume(&self.inputs, &self.settings, &mut || at(now))
    }

    fn state(&self) -> WatchdogState {
        self.session.control().state()
    }
}

/// Spoils what the next inference is given.
type Spoil = fn(&mut Robot);

/// Each way to be refused, with a word of its reason.
const REFUSALS: [(Spoil, &str); 3] = [
    (|robot| robot.picture.truncate(40), "truncated"),
    (|robot| robot.inputs.set_instruction(&"pick up the red cube ".repeat(2000)), "tokens"),
    (spoil_policy, "NaN"),
];

/// Loads a policy whose output is NaN in the place of the one that runs, as after a lost device: the motion goes on.
fn spoil_policy(robot: &mut Robot) {
    let policies = Rc::clone(&robot.policies);
    load(robot, policies.nan.path());
}

/// Loads another policy with the motion of the one before.
fn load(robot: &mut Robot, policy: &Path) {
    let spec = PolicySpec::load(policy).expect("the policy");
    let mut session = Session::load(spec, &robot.settings, &mut |_| {}).expect("loads");
    session.continue_motion(robot.session.control());
    robot.session = session;
}

fn mend(robot: &mut Robot) {
    let policies = Rc::clone(&robot.policies);
    if robot.session.policy().spec().dir != policies.good.path() {
        load(robot, policies.good.path());
    }
    robot.joints = robot.settings.joint_names();
    robot.picture = picture();
    robot.inputs.set_instruction("pick up the red cube");
}

/// Position of a joint at a knot of a trajectory.
fn position_at(trajectory: &JointTrajectoryMessage, joint: usize, knot: Stamp) -> f64 {
    let is_it = |point: &&TrajectoryPoint| trajectory.stamp + point.time_from_start == knot;
    trajectory.points.iter().find(is_it).expect("a knot of it").positions[joint]
}

#[test]
fn every_kind_of_refused_inference_brakes_now_and_latches_with_stop() {
    let policies = Policies::new();
    for (spoil, word) in REFUSALS {
        let mut robot = Robot::of(&policies, &["inputs.on_violation:=stop", "max_blind_s:=2.0"]);
        robot.sense(1000);
        let before = robot.chunk(1000);
        spoil(&mut robot);
        robot.sense(1100);
        let CycleOutcome::Refused { refusal, brake } = robot.cycle(1100) else { panic!("{word}: expected a refusal") };
        assert_eq!(refusal.kind(), RefusalKind::Violation, "{refusal}");
        assert!(refusal.to_string().contains(word), "{word}: {refusal}");
        assert_eq!((brake.action, brake.braked), (OnViolation::Stop, Braked::Braking), "{word}");
        let stop = brake.stop.expect("a way to rest").clone();
        // From when the refusal was known, and not from when the inference began: the robot went on meanwhile.
        assert_eq!(stop.stamp, at(1100 + INFERENCE));
        let first = stop.points.first().expect("points");
        let there = position_at(&before, 0, stop.stamp + first.time_from_start);
        assert!((first.positions[0] - there).abs() < 1e-6, "{word}: no jump: {} {there}", first.positions[0]);
        let last = stop.points.last().expect("points");
        assert!(last.velocities.iter().all(|velocity| *velocity == 0.0), "{word}: at rest");
        let end = |trajectory: &JointTrajectoryMessage| {
            trajectory.stamp + trajectory.points.last().expect("points").time_from_start
        };
        assert!(end(&stop) < end(&before), "{word}: sooner than the plan ran out");
        assert_eq!(robot.state(), WatchdogState::Stopped);
        let reason = robot.session.control().status(&robot.settings).reason;
        assert!(reason.as_deref().is_some_and(|reason| reason.contains(word)), "{word}: {reason:?}");

        mend(&mut robot);
        robot.sense(1300);
        assert!(matches!(robot.cycle(1300), CycleOutcome::Stopped), "{word}: it stays, whatever comes");
    }
}

#[test]
fn a_joint_without_a_sample_within_its_age_brakes_by_name_and_one_message_without_it_does_not() {
    let mut robot = Robot::new(&["inputs.on_violation:=stop", "max_blind_s:=2.0", "inputs.joints.max_age_ms:=150.0"]);
    robot.sense(1000);
    robot.chunk(1000);
    robot.joints.retain(|joint| joint != "left_elbow");
    robot.sense(1100);
    robot.chunk(1100);
    robot.sense(1200);
    let CycleOutcome::Violation { violation, brake } = robot.cycle(1200) else { panic!("expected a violation") };
    assert!(violation.to_string().contains("left_elbow"), "{violation}");
    assert_eq!((brake.action, brake.braked), (OnViolation::Stop, Braked::Braking));
    let stop = brake.stop.expect("a way to rest");
    assert!(stop.points.last().expect("points").velocities.iter().all(|velocity| *velocity == 0.0));
    assert_eq!(robot.state(), WatchdogState::Stopped);
    assert!(robot.resume(1210).expect_err("not well").to_string().contains("left_elbow"));
    mend(&mut robot);
    robot.sense(1300);
    assert!(matches!(robot.cycle(1300), CycleOutcome::Stopped), "nothing moves by itself");
    assert!(robot.resume(1310).expect("well"));
}

#[test]
fn every_kind_of_refused_inference_brakes_with_hold_and_the_next_good_one_goes_on() {
    let policies = Policies::new();
    for (spoil, word) in REFUSALS {
        let mut robot = Robot::of(&policies, &["inputs.on_violation:=hold", "max_blind_s:=2.0"]);
        robot.sense(1000);
        robot.chunk(1000);
        spoil(&mut robot);
        robot.sense(1100);
        let CycleOutcome::Refused { brake, .. } = robot.cycle(1100) else { panic!("{word}: expected a refusal") };
        assert_eq!((brake.action, brake.braked), (OnViolation::Hold, Braked::Braking), "{word}");
        robot.sense(1150);
        let CycleOutcome::Refused { brake, .. } = robot.cycle(1150) else { panic!("{word}: expected a refusal") };
        assert!(brake.stop.is_none(), "{word}: told once");
        assert_eq!(robot.state(), WatchdogState::Holding);
        mend(&mut robot);
        robot.sense(1300);
        robot.chunk(1300);
        assert_eq!(robot.state(), WatchdogState::Running, "{word}");
    }
}

#[test]
fn with_skip_a_refused_inference_leaves_the_motion_to_run_out() {
    let mut robot = Robot::new(&["inputs.on_violation:=skip"]);
    robot.sense(1000);
    robot.chunk(1000);
    robot.picture.truncate(40);
    robot.sense(1100);
    let CycleOutcome::Refused { refusal, brake } = robot.cycle(1100) else { panic!("expected a refusal") };
    assert_eq!(refusal.kind(), RefusalKind::Violation);
    assert_eq!((brake.action, brake.braked), (OnViolation::Skip, Braked::NotNeeded));
    assert!(brake.stop.is_none() && robot.state().is_moving());
}

#[test]
fn a_refusal_before_anything_moved_stops_nothing() {
    let mut robot = Robot::new(&["inputs.on_violation:=stop"]);
    robot.picture.truncate(40);
    robot.sense(1000);
    let CycleOutcome::Refused { brake, .. } = robot.cycle(1000) else { panic!("expected a refusal") };
    assert_eq!((brake.action, brake.braked), (OnViolation::Skip, Braked::NotNeeded));
    assert_eq!(robot.state(), WatchdogState::Idle);
}

#[test]
fn inputs_that_are_still_starting_are_no_violation_and_one_that_goes_is() {
    let mut robot = Robot::new(&[]);
    robot.inputs.set_instruction("");
    robot.offer(0, 1000);
    let CycleOutcome::Waiting(missing) = robot.cycle(1000) else { panic!("not every input has come") };
    assert!(missing.to_string().contains("joints missing"), "{missing}");
    assert!(missing.to_string().contains("set the parameter `instruction`"), "{missing}");
    robot.inputs.set_instruction("pick up the red cube");
    robot.sense(1100);
    robot.chunk(1100);
    robot.sense_joints(1700);
    assert!(matches!(robot.cycle(1700), CycleOutcome::Violation { .. }));
}

#[test]
fn an_input_that_comes_and_cannot_be_used_is_a_violation_from_the_start() {
    let mut robot = Robot::new(&[]);
    (0..3).for_each(|camera| robot.offer(camera, 1000));
    let nameless = write::joint_state::<&str>(HeaderView { stamp: at(1000), frame_id: "" }, &[], &[], &[], &[]);
    assert!(robot.inputs.offer(3, nameless.into(), at(1000)).is_err());
    let CycleOutcome::Violation { violation, .. } = robot.cycle(1000) else { panic!("expected a violation") };
    assert!(
        violation.to_string().contains("joints missing (no usable message yet) [last message refused"),
        "{violation}"
    );
}

#[test]
fn inputs_that_all_came_once_and_do_not_fit_together_are_a_violation_from_the_start() {
    let mut robot = Robot::new(&[]);
    robot.sense(1000);
    robot.sense_joints(1600);
    assert!(matches!(robot.cycle(1600), CycleOutcome::Violation { .. }));
}
