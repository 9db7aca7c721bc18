//! A policy whose left arm is the pose of an end effector, from message bytes to chunk: through the session and out of a
//! bag, on real ONNX Runtime. What is expected of a composition is computed here, in plain matrices.

use vla_trt_tests::demo;
use vla_trt_tests::eef;

use std::path::Path;
use std::sync::Arc;

use eef::{JOINTS, Pose, message};
use serde_json::{Value as Json, json};
use vla_bags::{BagReader, BagWriter};
use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, HeaderView, JointTrajectoryMessage, schema, write};
use vla_offline::replay;
use vla_offline::replay::Options;
use vla_policy::PolicySpec;
use vla_policy::observation::{InputKind, Inputs};
use vla_runtime::parameters::Settings;
use vla_runtime::session::{Braked, CycleOutcome, Session};

mod bags;

const NOW: Stamp = Stamp::from_nanos(1_760_000_000_000_000_000);
const IDENTITY: Pose = ([0.0; 3], [0.0, 0.0, 0.0, 1.0]);
const POSITIONS: [f64; 8] = [0.5, 0.1, -0.4, 1.1, 0.2, -0.7, -0.1, 0.25];
/// Of a chunk's row: position, then two rows of the rotation.
const POSE: usize = 9;

/// A turn about no axis in particular, away from the origin.
fn tool() -> Pose {
    let q = [0.3_f64, -0.5, 0.2, 0.7];
    let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    ([0.4, -0.2, 0.3], q.map(|v| v / length))
}

fn ms(ms: f64) -> Span {
    Span::from_millis(ms)
}

/// The node's loop without the node.
struct Robot {
    session: Session,
    settings: Arc<Settings>,
    inputs: Inputs,
}

impl Robot {
    fn new(policy: &Path, assignments: &[&str]) -> Self {
        demo::point_at_onnx_runtime();
        let settings = eef::settings(policy, assignments).unwrap_or_else(|problems| panic!("{problems}"));
        let spec = PolicySpec::load(policy).expect("the policy");
        let session = Session::load(spec, &settings, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let inputs = Inputs::new(settings.inputs.clone());
        inputs.set_instruction(&settings.instruction);
        Self { session, settings, inputs }
    }

    /// Offers every input, all of one stamp.
    fn sense(&self, stamp: Stamp, pose: Pose) {
        for (index, input) in self.settings.inputs.iter().enumerate() {
            if let Some(bytes) = message(input, stamp, pose, &POSITIONS) {
                self.inputs.offer(index, bytes, stamp).expect("a good message");
            }
        }
    }

    fn pose_input(&self) -> usize {
        self.settings.inputs.iter().position(|input| input.kind == InputKind::Pose).expect("a pose")
    }

    fn cycle(&mut self, now: Stamp) -> CycleOutcome<'_> {
        self.session.cycle(now, &self.inputs, &self.settings, false, &mut || now)
    }

    /// The chunk and the trajectory of a cycle that must have both.
    fn chunk(&mut self, now: Stamp) -> (ActionChunkMessage, JointTrajectoryMessage) {
        match self.cycle(now) {
            CycleOutcome::Published(published) => {
                (published.chunk.clone(), published.trajectory.expect("it moves joints").clone())
            }
            other => panic!("expected a chunk, found {other:?}"),
        }
    }

    /// Values of a first chunk for a pose, row by row.
    fn rows(policy: &Path, pose: Pose) -> Vec<Vec<f64>> {
        let mut robot = Self::new(policy, &[]);
        robot.sense(NOW, pose);
        let (chunk, _) = robot.chunk(NOW);
        chunk.values.chunks_exact(chunk.names.len()).map(|row| row.iter().copied().map(f64::from).collect()).collect()
    }
}

// --- the mathematics that is expected -------------------------------------------------------------------------

type Matrix = [[f64; 3]; 3];

