//! The pose of an end effector to the values of a state key.

use nalgebra::{Quaternion, UnitQuaternion, Vector3};

use crate::observation::Pose;

/// What of a pose a state key holds. The vendor's files do not say; the key's width does.
///
/// A width of 7 (position and quaternion) is not among them: in which order the quaternion was trained is written
/// nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoseLayout {
    /// `x y z`, m.
    Position,
    /// `x y z` in m, then the rotation vector: axis times angle in rad, the angle within [0, pi]. Not Euler angles.
    Rotvec,
    /// `x y z` in m, then the first two rows of the rotation matrix, `r00 r01 r02 r10 r11 r12`. What a relative action of
    /// an end effector refers to.
    Rot6d,
}

impl PoseLayout {
    /// The widths that there are, in words.
    pub const WIDTHS: &str =
        "3 (x, y, z), 6 (x, y, z and rotation vector) or 9 (x, y, z and two rows of the rotation matrix)";

    /// The layout of a key of `width` values.
    pub fn of_width(width: usize) -> Option<Self> {
        [Self::Position, Self::Rotvec, Self::Rot6d].into_iter().find(|layout| layout.width() == width)
    }

    /// Number of values.
    pub const fn width(self) -> usize {
        match self {
            Self::Position => 3,
            Self::Rotvec => 6,
            Self::Rot6d => 9,
        }
    }

    /// Writes a pose; as many values as the layout has and `out` holds.
    pub fn write(self, pose: &Pose, out: &mut [f32]) {
        let ([x, y, z], [i, j, k, w]) = (pose.position, pose.orientation);
        // Unit already; dividing by the length again would change the last bits.
        let rotation = UnitQuaternion::new_unchecked(Quaternion::new(w, i, j, k));
        let mut values = [x, y, z, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let [_, _, _, rest @ ..] = &mut values;
        match self {
            Self::Position => {}
            Self::Rotvec => {
                let vector: Vector3<f64> = rotation.scaled_axis();
                rest.iter_mut().zip(vector.iter()).for_each(|(slot, value)| *slot = *value);
            }
            Self::Rot6d => {
                let rows = rotation.to_rotation_matrix();
                let rows = rows.matrix().fixed_rows::<2>(0).transpose();
                // Column-major of the transpose: row by row.
                rest.iter_mut().zip(rows.iter()).for_each(|(slot, value)| *slot = *value);
            }
        }
        out.iter_mut().zip(values.into_iter().take(self.width())).for_each(|(slot, value)| *slot = value as f32);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, PI};

    use proptest::prelude::*;

    use super::*;

    fn written<const N: usize>(layout: PoseLayout, orientation: [f64; 4]) -> [f64; N] {
        let pose = Pose { position: [1.0, 2.0, 3.0], orientation };
        let mut out = [f32::NAN; N];
        layout.write(&pose, &mut out);
        out.map(f64::from)
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn the_width_of_the_key_tells_the_layout_and_others_have_none() {
        let found: Vec<usize> = (0..40).filter(|width| PoseLayout::of_width(*width).is_some()).collect();
        assert_eq!(found, [3, 6, 9]);
        assert!(found.iter().all(|width| PoseLayout::of_width(*width).map(PoseLayout::width) == Some(*width)));
    }

    #[test]
    fn a_quarter_turn_about_z_is_written_in_every_layout() {
        let quarter = [0.0, 0.0, FRAC_1_SQRT_2, FRAC_1_SQRT_2];
        assert_eq!(written::<3>(PoseLayout::Position, quarter), [1.0, 2.0, 3.0]);
        assert!(close(&written::<6>(PoseLayout::Rotvec, quarter), &[1.0, 2.0, 3.0, 0.0, 0.0, FRAC_PI_2]));
        // x goes to y: the rows are (0, -1, 0) and (1, 0, 0), the columns would be (0, 1, 0) and (-1, 0, 0).
        assert!(close(&written::<9>(PoseLayout::Rot6d, quarter), &[1.0, 2.0, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0]));
    }

    #[test]
    fn both_signs_of_a_quaternion_are_one_rotation_and_its_angle_is_at_most_pi() {
        // 270 degrees about x: the short way is -90.
        let (sin, cos) = (0.75 * PI).sin_cos();
        let expected = [1.0, 2.0, 3.0, -FRAC_PI_2, 0.0, 0.0];
        assert!(close(&written::<6>(PoseLayout::Rotvec, [sin, 0.0, 0.0, cos]), &expected));
        assert!(close(&written::<6>(PoseLayout::Rotvec, [-sin, 0.0, 0.0, -cos]), &expected));
        assert!(close(&written::<6>(PoseLayout::Rotvec, [0.0, 1.0, 0.0, 0.0]), &[1.0, 2.0, 3.0, 0.0, PI, 0.0]));
        assert!(close(&written::<6>(PoseLayout::Rotvec, [0.0, 0.0, 0.0, 1.0]), &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]));
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
            prop_assert!(close(&written::<9>(PoseLayout::Rot6d, [x, y, z, w]), &expected));
            let [_, _, _, a, b, c] = written::<6>(PoseLayout::Rotvec, [x, y, z, w]);
            let angle = (a * a + b * b + c * c).sqrt();
            prop_assert!(angle <= PI + 1e-6);
            prop_assume!(angle > 1e-3);
            let (a, b, c, sin, cos) = (a / angle, b / angle, c / angle, angle.sin(), angle.cos());
            let row0 = [cos + a * a * (1.0 - cos), a * b * (1.0 - cos) - c * sin, a * c * (1.0 - cos) + b * sin];
            prop_assert!(row0.iter().zip(&expected[3..6]).all(|(a, b)| (a - b).abs() < 1e-5), "{row0:?}");
        }
    }
}
