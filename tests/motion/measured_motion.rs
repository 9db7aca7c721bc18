//! Motion and the measured joints: where motion begins, whether the robot follows it, and joints that turn without end.

use vla_trt_tests::demo;
use vla_trt_tests::eef;

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, HeaderView, JointTrajectoryMessage, write};
use vla_motion::WatchdogState;
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, Inputs, Violation};
use vla_runtime::messages::TrajectoryBuffer;
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Control, CycleOutcome, Session};

const NOW: Stamp = Stamp::from_nanos(1_760_000_000_000_000_000);
/// Of each joint, rad/s and 1/s.
const VELOCITY: f64 = 2.0;

fn ms(ms: i64) -> Span {
    Span::from_nanos(ms * 1_000_000)
}

/// A robot with the demo policy's joints and cameras.
struct Robot {
    _policy: tempfile::TempDir,
    session: Session,
    settings: Arc<Settings>,
    inputs: Inputs,
    joints: Vec<String>,
    positions: Vec<f64>,
}

impl Robot {
    fn new(assignments: &[&str]) -> Self {
        let policy = demo::policy();
        let names = demo::settings(policy.path(), &[]).joint_names();
        let mut given: Vec<String> =
            ["top", "left_wrist", "right_wrist"].map(|name| format!("inputs.cameras.{name}.transport:=raw")).into();
        given.push("instruction:=move".to_owned());
        for joint in &names {
            given.push(format!("limits.{joint}.velocity:={VELOCITY:?}"));
            given.push(format!("limits.{joint}.acceleration:=10.0"));
        }
        given.extend(assignments.iter().map(ToString::to_string));
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let settings = demo::settings(policy.path(), &given);
        let spec = PolicySpec::load(policy.path()).expect("the demo policy");
        let session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let inputs = Inputs::new(settings.inputs.clone());
        inputs.set_instruction("move");
        let positions = vec![0.1; names.len()];
        Self { _policy: policy, session, settings, inputs, joints: names, positions }
    }

    /// Every input, of this moment.
    fn sense(&self, now: Stamp) {
        let header = HeaderView { stamp: now, frame_id: "" };
        for (index, input) in self.settings.inputs.iter().enumerate() {
            if let InputKind::Camera { .. } = input.kind {
                // No frame is like the one before.
                let shade = now.nanos() / 1_000_000;
                let data: Vec<u8> = (0..48 * 192).map(|i| ((i % 192 + shade) % 251) as u8).collect();
                let bytes = write::image(header, 64, 48, "rgb8", 192, &data);
                self.inputs.offer(index, bytes.into(), now).expect("a good frame");
            }
        }
        self.sense_joints(now, &self.positions);
    }

    fn sense_joints(&self, now: Stamp, positions: &[f64]) {
        sense_joints(&self.inputs, &self.joints, now, positions);
    }

    /// A cycle whose chunk is published `latency` ms later.
    fn cycle(&mut self, now: Stamp, latency: i64) -> Result<(ActionChunkMessage, JointTrajectoryMessage), String> {
        let Self { session, inputs, settings, .. } = self;
        taken(session.cycle(now, inputs, settings, false, &mut || now + ms(latency)))
    }

    fn control(&self) -> Arc<Control> {
        Arc::clone(self.session.control())
    }

    fn joint(&self, name: &str) -> usize {
        self.joints.iter().position(|joint| joint == name).expect("a joint")
    }
}

fn sense_joints(inputs: &Inputs, joints: &[String], now: Stamp, positions: &[f64]) {
    let index = inputs.specs().iter().position(|input| input.kind == InputKind::Joints).expect("joints");
    let header = HeaderView { stamp: now, frame_id: "" };
    let names: Vec<&str> = joints.iter().map(String::as_str).collect();
    let bytes = write::joint_state(header, &names, positions, &[], &[]);
    inputs.offer(index, bytes.into(), now).expect("a good joint state");
}

fn taken(outcome: CycleOutcome<'_>) -> Result<(ActionChunkMessage, JointTrajectoryMessage), String> {
    match outcome {
        CycleOutcome::Published(published) => {
            Ok((published.chunk.clone(), published.trajectory.expect("joints").clone()))
        }
        CycleOutcome::Violation { violation, .. } => Err(violation.to_string()),
        CycleOutcome::Refused { refusal, .. } => Err(refusal.to_string()),
        other => Err(format!("{other:?}")),
    }
}