fn matrix([x, y, z, w]: [f64; 4]) -> Matrix {
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

fn rotate(r: &Matrix, v: [f64; 3]) -> [f64; 3] {
    r.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let column = |j: usize| rotate(a, [b[0][j], b[1][j], b[2][j]]);
    let [x, y, z] = [column(0), column(1), column(2)];
    [0, 1, 2].map(|i| [x[i], y[i], z[i]])
}

/// Position and matrix of nine values; the third row is the cross product of the others.
fn pose_of(values: &[f64]) -> ([f64; 3], Matrix) {
    let [x, y, z, a, b, c, d, e, f] = *values else { panic!("nine values: {values:?}") };
    ([x, y, z], [[a, b, c], [d, e, f], [b * f - c * e, c * d - a * f, a * e - b * d]])
}

/// A pose relative to `reference`, in the frame that the reference is in.
fn composed((p, q): Pose, (position, rotation): ([f64; 3], Matrix)) -> ([f64; 3], Matrix) {
    let turn = matrix(q);
    let moved = rotate(&turn, position);
    ([p[0] + moved[0], p[1] + moved[1], p[2] + moved[2]], product(&turn, &rotation))
}

/// The rotation of a vector, axis times angle (Rodrigues).
fn of_vector(v: [f64; 3]) -> Matrix {
    let angle = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let [x, y, z] = v.map(|x| x / angle);
    let (s, c) = angle.sin_cos();
    let t = 1.0 - c;
    [
        [t * x * x + c, t * x * y - s * z, t * x * z + s * y],
        [t * x * y + s * z, t * y * y + c, t * y * z - s * x],
        [t * x * z - s * y, t * y * z + s * x, t * z * z + c],
    ]
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A range without width says nothing to the network: then only the composition shows which pose it was.
fn blind_to_the_pose(statistics: &mut Json) {
    let state = &mut statistics["new_embodiment"]["state"]["left_eef"];
    state["max"] = state["min"].clone();
}

// --- through the session --------------------------------------------------------------------------------------

#[test]
fn a_relative_pose_leaves_composed_with_the_pose_of_the_observation_in_every_format() {
    let rot6d = ["x", "y", "z", "r00", "r01", "r02", "r10", "r11", "r12"].map(|column| format!("left_eef.{column}"));
    let rotvec = ["x", "y", "z", "rx", "ry", "rz"].map(|column| format!("left_eef.{column}"));
    let matrix_columns = "r00 r01 r02 x r10 r11 r12 y r20 r21 r22 z m30 m31 m32 m33"
        .split(' ')
        .map(|column| format!("left_eef.{column}"));
    let formats =
        [("XYZ_ROT6D", rot6d.to_vec()), ("XYZ_ROTVEC", rotvec.to_vec()), ("DEFAULT", matrix_columns.collect())];
    let (_kept, policy) = eef::policy(|_, statistics| blind_to_the_pose(statistics));
    // At the origin and not turned, what leaves is the prediction itself.
    let predicted = Robot::rows(&policy, IDENTITY);
    let turned =
        predicted.iter().all(|row| distance(&row[..POSE], &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]) > 1e-3);
    assert!(turned && predicted[0] != predicted[15], "a prediction that moves: {:?}", predicted[0]);
    let expected: Vec<_> = predicted.iter().map(|row| composed(tool(), pose_of(&row[..POSE]))).collect();

    for (format, columns) in formats {
        let (_kept, policy) = eef::policy(|config, statistics| {
            blind_to_the_pose(statistics);
            eef::with_format(config, format);
        });
        let mut robot = Robot::new(&policy, &["handover.blend_ms:=0.0", "max_blind_s:=1.0"]);
        robot.sense(NOW, tool());
        let (chunk, trajectory) = robot.chunk(NOW);
        let width = columns.len() + JOINTS.len();
        assert_eq!(chunk.names[..columns.len()], columns, "{format}");
        assert_eq!(chunk.names[columns.len()..], JOINTS, "{format}");
        assert_eq!((chunk.horizon, chunk.values.len()), (16, 16 * width), "{format}");
        for (row, (p, r)) in chunk.values.chunks_exact(width).zip(&expected) {
            let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            let (position, rotation) = match format {
                "XYZ_ROT6D" => pose_of(&row[..POSE]),
                "XYZ_ROTVEC" => ([row[0], row[1], row[2]], of_vector([row[3], row[4], row[5]])),
                _ => {
                    assert_eq!(row[12..16], [0.0, 0.0, 0.0, 1.0]);
                    let line = |i: usize| [row[i], row[i + 1], row[i + 2]];
                    ([row[3], row[7], row[11]], [line(0), line(4), line(8)])
                }
            };
            assert!(distance(&position, p) < 1e-6, "{format}: {position:?}, expected {p:?}");
            assert!(distance(&rotation.concat(), &r.concat()) < 2e-6, "{format}: {rotation:?}, expected {r:?}");
        }
        // Joints are what they were, and the trajectory has them alone; it leaves the measured ones when the first row is due.
        for (index, (row, before)) in chunk.values.chunks_exact(width).zip(&predicted).enumerate().skip(1) {
            let due = chunk.start + chunk.step.times(index as i64);
            let point = trajectory.points.iter().find(|point| trajectory.stamp + point.time_from_start == due);
            let point = point.expect("a point at the row's due time");
            let joints: Vec<f64> = row[columns.len()..].iter().copied().map(f64::from).collect();
            assert_eq!((joints.as_slice(), &point.positions), (&before[POSE..], &joints), "{format}");
            assert_eq!(point.velocities.len(), JOINTS.len());
        }
        assert_eq!(trajectory.joint_names, JOINTS, "{format}");
    }
}

#[test]
fn keys_keep_their_places_wherever_the_pose_stands_and_several_may_take_it() {
    let (_kept, policy) = eef::policy(|config, statistics| {
        blind_to_the_pose(statistics);
        let state = &mut statistics["new_embodiment"]["state"];
        state["hand"] = json!({"min": [0, 0, 0], "max": [0, 0, 0], "mean": [0, 0, 0], "std": [0, 0, 0]});
        config["processor_kwargs"]["modality_configs"]["new_embodiment"]["state"]["modality_keys"] =
            json!(["right_gripper", "left_eef", "right_arm", "hand", "left_gripper"]);
    });
    let rows = |pose: Pose| {
        let mut robot = Robot::new(&policy, &["state.hand.pose:=left_tool"]);
        robot.sense(NOW, pose);
        let (chunk, _) = robot.chunk(NOW);
        assert_eq!(chunk.input_names[3..], ["joints", "left_tool"], "one input for two keys");
        let width = chunk.names.len();
        chunk
            .values
            .chunks_exact(width)
            .map(|row| row.iter().copied().map(f64::from).collect())
            .collect::<Vec<Vec<_>>>()
    };
    for (index, (row, predicted)) in rows(tool()).iter().zip(rows(IDENTITY)).enumerate() {
        let (position, rotation) = composed(tool(), pose_of(&predicted[..POSE]));
        assert!(distance(&row[..3], &position) < 1e-6 && distance(&row[3..POSE], &rotation.concat()[..6]) < 2e-6);
        // At most 4 mrad a row from where the arm is.
        assert!(distance(&row[POSE + 1..POSE + 7], &POSITIONS[1..7]) < 0.004 * (index as f64 + 1.0) + 1e-6, "{row:?}");
    }
}

#[test]
fn the_network_sees_the_pose_and_both_signs_of_a_quaternion_are_one_pose() {
    let (_kept, policy) = eef::policy(|_, _| {});
    let (position, orientation) = tool();
    let base = Robot::rows(&policy, (position, orientation));
    let other = Robot::rows(&policy, ([position[0] - 0.2, position[1] + 0.3, position[2]], orientation));
    let joints = |rows: &[Vec<f64>]| rows.iter().flat_map(|row| row[POSE..].to_vec()).collect::<Vec<f64>>();
    assert!(distance(&joints(&base), &joints(&other)) > 1e-3, "a hand elsewhere changes what the right arm does");
    assert_eq!(Robot::rows(&policy, (position, orientation.map(|v| -v))), base);
    // As a driver in single precision would send it.
    let rounded = orientation.map(|v| v * 1.004);
    assert!(distance(&Robot::rows(&policy, (position, rounded)).concat(), &base.concat()) < 1e-5);
}

#[test]
fn the_pose_is_part_of_the_observations_identity_and_a_new_one_is_a_new_observation() {
    let (_kept, policy) = eef::policy(|_, _| {});
    let mut robot = Robot::new(&policy, &[]);
    robot.sense(NOW, tool());
    let (first, _) = robot.chunk(NOW + ms(1.0));
    assert_eq!(first.input_names, ["top", "left_wrist", "right_wrist", "joints", "left_tool"]);
    assert_eq!(first.input_stamps, [NOW; 5]);
    assert!(matches!(robot.cycle(NOW + ms(2.0)), CycleOutcome::Unchanged));
    let (pose, later) = (robot.pose_input(), NOW + ms(10.0));
    let bytes = message(&robot.settings.inputs[pose], later, tool(), &POSITIONS).expect("a pose");
    robot.inputs.offer(pose, bytes, later).expect("a good pose");
    let (second, _) = robot.chunk(later);
    assert_eq!((second.stamp, second.input_stamps[4]), (NOW, later));
    assert_ne!(first.values, second.values, "the noise follows the identity");
}

#[test]
fn a_pose_that_is_old_missing_or_in_another_frame_forbids_inference_in_words() {
    let (_kept, policy) = eef::policy(|_, _| {});
    let mut robot = Robot::new(&policy, &[]);
    let pose = robot.pose_input();
    let violation = |robot: &mut Robot, now: Stamp| match robot.cycle(now) {
        CycleOutcome::Violation { violation, .. } => violation.to_string(),
        other => panic!("expected a violation, found {other:?}"),
    };
    robot.sense(NOW, tool());
    robot.chunk(NOW);
    // Everything else goes on.
    let later = NOW + ms(300.0);
    for (index, input) in robot.settings.inputs.iter().enumerate().filter(|(index, _)| *index != pose) {
        if let Some(bytes) = message(input, later, tool(), &POSITIONS) {
            robot.inputs.offer(index, bytes, later).expect("a good message");
        }
    }
    assert_eq!(violation(&mut robot, later), "left_tool stopped: no pose for 300 ms (at most 200 ms)");
    let header = HeaderView { stamp: later, frame_id: "world" };
    let (position, orientation) = tool();
    let error = robot.inputs.offer(pose, write::pose_stamped(header, position, orientation).into(), later);
    let error = error.expect_err("another frame");
    assert!(
        matches!(&error, vla_policy::observation::Error::Frame { input, expected, found, .. }
            if input == "left_tool" && expected == "base_link" && found == "world"),
        "{error}"
    );
    let text = violation(&mut robot, later);
    assert!(
        text.starts_with("left_tool stopped: no pose for 300 ms (at most 200 ms) [last message refused: "),
        "{text}"
    );
    assert!(text.contains("`world`"), "{text}");

    let mut fresh = Robot::new(&policy, &[]);
    let header = HeaderView { stamp: NOW, frame_id: "base_link" };
    let error = fresh.inputs.offer(pose, write::pose_stamped(header, position, [0.0; 4]).into(), NOW);
    assert!(error.expect_err("no rotation").to_string().contains("`pose.orientation` has length 0, expected 1"));
    for (index, input) in fresh.settings.inputs.iter().enumerate().filter(|(index, _)| *index != pose) {
        if let Some(bytes) = message(input, NOW, tool(), &POSITIONS) {
            fresh.inputs.offer(index, bytes, NOW).expect("a good message");
        }
    }
    let text = violation(&mut fresh, NOW);
    assert!(text.starts_with("left_tool missing (no usable message yet) [last message refused: "), "{text}");
}

#[test]
fn limits_and_the_stop_are_for_the_joints_alone() {
    let (_kept, policy) = eef::policy(|_, _| {});
    let limits = ["limits.waist.min:=0.2", "limits.waist.max:=0.3", "inputs.on_violation:=stop"];
    let mut robot = Robot::new(&policy, &limits);
    robot.sense(NOW, tool());
    let free = Robot::rows(&policy, tool());
    let (chunk, trajectory) = robot.chunk(NOW);
    for (row, free) in chunk.values.chunks_exact(chunk.names.len()).zip(&free) {
        let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
        let waist = POSE + 1;
        assert!((0.2..=0.3).contains(&row[waist]) && (row[waist] != free[waist]));
        assert_eq!((&row[..waist], &row[waist + 1..]), (&free[..waist], &free[waist + 1..]));
    }
    let rest = trajectory.points.last().expect("points");
    // The pose is too old, and the motion goes on.
    let CycleOutcome::Violation { brake, .. } = robot.cycle(NOW + ms(250.0)) else { panic!("a violation") };
    let stop = brake.stop.expect("a stop");
    assert_eq!(stop.joint_names, JOINTS);
    let last = stop.points.last().expect("points");
    assert!(rest.velocities.iter().chain(&last.velocities).all(|velocity| *velocity == 0.0));
    let problems = eef::settings(&policy, &["limits.left_eef.x.min:=0.0"]).expect_err("no joint").to_string();
    assert!(problems.contains("there is no parameter 'limits.left_eef.x.min'"), "{problems}");
}

#[test]
fn scale_and_offset_are_undone_for_the_joints_behind_the_pose_and_for_no_other_column() {
    let (_kept, policy) = eef::policy(|_, _| {});
    let free = Robot::rows(&policy, tool());
    let mut robot = Robot::new(&policy, &["action.right_gripper.scale:=[4.0]", "action.right_gripper.offset:=[0.5]"]);
    robot.sense(NOW, tool());
    let (chunk, _) = robot.chunk(NOW);
    for (row, free) in chunk.values.chunks_exact(chunk.names.len()).zip(&free) {
        let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
        let (last, others) = row.split_last().expect("columns");
        let (free_last, free_others) = free.split_last().expect("columns");
        assert!((last - (free_last - 0.5) / 4.0).abs() < 1e-6 && others == free_others);
    }
}

/// Keeps one key of state and actions.
fn only_the_end_effector(config: &mut Json) {
    let modalities = &mut config["processor_kwargs"]["modality_configs"]["new_embodiment"];
    let eef = modalities["action"]["action_configs"][0].clone();
    modalities["action"]["action_configs"] = json!([eef]);
    for modality in ["state", "action"] {
        modalities[modality]["modality_keys"] = json!(["left_eef"]);
    }
}

#[test]
fn a_policy_without_joints_needs_no_joint_states_and_has_no_trajectory() {
    let (_kept, policy) = eef::policy(|config, _| only_the_end_effector(config));
    demo::point_at_onnx_runtime();
    // The joints of the other keys are unknown to this policy.
    let text: String =
        eef::PARAMS.lines().filter(|line| !line.contains("{joints: [")).map(|line| format!("{line}\n")).collect();
    let settings = eef::settings_of(&policy, &text, &["inputs.on_violation:=stop"]).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = settings.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["top", "left_wrist", "right_wrist", "left_tool", "instruction"]);
    let spec = PolicySpec::load(&policy).expect("the policy");
    let session = Session::load(spec, &settings, &mut |_| {}).expect("loads");
    let inputs = Inputs::new(settings.inputs.clone());
    inputs.set_instruction(&settings.instruction);
    let mut robot = Robot { session, settings, inputs };
    robot.sense(NOW, tool());
    let CycleOutcome::Published(published) = robot.cycle(NOW) else { panic!("a chunk") };
    assert_eq!((published.chunk.names.len(), published.trajectory), (POSE, None));
    assert_eq!(published.chunk.input_names, ["top", "left_wrist", "right_wrist", "left_tool"]);
    let CycleOutcome::Violation { brake, .. } = robot.cycle(NOW + ms(5000.0)) else { panic!("all inputs are old") };
    assert_eq!((brake.braked, brake.stop), (Braked::NoJoints, None));
    assert!(robot.session.is_stopped());
}

#[test]
fn a_policy_that_reads_joints_and_moves_none_has_no_trajectory_and_no_stop() {
    let (_kept, policy) = eef::policy(|config, _| {
        let action = &mut config["processor_kwargs"]["modality_configs"]["new_embodiment"]["action"];
        action["action_configs"] = json!([action["action_configs"][0].clone()]);
        action["modality_keys"] = json!(["left_eef"]);
    });
    let mut robot = Robot::new(&policy, &["inputs.on_violation:=stop"]);
    robot.sense(NOW, tool());
    let CycleOutcome::Published(published) = robot.cycle(NOW) else { panic!("a chunk") };
    assert_eq!((published.chunk.names.len(), published.trajectory), (POSE, None));
    assert_eq!(published.chunk.input_names[3..], ["joints", "left_tool"]);
    let CycleOutcome::Violation { brake, .. } = robot.cycle(NOW + ms(5000.0)) else { panic!("all inputs are old") };
    assert_eq!((brake.braked, brake.stop), (Braked::NoJoints, None));
    assert!(robot.session.is_stopped());
}
