//! Limits of a robot description.

use super::*;

/// A description of the sample robot whose joints have `limit`; `left_waist` has `waist`.
fn urdf(limit: &str, waist: &str) -> String {
    let arm = ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper"];
    let joints = ["left", "right"].into_iter().flat_map(|side| arm.map(|joint| format!("{side}_{joint}")));
    let joint = |name: String| {
        let limit = if name == "left_waist" { waist } else { limit };
        format!("<joint name='{name}' type='revolute'><limit {limit}/></joint>\n")
    };
    format!("<robot name='r'>\n{}</robot>", joints.map(joint).collect::<String>())
}

const WIDE: &str = "lower='-1' upper='1' velocity='0.2'";

#[test]
fn limits_of_a_description_are_waited_for_and_held_with_those_of_the_parameters() {
    let policy = demo::policy();
    let arguments = ["limits_from:=topic", "limits.left_waist.velocity:=0.5"];
    let mut parameters = demo::parameters(policy.path(), &arguments);
    let mut robot = Robot::ready(&arguments);
    assert!(robot.chunk(10_000, 10_020).expect_err("not yet").to_string().contains("limits_topic (robot_description)"));
    let wide = urdf(WIDE, "lower='-1' upper='1' velocity='9'");
    let text =
        wide.replace("</robot>", "<joint name='head' type='revolute'><limit lower='2' upper='1'/></joint></robot>");
    parameters.describe(&text).expect("limits of its joints");
    robot.apply(&parameters);
    assert_eq!(robot.chunk(10_100, 10_120), Ok(true));
    let fastest =
        |joint: usize| robot.out.message().points.iter().map(|point| point.velocities[joint].abs()).fold(0.0, f64::max);
    assert!((fastest(0) - 0.5).abs() < 1e-6 && (fastest(1) - 0.2).abs() < 1e-6, "{} {}", fastest(0), fastest(1));
    let counts = robot.control.status(&robot.settings).counts;
    assert!(counts.of(0)[1] > 0 && counts.of(1)[1] > 0, "{counts:?}");
}

#[test]
fn a_description_that_cannot_be_used_stops_the_motion_until_another_comes_or_the_parameters_are_mended() {
    let policy = demo::policy();
    let mut parameters = demo::parameters(policy.path(), &["limits_from:=topic"]);
    let mut robot = Robot::ready(&["limits_from:=topic"]);
    parameters.describe(&urdf(WIDE, WIDE)).expect("limits of its joints");
    robot.apply(&parameters);
    robot.chunk(10_000, 10_020).expect("in force");
    for bad in ["<robot", &urdf(WIDE, "lower='4' upper='5' velocity='1'"), &urdf(WIDE, "lower='1' upper='1'")] {
        parameters.describe(bad).expect_err("of no use");
        robot.apply(&parameters);
        robot.chunk(10_100, 10_120).expect_err("no limits, no motion");
        assert!(robot.control.status(&robot.settings).forbidden.is_some());
        parameters.set("seed", Value::Integer(5)).expect("a change that has nothing to do with it");
    }
    parameters.describe(&urdf(WIDE, "lower='4' upper='5' velocity='1'")).expect_err("beyond limits.left_waist.max");
    parameters.set("limits.left_waist.max", Value::Double(4.5)).expect("with it there is room");
    robot.apply(&parameters);
    assert_eq!(robot.chunk(10_140, 10_160), Ok(true));
    assert_eq!(robot.control.status(&robot.settings).forbidden, None);
}

#[test]
fn a_change_that_contradicts_the_description_is_refused_and_blocks_no_later_one() {
    let policy = demo::policy();
    let mut parameters = demo::parameters(policy.path(), &["limits_from:=topic"]);
    parameters.describe(&urdf(WIDE, WIDE)).expect("limits of its joints");
    let before = Arc::clone(parameters.settings());
    let reason =
        parameters.set("limits.left_waist.max", Value::Double(-2.0)).expect_err("below the description's lower");
    assert!(reason.contains("`left_waist`") && reason.contains("do not overlap"), "{reason}");
    assert_eq!(*parameters.settings(), before);
    parameters.set("action.step_s", Value::Double(0.1)).expect("in force");
    assert_eq!(parameters.settings().step, Span::from_millis(100.0));
    parameters.set("limits.left_waist.max", Value::Double(0.5)).expect("tighter");
    assert_eq!(parameters.settings().tighter_limit("limits.left_waist.max", 0.5), None);
    parameters.set("limits.left_waist.max", Value::Double(9.0)).expect("wider: the description's holds");
    assert_eq!(parameters.settings().tighter_limit("limits.left_waist.max", 9.0), Some(1.0));
}

#[test]
fn placeholders_of_a_description_are_refused_by_name_unless_the_parameters_replace_them() {
    let zeros = "lower='0' upper='0' velocity='0'";
    let policy = demo::policy();
    let open = ["limits_from:=topic", "limits.left_waist.min:=-.inf", "limits.left_shoulder.velocity:=.inf"];
    let error = demo::parameters(policy.path(), &open).describe(&urdf(zeros, zeros)).expect_err("zeros").to_string();
    assert!(
        error.contains("joint `left_waist`: lower = upper = 0") && error.contains("set limits.<joint>.min"),
        "{error}"
    );
    assert!(error.contains("joint `left_shoulder`: velocity = 0") && !error.contains("elbow"), "{error}");
    // config/aloha.yaml limits every joint.
    let mut parameters = demo::parameters(policy.path(), &["limits_from:=topic"]);
    parameters.describe(&urdf(zeros, zeros)).expect("replaced");
    let replaced = &parameters.settings().limit_warnings;
    assert!(replaced.len() == 2 && replaced.iter().all(|warning| warning.contains("right_gripper")), "{replaced:?}");
    let mut robot = Robot::ready(&[]);
    robot.apply(&parameters);
    assert_eq!(robot.chunk(10_000, 10_020), Ok(true));
    assert!(robot.out.message().points.iter().any(|point| point.positions[0] > 0.1), "not held at the placeholder");
}