/// Positions of the first point, at rest or not.
fn first(trajectory: &JointTrajectoryMessage) -> (&[f64], bool) {
    let point = trajectory.points.first().expect("points");
    (&point.positions, point.velocities.iter().all(|velocity| *velocity == 0.0))
}

#[test]
fn motion_begins_where_the_arm_is_after_it_was_held_and_moved_by_hand() {
    for rule in ["skip", "hold"] {
        let mut robot = Robot::new(&[&format!("inputs.on_violation:={rule}")]);
        let waist = robot.joint("left_waist");
        robot.sense(NOW);
        let (_, trajectory) = robot.cycle(NOW, 20).expect("a chunk");
        assert_eq!(first(&trajectory), (robot.positions.as_slice(), true), "the first");
        // Nothing comes; the plan runs out, or is braked.
        let late = robot.cycle(NOW + ms(400), 20).expect_err("old inputs");
        assert!(late.contains("joints"), "{late}");
        let later = NOW + ms(5000);
        robot.positions[waist] = 0.998;
        robot.sense(later);
        let (_, trajectory) = robot.cycle(later, 20).expect("a chunk");
        assert_eq!(first(&trajectory), (robot.positions.as_slice(), true), "{rule}");
    }
}

#[test]
fn motion_begins_at_the_newest_joint_state_and_not_at_that_of_the_observation() {
    let mut robot = Robot::new(&[]);
    robot.sense(NOW);
    let Robot { session, inputs, settings, joints, positions, .. } = &mut robot;
    let moved: Vec<f64> = positions.iter().map(|position| position + 0.05).collect();
    let outcome = session.cycle(NOW, inputs, settings, false, &mut || {
        sense_joints(inputs, joints, NOW + ms(90), &moved);
        NOW + ms(100)
    });
    let (_, trajectory) = taken(outcome).expect("a chunk");
    assert_eq!(first(&trajectory), (moved.as_slice(), true));
}

#[test]
fn paired_with_the_frame_actions_refer_to_the_state_of_the_picture_and_motion_begins_at_the_newest() {
    let captured = NOW + ms(-150);
    let cycle = |pairing: &str, moves: bool| {
        let pairing = format!("inputs.pairing:={pairing}");
        let mut robot = Robot::new(&[&pairing, "inputs.max_skew_ms:=200.0"]);
        robot.sense(captured);
        let moved: Vec<f64> = robot.positions.iter().map(|position| position + 0.05).collect();
        if moves {
            robot.sense_joints(NOW, &moved);
        }
        let (chunk, trajectory) = robot.cycle(NOW, 20).expect("a chunk");
        let begins = first(&trajectory).0.to_vec();
        (chunk.values, chunk.stamp, begins == moved, begins == robot.positions)
    };
    // What the policy does with a robot that rests where it was in the picture.
    let rested = cycle("newest", false);
    assert_eq!((rested.1, rested.2, rested.3), (captured, false, true));
    let paired = cycle("frame", true);
    assert_eq!((paired.1, paired.2), (captured, true), "motion begins where the arm is now");
    assert_eq!(paired.0, rested.0, "the same state, so the same actions");
    let newest = cycle("newest", true);
    assert_ne!(newest.0, rested.0, "the state is 150 ms newer than the picture");
}

#[test]
fn limits_hold_in_the_units_of_the_robot_where_a_joint_counts_the_other_way_in_the_model() {
    let reversed = [
        "state.left_arm.scale:=[-2.0, 1.0, 1.0, 1.0, 1.0, 1.0]",
        "state.left_arm.offset:=[0.3, 0.0, 0.0, 0.0, 0.0, 0.0]",
    ];
    for (min, max) in [(0.099, 0.101), (-3.0, 3.0)] {
        let limits = [format!("limits.left_waist.min:={min:?}"), format!("limits.left_waist.max:={max:?}")];
        let mut robot = Robot::new(&[reversed[0], reversed[1], &limits[0], &limits[1]]);
        let waist = robot.joint("left_waist");
        robot.sense(NOW);
        let (chunk, trajectory) = robot.cycle(NOW, 20).expect("a chunk");
        assert_eq!(first(&trajectory), (robot.positions.as_slice(), true), "motion begins at the measured position");
        let column = chunk.names.iter().position(|name| name == "left_waist").expect("a column");
        let rows = chunk.values.chunks(chunk.names.len());
        let commanded: Vec<f64> = rows.map(|row| f64::from(row[column])).collect();
        let planned = trajectory.points.iter().map(|point| point.positions[waist]);
        // In the model's units the joint stands at 0.3 - 2 * 0.1 = 0.1, which lies within the limits as well; what moves it does not.
        let within = |position: f64| (min - 1e-6..=max + 1e-6).contains(&position);
        assert!(commanded.iter().copied().chain(planned).all(within), "{commanded:?}");
        if max < 1.0 {
            assert!(commanded.iter().any(|position| (position - min).abs() < 1e-6 || (position - max).abs() < 1e-6));
        }
    }
}

