//! A pose as values, whatever message it came from.

use nalgebra::{Quaternion, UnitQuaternion};

/// Position and orientation of a frame in another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pose {
    /// x, y, z in m; finite.
    pub position: [f64; 3],
    /// Unit quaternion x, y, z, w.
    pub orientation: [f64; 4],
}

impl Default for Pose {
    /// No translation and no rotation.
    fn default() -> Self {
        Self { position: [0.0; 3], orientation: [0.0, 0.0, 0.0, 1.0] }
    }
}

impl Pose {
    /// The pose `part` of the way to another: the position on the line, the rotation about one axis at constant speed, the short way
    /// (slerp).
    pub fn interpolate(&self, to: &Self, part: f64) -> Self {
        let mut position = self.position;
        position.iter_mut().zip(to.position).for_each(|(from, to)| *from += (to - *from) * part);
        let rotation = |[x, y, z, w]: [f64; 4]| UnitQuaternion::new_unchecked(Quaternion::new(w, x, y, z));
        let (from, to) = (rotation(self.orientation), rotation(to.orientation));
        // Opposite rotations have no single short way; either is half a turn, and no robot turns so far between two samples.
        let between = from.try_slerp(&to, part, 1e-9).unwrap_or(if part < 0.5 { from } else { to });
        let q = between.quaternion();
        Self { position, orientation: [q.i, q.j, q.k, q.w] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turned about z.
    fn turned(x: f64, angle: f64) -> Pose {
        Pose { position: [x, 0.0, 0.0], orientation: [0.0, 0.0, (angle / 2.0).sin(), (angle / 2.0).cos()] }
    }

    fn close(a: Pose, b: Pose) -> bool {
        let pairs = a.position.iter().zip(&b.position).chain(a.orientation.iter().zip(&b.orientation));
        pairs.clone().all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn a_rotation_is_interpolated_at_constant_speed() {
        let (from, to) = (turned(0.0, 0.2), turned(1.0, 1.4));
        assert!(close(from.interpolate(&to, 0.25), turned(0.25, 0.5)));
        assert!(close(from.interpolate(&to, 0.0), from) && close(from.interpolate(&to, 1.0), to));
    }

    #[test]
    fn both_signs_of_a_quaternion_are_one_rotation_and_the_short_way_is_taken() {
        let (from, to) = (turned(0.0, 0.2), turned(0.0, 0.6));
        let negative = Pose { orientation: to.orientation.map(|value| -value), ..to };
        assert!(close(from.interpolate(&negative, 0.5), turned(0.0, 0.4)));
        // From 170 to 190 degrees, through 180 and not through 0.
        let half = turned(0.0, 2.967).interpolate(&turned(0.0, -2.967), 0.5);
        assert!(half.orientation[2].abs() > 0.999, "{half:?}");
    }

    #[test]
    fn opposite_rotations_and_equal_ones_have_a_finite_pose_between() {
        let (from, to) = (turned(0.0, 0.0), turned(0.0, std::f64::consts::PI));
        for part in [0.0, 0.3, 0.5, 0.9, 1.0] {
            let between = from.interpolate(&to, part);
            assert!(between.orientation.iter().all(|value| value.is_finite()), "{between:?}");
            assert!(close(to.interpolate(&to, part), to));
        }
    }
}
