//! Poses of an end effector: read in the format of predictions, composed, and written in the policy's format.

use nalgebra::{Matrix3, Rotation3, UnitQuaternion, Vector3};

use crate::processor::PoseFormat;

mod rotation;

use rotation::nearest_rotation;

/// Values of a position and a 6D rotation.
pub(super) const POSE: usize = 9;
/// Values of the longest format.
pub(super) const LONGEST: usize = 16;

/// Below this part of its length a vector has no direction that could be trusted.
const DIRECTION: f64 = 1e-9;
/// The squares of a shorter vector are subnormal numbers: its length would be wrong.
const SHORTEST: f64 = 1e-150;

/// Position and rotation matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pose {
    position: Vector3<f64>,
    rotation: Matrix3<f64>,
}

impl Pose {
    /// `x y z`, then the first two rows of the rotation matrix, which need to be neither long nor square to each other
    /// (Gram-Schmidt). `None` when they span no plane or are not finite.
    pub(crate) fn from_rot6d(values: &[f64; POSE]) -> Option<Self> {
        let &[x, y, z, r00, r01, r02, r10, r11, r12] = values;
        let (first, second) = (Vector3::new(r00, r01, r02), Vector3::new(r10, r11, r12));
        let row0 = direction(first, DIRECTION)?;
        let row1 = direction(second - row0 * row0.dot(&second), DIRECTION * second.norm())?;
        let rotation = Matrix3::from_rows(&[row0.transpose(), row1.transpose(), row0.cross(&row1).transpose()]);
        Some(Self { position: Vector3::new(x, y, z), rotation })
    }

    /// A pose as a network or a state key has it, in double precision: its rotation is made one, its position stays as it is. `None` for another number of
    /// values, and for a rotation that is none: a 6D rotation that spans no plane, a matrix whose determinant is not positive.
    pub(crate) fn from_values(format: PoseFormat, values: &[f64]) -> Option<Self> {
        let pose = match (format, values) {
            (PoseFormat::Rot6d, values) => Self::from_rot6d(values.try_into().ok()?)?,
            (PoseFormat::Rotvec, &[x, y, z, rx, ry, rz]) => {
                let rotation = *Rotation3::new(Vector3::new(rx, ry, rz)).matrix();
                Self { position: Vector3::new(x, y, z), rotation }
            }
            (PoseFormat::Matrix, &[a, b, c, x, d, e, f, y, g, h, i, z, ..]) if values.len() == LONGEST => {
                let rotation = nearest_rotation(&Matrix3::new(a, b, c, d, e, f, g, h, i))?;
                Self { position: Vector3::new(x, y, z), rotation }
            }
            _ => return None,
        };
        pose.rotation.iter().all(|value| value.is_finite()).then_some(pose)
    }

    /// `self`, which is in the frame of `reference`, in the frame that `reference` is in.
    pub(crate) fn in_frame_of(&self, reference: &Self) -> Self {
        Self {
            position: reference.position + reference.rotation * self.position,
            rotation: reference.rotation * self.rotation,
        }
    }

    /// `self`, which is in the frame that `reference` is in, in the frame of `reference`: undoes [`Self::in_frame_of`].
    pub(crate) fn relative_to(&self, reference: &Self) -> Self {
        let back = reference.rotation.transpose();
        Self { position: back * (self.position - reference.position), rotation: back * self.rotation }
    }

    /// The pose with its base and its tool turned: `base * pose * tool`.
    pub(crate) fn turned(&self, base: &Rotation3<f64>, tool: &Rotation3<f64>) -> Self {
        Self { position: base * self.position, rotation: base.matrix() * self.rotation * tool.matrix() }
    }

    /// Position and 6D rotation.
    pub(crate) fn to_rot6d(self) -> [f64; POSE] {
        let (p, r) = (&self.position, &self.rotation);
        [p.x, p.y, p.z, r.m11, r.m12, r.m13, r.m21, r.m22, r.m23]
    }

    /// What [`Self::write`] wrote: a rotation but for rounding. `None` for another number of values, and for a rotation that is none.
    pub(crate) fn read(format: PoseFormat, values: &[f32]) -> Option<Self> {
        let value = |at: usize| values.get(at).copied().map(f64::from).filter(|value| value.is_finite());
        let rotation = |first: [usize; 3], second: [usize; 3], position: [usize; 3]| {
            let [p, a, b] = [position, first, second].map(|at| at.map(|at| value(at).unwrap_or(f64::NAN)));
            Self::from_rot6d(&[p[0], p[1], p[2], a[0], a[1], a[2], b[0], b[1], b[2]])
        };
        let pose = match (format, values.len()) {
            (PoseFormat::Rot6d, POSE) => rotation([3, 4, 5], [6, 7, 8], [0, 1, 2])?,
            (PoseFormat::Matrix, LONGEST) => rotation([0, 1, 2], [4, 5, 6], [3, 7, 11])?,
            (PoseFormat::Rotvec, 6) => {
                let turn = Vector3::new(value(3)?, value(4)?, value(5)?);
                let position = Vector3::new(value(0)?, value(1)?, value(2)?);
                Self { position, rotation: *Rotation3::new(turn).matrix() }
            }
            _ => return None,
        };
        pose.position.iter().all(|value| value.is_finite()).then_some(pose)
    }