#[test]
fn a_joint_that_counts_the_other_way_is_commanded_the_mirrored_motion() {
    // The state that the model sees is the same: -1 * -0.1. So are its relative actions, and the robot's joint takes them mirrored.
    let run = |scale: f64, position: f64| {
        let scale = format!("state.left_arm.scale:=[{scale:?}, 1.0, 1.0, 1.0, 1.0, 1.0]");
        let mut robot = Robot::new(&[&scale, "limits.left_waist.min:=-3.0", "limits.left_waist.max:=3.0"]);
        let waist = robot.joint("left_waist");
        robot.positions[waist] = position;
        robot.sense(NOW);
        let (chunk, _) = robot.cycle(NOW, 20).expect("a chunk");
        let column = chunk.names.iter().position(|name| name == "left_waist").expect("a column");
        chunk.values.chunks(chunk.names.len()).map(|row| row[column]).collect::<Vec<f32>>()
    };
    let (plain, mirrored) = (run(1.0, 0.1), run(-1.0, -0.1));
    assert!(plain.iter().any(|value| (value - 0.1).abs() > 1e-4), "it moves: {plain:?}");
    assert!(plain.iter().zip(&mirrored).all(|(a, b)| (a + b).abs() < 1e-6), "{plain:?} {mirrored:?}");
}

#[test]
fn without_a_fresh_joint_state_motion_does_not_begin_and_goes_on_where_a_plan_is_followed() {
    let mut robot = Robot::new(&[]);
    robot.sense(NOW);
    // The joint state is 200 ms old at most in config/aloha.yaml.
    let refused = robot.cycle(NOW, 250).expect_err("joint states ceased");
    assert!(refused.contains("`left_waist`") && refused.contains("250 ms old, at most 200 ms"), "{refused}");
    robot.sense(NOW + ms(300));
    robot.cycle(NOW + ms(300), 20).expect("a chunk");
    robot.sense(NOW + ms(320));
    robot.cycle(NOW + ms(320), 250).expect("the plan in force goes on");
}

/// Runs a plan while the joints are `positions(plan, time)`; the state at its end and why.
fn follow(
    robot: &mut Robot,
    positions: impl Fn(&Control, Stamp) -> Vec<f64>,
) -> (WatchdogState, Option<Arc<str>>, JointTrajectoryMessage) {
    let (control, mut out) = (robot.control(), TrajectoryBuffer::default());
    robot.sense(NOW);
    robot.cycle(NOW, 20).expect("a chunk");
    for now in (30..300).step_by(10).map(|at| NOW + ms(at)) {
        robot.sense_joints(now, &positions(&control, now));
        let watched = control.watch(now, &robot.inputs, &robot.settings, &mut out);
        if watched.braked.entered() {
            assert!(watched.braked.must_publish());
            break;
        }
    }
    (control.state(), control.status(&robot.settings).reason, out.message().clone())
}

/// Where the plan had the joints some time ago.
fn lagging(control: &Control, at: Stamp) -> Vec<f64> {
    let plan = control.plan().expect("a plan");
    let (mut positions, mut velocities) = (vec![0.1; plan.names().len()], vec![0.0; plan.names().len()]);
    plan.sample(at - ms(150), &mut positions, &mut velocities);
    positions
}

/// Where the plan has the joints, but for the waist, which is pushed.
fn pushed(robot: &Robot) -> impl Fn(&Control, Stamp) -> Vec<f64> + use<> {
    let waist = robot.joint("left_waist");
    move |control: &Control, at: Stamp| {
        let mut positions = lagging(control, at);
        if at >= NOW + ms(100) {
            positions[waist] = 0.998;
        }
        positions
    }
}

