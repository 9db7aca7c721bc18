//! Rigid transforms.

use nalgebra::{Isometry3, Quaternion, Translation3, UnitQuaternion};

/// Maps points of a frame to another: the pose of the one in the other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Transform {
    /// x, y, z in m.
    pub translation: [f64; 3],
    /// Unit quaternion x, y, z, w.
    pub rotation: [f64; 4],
}

impl Transform {
    /// Maps every point to itself.
    pub const IDENTITY: Self = Self { translation: [0.0; 3], rotation: [0.0, 0.0, 0.0, 1.0] };

    /// `self` after `inner`: maps what `inner` maps, on.
    pub fn after(&self, inner: &Self) -> Self {
        Self::of(&(self.isometry() * inner.isometry()))
    }

    /// Maps back.
    pub fn inverse(&self) -> Self {
        Self::of(&self.isometry().inverse())
    }

    /// The part `ratio` of the way from `self` to `other`: translation along a line, rotation the short way (slerp).
    pub fn interpolate(&self, other: &Self, ratio: f64) -> Self {
        let mut translation = self.translation;
        for (value, to) in translation.iter_mut().zip(other.translation) {
            *value = (1.0 - ratio) * *value + ratio * to;
        }
        Self { translation, rotation: slerp(&self.rotation, &other.rotation, ratio) }
    }

    fn isometry(&self) -> Isometry3<f64> {
        let ([x, y, z], [i, j, k, w]) = (self.translation, self.rotation);
        Isometry3::from_parts(Translation3::new(x, y, z), UnitQuaternion::new_unchecked(Quaternion::new(w, i, j, k)))
    }

    fn of(isometry: &Isometry3<f64>) -> Self {
        let (t, q) = (&isometry.translation.vector, &isometry.rotation);
        // Products of rotations drift from length 1 by rounding.
        let length = q.coords.norm();
        Self { translation: [t.x, t.y, t.z], rotation: [q.i / length, q.j / length, q.k / length, q.w / length] }
    }
}

/// Both signs of a quaternion are one rotation: the nearer of them is gone to.
fn slerp(from: &[f64; 4], to: &[f64; 4], ratio: f64) -> [f64; 4] {
    let dot: f64 = from.iter().zip(to).map(|(a, b)| a * b).sum();
    let angle = dot.abs().min(1.0).acos();
    let sin = angle.sin();
    if sin == 0.0 {
        return *from;
    }
    let (a, b) = (((1.0 - ratio) * angle).sin() / sin, (ratio * angle).sin() / sin * dot.signum());
    let mut out = *from;
    out.iter_mut().zip(to).for_each(|(value, to)| *value = a * *value + b * to);
    out
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use proptest::prelude::*;

    use super::*;

    fn about_z(angle: f64) -> [f64; 4] {
        [0.0, 0.0, (angle / 2.0).sin(), (angle / 2.0).cos()]
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn a_point_ahead_of_a_turned_frame_is_to_its_left() {
        let turned = Transform { translation: [1.0, 0.0, 0.0], rotation: about_z(PI / 2.0) };
        let ahead = Transform { translation: [2.0, 0.0, 0.0], ..Transform::IDENTITY };
        assert!(close(&turned.after(&ahead).translation, &[1.0, 2.0, 0.0]));
    }

    #[test]
    fn rotation_is_interpolated_the_short_way_whatever_the_sign_of_the_quaternion() {
        let from = Transform { rotation: about_z(3.0), ..Transform::IDENTITY };
        for to in [about_z(-3.0), about_z(-3.0).map(|value| -value)] {
            let half = from.interpolate(&Transform { translation: [4.0, 0.0, 0.0], rotation: to }, 0.5);
            let [_, _, sin, cos] = half.rotation;
            assert!((sin.abs() - 1.0).abs() < 1e-12 && cos.abs() < 1e-12, "half a turn: {half:?}");
            assert_eq!(half.translation, [2.0, 0.0, 0.0]);
        }
        assert_eq!(from.interpolate(&from, 0.3).rotation, from.rotation);
    }

    proptest! {
        #[test]
        fn there_and_back_is_nowhere(t in prop::array::uniform3(-9.0f64..9.0), q in prop::array::uniform4(-1.0f64..1.0)) {
            let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
            prop_assume!(length > 0.1);
            let there = Transform { translation: t, rotation: q.map(|v| v / length) };
            let back = there.inverse().after(&there);
            prop_assert!(close(&back.translation, &[0.0; 3]) && (back.rotation[3].abs() - 1.0).abs() < 1e-12);
        }

        #[test]
        fn an_interpolated_rotation_is_a_unit(
            a in prop::array::uniform4(-1.0f64..1.0), b in prop::array::uniform4(-1.0f64..1.0), ratio in 0.0f64..1.0,
        ) {
            let unit = |q: [f64; 4]| { let length = q.iter().map(|v| v * v).sum::<f64>().sqrt(); q.map(|v| v / length) };
            prop_assume!(a.iter().chain(&b).any(|v| v.abs() > 0.1) && unit(a).iter().chain(&unit(b)).all(|v| v.is_finite()));
            let found = slerp(&unit(a), &unit(b), ratio);
            prop_assert!((found.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-9, "{found:?}");
        }
    }
}