    /// Writes the pose; as many values as the format has and `out` holds.
    pub(crate) fn write(&self, format: PoseFormat, out: &mut [f32]) {
        let values = self.to_values(format);
        for (slot, value) in out.iter_mut().zip(values.into_iter().take(format.width())) {
            *slot = value as f32;
        }
    }

    /// The values of the format, then zeros.
    pub(crate) fn to_values(self, format: PoseFormat) -> [f64; LONGEST] {
        let (p, r) = (&self.position, &self.rotation);
        let mut values = [0.0; LONGEST];
        match format {
            PoseFormat::Rot6d => fill(&mut values, self.to_rot6d()),
            PoseFormat::Rotvec => {
                let vector = rotation_vector(r);
                fill(&mut values, [p.x, p.y, p.z, vector.x, vector.y, vector.z])
            }
            PoseFormat::Matrix => {
                let rows = [[r.m11, r.m12, r.m13, p.x], [r.m21, r.m22, r.m23, p.y], [r.m31, r.m32, r.m33, p.z]];
                fill(&mut values, rows.into_iter().flatten().chain([0.0, 0.0, 0.0, 1.0]))
            }
        }
        values
    }
}

fn direction(vector: Vector3<f64>, above: f64) -> Option<Vector3<f64>> {
    let length = vector.norm();
    (length.is_finite() && length > above.max(SHORTEST)).then(|| vector / length)
}

/// Axis times angle, the angle within [0, pi].
fn rotation_vector(rotation: &Matrix3<f64>) -> Vector3<f64> {
    UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(*rotation)).scaled_axis()
}