#[test]
fn a_joint_that_does_not_follow_brakes_the_motion_and_is_named_with_planned_and_measured() {
    for (rule, state) in [("skip", WatchdogState::Holding), ("stop", WatchdogState::Stopped)] {
        let mut robot = Robot::new(&[&format!("inputs.on_violation:={rule}")]);
        let positions = pushed(&robot);
        let (reached, reason, stop) = follow(&mut robot, positions);
        let reason = reason.expect("a reason");
        assert_eq!(reached, state, "{reason}");
        let named =
            ["joint `left_waist` does not follow its plan", "measured 0.998 rad", "planned 0.", "allowed 0.500 rad"];
        for part in named.into_iter().chain(["limits.left_waist.tracking_error"]) {
            assert!(reason.contains(part), "{reason} lacks {part}");
        }
        assert_eq!(stop.stamp, NOW + ms(100), "at the first look");
        assert!(stop.points.last().is_some_and(|point| point.velocities.iter().all(|v| *v == 0.0)));
    }
}

#[test]
fn after_a_tracking_error_motion_begins_at_rest_where_the_joints_are() {
    let mut robot = Robot::new(&[]);
    let positions = pushed(&robot);
    follow(&mut robot, positions);
    let waist = robot.joint("left_waist");
    robot.positions[waist] = 0.998;
    let end = robot.control().plan().expect("the stop").end();
    robot.sense(end - ms(10));
    let early = robot.cycle(end - ms(10), 5).expect_err("it still brakes");
    assert!(early.contains("before the motion was stopped"), "{early}");
    robot.sense(end + ms(10));
    let (_, trajectory) = robot.cycle(end + ms(10), 20).expect("at rest");
    assert_eq!(first(&trajectory), (robot.positions.as_slice(), true));
}

/// `limits.<joint>.tracking_error` of every joint.
fn allow(tracking_error: &str) -> Robot {
    let names = Robot::new(&[]).joints;
    let all: Vec<String> = names.iter().map(|name| format!("limits.{name}.tracking_error:={tracking_error}")).collect();
    Robot::new(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_controller_that_lags_by_its_latency_follows() {
    let (state, reason, _) = follow(&mut allow("0.02"), lagging);
    assert!(state.is_moving() && reason.is_none(), "{state} {reason:?}");
}

#[test]
fn with_an_infinite_tracking_error_nothing_is_watched() {
    let mut robot = allow(".inf");
    let positions = pushed(&robot);
    assert!(follow(&mut robot, positions).0.is_moving());
}

/// The joint turns through half a turn as a driver shows it; what came of every cycle.
fn turning(robot: &mut Robot) -> Vec<Result<(ActionChunkMessage, JointTrajectoryMessage), String>> {
    let waist = robot.joint("left_waist");
    (0..12)
        .map(|cycle| {
            let now = NOW + ms(200 * cycle);
            let angle = 2.9 + 0.05 * cycle as f64;
            robot.positions[waist] = (angle + PI).rem_euclid(TAU) - PI;
            robot.sense(now);
            robot.cycle(now, 20)
        })
        .collect()
}

#[test]
fn a_continuous_joint_turns_on_without_a_step_in_chunks_and_trajectories() {
    let mut robot = Robot::new(&["limits.left_waist.continuous:=true"]);
    let waist = robot.joint("left_waist");
    let mut last: Option<(Stamp, f64)> = None;
    let mut highest = f64::MIN;
    for (cycle, outcome) in turning(&mut robot).into_iter().enumerate() {
        let (chunk, trajectory) = outcome.unwrap_or_else(|refused| panic!("cycle {cycle}: {refused}"));
        let rows: Vec<f32> = chunk.values.iter().skip(waist).step_by(chunk.names.len()).copied().collect();
        assert!(rows.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 3.2), "{rows:?}");
        for point in &trajectory.points {
            let at = trajectory.stamp + point.time_from_start;
            let position = point.positions[waist];
            if let Some((before, from)) = last.filter(|(before, _)| *before < at) {
                let most = VELOCITY * (at - before).seconds() + 1e-9;
                assert!((position - from).abs() <= most, "cycle {cycle}: {from} to {position}");
            }
            highest = highest.max(position);
        }
        // The next trajectory takes over from here.
        last =
            trajectory.points.first().map(|point| (trajectory.stamp + point.time_from_start, point.positions[waist]));
    }
    assert!(highest > PI, "beyond half a turn, not back by a whole one: {highest}");
}

#[test]
fn a_joint_that_is_not_continuous_and_jumps_by_a_turn_is_a_violation_by_name_and_brakes() {
    let mut robot = Robot::new(&[]);
    let waist = robot.joint("left_waist");
    let outcomes = turning(&mut robot);
    let jumps: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let named = |text: &&&String| {
        text.contains("joint `left_waist` went from 3.100 to -3.133 rad")
            && text.contains("limits.left_waist.continuous")
    };
    assert_eq!(jumps.iter().filter(named).count(), 1, "{jumps:?}");
    let (before, after): (Vec<_>, Vec<_>) =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).partition(|(_, t)| first(t).0[waist] > 0.0);
    assert!(!before.is_empty() && !after.is_empty());
    let highest =
        after.iter().flat_map(|(_, t)| &t.points).map(|point| point.positions[waist]).fold(f64::MIN, f64::max);
    assert!(highest < 0.0, "motion begins anew on the side where the joint is, {highest}");
}

