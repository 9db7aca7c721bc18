//! Layouts and conventions of poses.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, PI};

use nalgebra::{Matrix3, Quaternion, Rotation3, UnitQuaternion};
use proptest::prelude::*;

use super::*;

fn by(layout: &PoseLayout, convention: &PoseConvention, orientation: [f64; 4]) -> Vec<f64> {
    let pose = Pose { position: [1.0, 2.0, 3.0], orientation };
    let mut out = vec![f32::NAN; layout.width()];
    layout.write(&pose, convention, &mut out);
    out.into_iter().map(f64::from).collect()
}

fn of_width(width: usize, orientation: [f64; 4]) -> Vec<f64> {
    by(&PoseLayout::of_width(width).expect("a layout"), &PoseConvention::default(), orientation)
}

fn parts(names: &[&str]) -> PoseLayout {
    let parts: Vec<PosePart> = names.iter().map(|name| name.parse().expect("a part")).collect();
    PoseLayout::of_parts(&parts)
}

fn of_parts(names: &[&str], orientation: [f64; 4]) -> Vec<f64> {
    by(&parts(names), &PoseConvention::default(), orientation)
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn the_width_of_the_key_tells_the_layout_and_others_have_none() {
    let found: Vec<usize> = (0..40).filter(|width| PoseLayout::of_width(*width).is_some()).collect();
    assert_eq!(found, [3, 6, 9, 16]);
    assert!(found.iter().all(|width| PoseLayout::of_width(*width).map(|layout| layout.width()) == Some(*width)));
    let x: Vec<PosePart> = vec!["x".parse().expect("a part")];
    assert_eq!(PoseLayout::of(&x, 1).map(|layout| layout.to_string()), Some("px".to_owned()));
    assert_eq!((PoseLayout::of(&x, 3), PoseLayout::of(&[], 7)), (None, None), "named parts must have the key's width");
}

#[test]
fn a_quarter_turn_about_z_is_written_in_every_layout() {
    let quarter = [0.0, 0.0, FRAC_1_SQRT_2, FRAC_1_SQRT_2];
    assert_eq!(of_width(3, quarter), [1.0, 2.0, 3.0]);
    assert!(close(&of_width(6, quarter), &[1.0, 2.0, 3.0, 0.0, 0.0, FRAC_PI_2]));
    // x goes to y: the rows are (0, -1, 0) and (1, 0, 0), the columns are (0, 1, 0) and (-1, 0, 0).
    assert!(close(&of_width(9, quarter), &[1.0, 2.0, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0]));
    let matrix = [0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0];
    assert!(close(&of_width(16, quarter), &matrix));
    assert!(close(&of_parts(&["rot6d_columns"], quarter), &[0.0, 1.0, 0.0, -1.0, 0.0, 0.0]));
    let r = FRAC_1_SQRT_2;
    assert!(close(&of_parts(&["z", "quaternion_xyzw", "yaw"], quarter), &[3.0, 0.0, 0.0, r, r, FRAC_PI_2]));
    assert!(close(
        &of_parts(&["quaternion_wxyz", "zero", "rz", "r01"], quarter),
        &[r, 0.0, 0.0, r, 0.0, FRAC_PI_2, -1.0]
    ));
}

#[test]
fn a_group_is_its_single_values() {
    let groups = [
        ("position", "px py pz"),
        ("position", "x y z"),
        ("rpy", "roll pitch yaw"),
        ("quaternion_xyzw", "qx qy qz qw"),
        ("quaternion_wxyz", "qw qx qy qz"),
        ("rotvec", "rx ry rz"),
        ("rot6d", "r00 r01 r02 r10 r11 r12"),
        ("rot6d_columns", "r00 r10 r20 r01 r11 r21"),
        ("matrix", "r00 r01 r02 px r10 r11 r12 py r20 r21 r22 pz zero zero zero one"),
    ];
    for (group, values) in groups {
        let values: Vec<&str> = values.split(' ').collect();
        assert_eq!(parts(&[group]), parts(&values), "{group}");
    }
    assert_eq!(PosePart::all().count(), 24 + 8);
    assert!("r33".parse::<PosePart>().expect_err("no part").contains("rot6d"));
}

#[test]
fn both_signs_of_a_quaternion_are_one_rotation_and_its_angle_is_at_most_pi() {
    // 270 degrees about x: the short way is -90.
    let (sin, cos) = (0.75 * PI).sin_cos();
    let expected = [1.0, 2.0, 3.0, -FRAC_PI_2, 0.0, 0.0];
    assert!(close(&of_width(6, [sin, 0.0, 0.0, cos]), &expected));
    assert!(close(&of_width(6, [-sin, 0.0, 0.0, -cos]), &expected));
    assert!(close(&of_width(6, [0.0, 1.0, 0.0, 0.0]), &[1.0, 2.0, 3.0, 0.0, PI, 0.0]));
    assert!(close(&of_width(6, [0.0, 0.0, 0.0, 1.0]), &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]));
    assert_eq!(
        of_parts(&["quaternion_xyzw"], [sin, 0.0, 0.0, cos]),
        of_parts(&["quaternion_xyzw"], [-sin, 0.0, 0.0, -cos])
    );
}