fn fill(values: &mut [f64; LONGEST], from: impl IntoIterator<Item = f64>) {
    values.iter_mut().zip(from).for_each(|(slot, value)| *slot = value);
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_PI_2, PI};

    use nalgebra::{Isometry3, Translation3};
    use proptest::prelude::*;

    use super::*;

    fn pose(position: [f64; 3], axis_angle: Vector3<f64>) -> Pose {
        Pose { position: position.into(), rotation: *Rotation3::new(axis_angle).matrix() }
    }

    fn isometry(pose: &Pose) -> Isometry3<f64> {
        let rotation = Rotation3::from_matrix_unchecked(pose.rotation);
        Isometry3::from_parts(Translation3::from(pose.position), UnitQuaternion::from_rotation_matrix(&rotation))
    }

    fn written<const N: usize>(pose: &Pose, format: PoseFormat) -> [f64; N] {
        let mut out = [f32::NAN; N];
        pose.write(format, &mut out);
        out.map(f64::from)
    }

    fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    #[test]
    fn a_6d_rotation_is_the_first_two_rows() {
        // A quarter turn about z: x goes to y, so the rows are (0, -1, 0) and (1, 0, 0).
        let turned = pose([1.0, 2.0, 3.0], Vector3::z() * FRAC_PI_2);
        let values = written::<9>(&turned, PoseFormat::Rot6d);
        assert!(close(&values, &[1.0, 2.0, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0], 1e-7), "{values:?}");
        let read = Pose::from_rot6d(&[1.0, 2.0, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0]).expect("a rotation");
        assert!(close((read.rotation - turned.rotation).as_slice(), &[0.0; 9], 1e-12));
    }

    #[test]
    fn rows_are_made_unit_and_square_to_each_other_from_the_first() {
        let read = Pose::from_rot6d(&[0.0, 0.0, 0.0, 0.0, -5.0, 0.0, 0.1, 7.0, 0.0]).expect("a rotation");
        assert!(close(read.rotation.as_slice(), pose([0.0; 3], Vector3::z() * FRAC_PI_2).rotation.as_slice(), 1e-12));
    }

    #[test]
    fn rows_that_span_no_plane_or_are_not_finite_are_none() {
        let parallel = [1.0, 0.0, 0.0, -2.0, 0.0, 0.0];
        for rows in [[0.0; 6], parallel, [f64::NAN; 6], [1.0, 0.0, 0.0, f64::INFINITY, 1.0, 0.0]] {
            let [a, b, c, d, e, f] = rows;
            assert_eq!(Pose::from_rot6d(&[0.0, 0.0, 0.0, a, b, c, d, e, f]), None, "{rows:?}");
        }
    }

    #[test]
    fn a_step_forward_is_forward_of_the_gripper_not_of_the_base() {
        let reference = pose([10.0, 0.0, 0.0], Vector3::z() * FRAC_PI_2);
        let target = pose([1.0, 0.0, 0.0], Vector3::x() * 0.5).in_frame_of(&reference);
        assert!(close(target.position.as_slice(), &[10.0, 1.0, 0.0], 1e-12));
        let turned = target.rotation * Vector3::x();
        assert!(close(turned.as_slice(), &[0.0, 1.0, 0.0], 1e-12));
    }

    #[test]
    fn half_a_turn_and_no_turn_are_written_with_angles_of_pi_and_0() {
        let half = written::<6>(&pose([0.0; 3], Vector3::y() * PI), PoseFormat::Rotvec);
        assert!((half[4].abs() - PI).abs() < 1e-6, "{half:?}");
        assert_eq!(written::<6>(&pose([0.0; 3], Vector3::zeros()), PoseFormat::Rotvec), [0.0; 6]);
    }

    #[test]
    fn the_matrix_is_homogeneous_and_row_by_row() {
        let turned = pose([1.0, 2.0, 3.0], Vector3::z() * FRAC_PI_2);
        let expected = [0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0];
        assert!(close(&written::<16>(&turned, PoseFormat::Matrix), &expected, 1e-7));
    }

    fn vectors() -> impl Strategy<Value = Vector3<f64>> {
        [-3.0..3.0, -3.0..3.0, -3.0..3.0].prop_map(Vector3::from)
    }

    proptest! {
        #[test]
        fn a_rotation_survives_the_way_through_6_values(p in vectors(), r in vectors()) {
            let pose = pose(p.into(), r);
            let back = Pose::from_rot6d(&written(&pose, PoseFormat::Rot6d)).expect("a rotation");
            prop_assert!(close((back.rotation - pose.rotation).as_slice(), &[0.0; 9], 1e-6));
            prop_assert!(close((back.rotation * back.rotation.transpose()).as_slice(), Matrix3::identity().as_slice(), 1e-12));
        }

        #[test]
        fn a_rotation_vector_is_the_one_the_pose_was_made_of(r in vectors()) {
            prop_assume!(r.norm() < PI - 1e-3);
            let [_, _, _, x, y, z] = written::<6>(&pose([0.0; 3], r), PoseFormat::Rotvec);
            prop_assert!(close(&[x, y, z], r.as_slice(), 1e-6));
        }

        #[test]
        fn no_rotation_vector_is_longer_than_half_a_turn(r in vectors()) {
            let [_, _, _, x, y, z] = written::<6>(&pose([0.0; 3], r * 5.0), PoseFormat::Rotvec);
            prop_assert!(Vector3::new(x, y, z).norm() <= PI + 1e-6);
        }

        #[test]
        fn composition_is_that_of_isometries(a in vectors(), b in vectors(), p in vectors(), q in vectors()) {
            let (reference, relative) = (pose(p.into(), a), pose(q.into(), b));
            let found = isometry(&relative.in_frame_of(&reference));
            let expected = isometry(&reference) * isometry(&relative);
            prop_assert!(close(found.to_matrix().as_slice(), expected.to_matrix().as_slice(), 1e-9));
        }

        #[test]
        fn a_pose_that_was_written_is_read_back_and_relative_to_another_it_composes_to_itself(
            a in vectors(), b in vectors(), p in vectors(), q in vectors()
        ) {
            let (reference, target) = (pose(p.into(), a), pose(q.into(), b));
            let back = target.relative_to(&reference).in_frame_of(&reference);
            prop_assert!(close(&back.to_rot6d(), &target.to_rot6d(), 1e-9));
            for (format, length) in [(PoseFormat::Rot6d, 9), (PoseFormat::Rotvec, 6), (PoseFormat::Matrix, 16)] {
                let mut values = [0.0; LONGEST];
                target.write(format, &mut values);
                let read = Pose::read(format, &values[..length]).expect("a pose");
                prop_assert!(close(&read.to_rot6d(), &target.to_rot6d(), 1e-5), "{format:?}");
                let exact = target.to_values(format);
                let read = Pose::from_values(format, &exact[..length]).expect("a pose");
                prop_assert!(close(&read.to_rot6d(), &target.to_rot6d(), 1e-12), "{format:?}");
                prop_assert_eq!(Pose::from_values(format, &exact[..length - 1]), None);
                prop_assert_eq!(Pose::read(format, &values[..length - 1]), None);
                values[0] = f32::NAN;
                prop_assert_eq!(Pose::read(format, &values[..length]), None);
            }
        }

        #[test]
        fn a_pose_that_was_turned_is_turned_back_by_the_inverses(
            p in vectors(), r in vectors(), base in vectors(), tool in vectors(), q in vectors()
        ) {
            let (pose, base, tool) = (pose(p.into(), r), Rotation3::new(base), Rotation3::new(tool));
            let turned = pose.turned(&base, &tool);
            prop_assert!(close(&turned.turned(&base.inverse(), &tool.inverse()).to_rot6d(), &pose.to_rot6d(), 1e-9));
            // A point of the tool is where it was, seen from the turned base.
            let point = |pose: &Pose, q: Vector3<f64>| pose.position + pose.rotation * q;
            let (found, expected) = (point(&turned, tool.inverse() * q), base * point(&pose, q));
            prop_assert!(close(found.as_slice(), expected.as_slice(), 1e-9));
        }

        #[test]
        fn any_9_values_give_a_rotation_or_none(values in prop::array::uniform9(any::<f64>())) {
            if let Some(pose) = Pose::from_rot6d(&values) {
                prop_assert!((pose.rotation.determinant() - 1.0).abs() < 1e-6);
            }
        }
    }
}