#[test]
fn a_jump_of_a_turn_is_seen_by_the_watch_thread_without_an_inference() {
    let mut robot = Robot::new(&[]);
    let waist = robot.joint("left_waist");
    robot.positions[waist] = 3.1;
    robot.sense(NOW);
    robot.cycle(NOW, 20).expect("a chunk");
    robot.positions[waist] = -3.1;
    robot.sense_joints(NOW + ms(30), &robot.positions);
    let (control, mut out) = (robot.control(), TrajectoryBuffer::default());
    let watched = control.watch(NOW + ms(35), &robot.inputs, &robot.settings, &mut out);
    let reason = watched.violation.as_ref().map(Violation::to_string).expect("a violation");
    assert!(watched.braked.must_publish() && reason.starts_with("joints jumped: joint `left_waist`"), "{reason}");
    assert_eq!(control.state(), WatchdogState::Holding);
}

#[test]
fn rtc_is_told_of_rows_that_were_published_and_of_no_others() {
    let (_kept, policy) = eef::policy(|_, _| {});
    let mut given: Vec<String> = eef::JOINTS.iter().map(|joint| format!("limits.{joint}.velocity:=2.0")).collect();
    given.extend(["handover.mode:=rtc", "handover.rtc_frozen:=6", "handover.rtc_overlap:=4"].map(str::to_owned));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let settings = eef::settings(&policy, &given).unwrap_or_else(|problems| panic!("{problems}"));
    let spec = PolicySpec::load(&policy).expect("the policy");
    let mut session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_instruction(&settings.instruction);
    let mut cycle = |at: i64, latency: i64| {
        let now = NOW + ms(at);
        for (index, input) in settings.inputs.iter().enumerate() {
            let pose = ([0.4 + at as f64 * 1e-5, -0.2, 0.3], [0.0, 0.0, 0.6, 0.8]);
            if let Some(bytes) = eef::message(input, now, pose, &[0.5, 0.1, -0.4, 1.1, 0.2, -0.7, -0.1, 0.25]) {
                inputs.offer(index, bytes, now).expect("a good message");
            }
        }
        taken(session.cycle(now, &inputs, &settings, false, &mut || now + ms(latency)))
    };
    let (published, _) = cycle(0, 20).expect("a chunk");
    let refused = cycle(40, 2000).expect_err("all rows late");
    assert!(refused.starts_with("every row of the chunk is late"), "{refused}");
    let (next, _) = cycle(80, 20).expect("a chunk");
    // Rows are 20 ms apart: row 0 of the next is due when row 4 of the first was.
    let width = published.names.len();
    let pose = published.names.iter().filter(|name| name.starts_with("left_eef")).count();
    assert_eq!(pose, 9);
    for row in 0..6 {
        let (promised, told) = (&published.values[(row + 4) * width..], &next.values[row * width..]);
        assert_eq!(promised[..pose], told[..pose], "row {row}");
    }
}

#[test]
fn the_slow_first_inference_of_a_cold_start_freezes_no_rows_of_later_chunks() {
    // Rows far apart, so that the first chunk is not wholly late.
    let mut robot = Robot::new(&["action.step_s:=0.25", "inputs.joints.max_age_ms:=5000.0"]);
    let mut frozen = |at: i64, latency: i64| {
        robot.sense(NOW + ms(at));
        robot.cycle(NOW + ms(at), latency).expect("a chunk");
        robot.session.control().frozen(&robot.settings, robot.settings.step).0
    };
    assert_eq!(frozen(0, 3000), 13, "all that is known");
    assert_eq!([frozen(3100, 50), frozen(3200, 50), frozen(3300, 50)], [1, 1, 1]);
}