/// A gripper that points down is half a turn from the base: the rotation vectors of LIBERO go on beyond pi (3.46 in its statistics),
/// where the short way would jump to the other side.
#[test]
fn near_half_a_turn_rotation_vectors_go_on_beyond_pi() {
    let down = PoseConvention { near: Quaternion::new(0.0, 1.0, 0.0, 0.0), ..PoseConvention::default() };
    for angle in [PI - 0.3, PI - 1e-9, PI + 1e-9, PI + 0.3] {
        let (sin, cos) = (angle / 2.0).sin_cos();
        for sign in [1.0, -1.0] {
            let sent = [sign * sin, 0.0, 0.0, sign * cos];
            assert!(close(&by(&parts(&["rotvec"]), &down, sent), &[angle, 0.0, 0.0]), "{angle}");
            assert!(close(&by(&parts(&["qx", "qw"]), &down, sent), &[sin, cos]), "{angle}");
        }
    }
}

/// DROID turns the tool (examples/DROID/main_gr00t.py: the robot's matrix times this one from the right).
#[test]
fn the_frame_of_droid_is_a_rotation_of_the_tool() {
    let correction = Matrix3::new(0.0, 0.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0);
    let tool = PoseConvention::rotation(&[0.5, -0.5, -0.5, 0.5]).expect("a rotation");
    assert!((tool.to_rotation_matrix().matrix() - correction).abs().max() < 1e-12);
    let droid = PoseConvention { tool, ..PoseConvention::default() };
    let robot = UnitQuaternion::from_euler_angles(3.0, -0.2, 0.4);
    let expected = robot.to_rotation_matrix().matrix() * correction;
    let rows: Vec<f64> = expected.fixed_rows::<2>(0).transpose().iter().copied().collect();
    let found = by(&PoseLayout::of_width(9).expect("9"), &droid, [robot.i, robot.j, robot.k, robot.w]);
    assert!(close(&found, &[&[1.0, 2.0, 3.0], rows.as_slice()].concat()), "{found:?}");
}

/// Bridge's data have the tool relative to one that points down: `R * default_rot.T`, angles of transforms3d (sxyz).
#[test]
fn the_angles_of_simpler_env_are_of_a_turned_tool() {
    let default = Matrix3::new(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0);
    let tool = PoseConvention::rotation(&[0.0, -FRAC_PI_2, 0.0]).expect("a rotation");
    assert!((tool.to_rotation_matrix().matrix() - default.transpose()).abs().max() < 1e-12);
    let bridge = PoseConvention { tool, ..PoseConvention::default() };
    let robot = Rotation3::from_euler_angles(0.1, 0.2, -0.3) * Rotation3::from_matrix_unchecked(default);
    let q = UnitQuaternion::from_rotation_matrix(&robot);
    assert!(close(&by(&parts(&["rpy"]), &bridge, [q.i, q.j, q.k, q.w]), &[0.1, 0.2, -0.3]));
}

#[test]
fn a_rotation_of_the_base_turns_position_and_orientation() {
    let base = PoseConvention::rotation(&[0.0, 0.0, FRAC_PI_2]).expect("a rotation");
    let turned = PoseConvention { base, ..PoseConvention::default() };
    let found = by(&parts(&["position", "rpy"]), &turned, [0.0, 0.0, 0.0, 1.0]);
    assert!(close(&found, &[-2.0, 1.0, 3.0, 0.0, 0.0, FRAC_PI_2]), "{found:?}");
    assert!(!turned.keeps_poses() && PoseConvention::default().keeps_poses());
}

#[test]
fn numbers_that_are_no_rotation_are_refused() {
    assert_eq!(PoseConvention::rotation(&[]), Ok(UnitQuaternion::identity()));
    for wrong in [&[0.0][..], &[0.0; 4], &[0.0, 0.0, 0.0, 1.02], &[f64::NAN, 0.0, 0.0], &[0.0; 5]] {
        assert!(PoseConvention::rotation(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    /// Against the textbook's matrix of a quaternion and Rodrigues' formula, written out here.
    #[test]
    fn rows_and_rotation_vectors_are_of_the_same_rotation(q in prop::array::uniform4(-1.0f64..1.0)) {
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        prop_assume!(length > 0.1);
        let [x, y, z, w] = q.map(|v| v / length);
        let expected = [
            1.0, 2.0, 3.0,
            1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w),
            2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w),
        ];
        prop_assert!(close(&of_width(9, [x, y, z, w]), &expected));
        let [_, _, _, a, b, c] = of_width(6, [x, y, z, w])[..] else { panic!("six values") };
        let angle = (a * a + b * b + c * c).sqrt();
        prop_assert!(angle <= PI + 1e-6);
        prop_assume!(angle > 1e-3);
        let (a, b, c, sin, cos) = (a / angle, b / angle, c / angle, angle.sin(), angle.cos());
        let row0 = [cos + a * a * (1.0 - cos), a * b * (1.0 - cos) - c * sin, a * c * (1.0 - cos) + b * sin];
        prop_assert!(row0.iter().zip(&expected[3..6]).all(|(a, b)| (a - b).abs() < 1e-5), "{row0:?}");
    }

    /// Against nalgebra, which gave the rotation vectors before.
    #[test]
    fn a_rotation_vector_is_that_of_nalgebra_to_the_last_bit(q in prop::array::uniform4(-1.0f64..1.0)) {
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        prop_assume!(length > 0.1);
        let [x, y, z, w] = q.map(|v| v / length);
        let expected = UnitQuaternion::new_unchecked(Quaternion::new(w, x, y, z)).scaled_axis();
        let expected: Vec<f64> = expected.iter().map(|value| f64::from(*value as f32)).collect();
        prop_assert_eq!(of_parts(&["rotvec"], [x, y, z, w]), expected);
    }
}
