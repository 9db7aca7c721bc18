//! Euler angles.

use std::fmt;
use std::str::FromStr;

use nalgebra::Matrix3;

/// Words of the orders: turns about the axes of the fixed frame, and the same as turns about those of the moving one.
const WORDS: [(&str, &str, [usize; 3]); 6] = [
    ("extrinsic_xyz", "intrinsic_zyx", [0, 1, 2]),
    ("extrinsic_xzy", "intrinsic_yzx", [0, 2, 1]),
    ("extrinsic_yxz", "intrinsic_zxy", [1, 0, 2]),
    ("extrinsic_yzx", "intrinsic_xzy", [1, 2, 0]),
    ("extrinsic_zxy", "intrinsic_yxz", [2, 0, 1]),
    ("extrinsic_zyx", "intrinsic_xyz", [2, 1, 0]),
];

/// The order in which roll (about x), pitch (about y) and yaw (about z) are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EulerOrder {
    /// Axes of the fixed frame, the first turn first.
    axes: [usize; 3],
}

impl Default for EulerOrder {
    /// Extrinsic xyz.
    fn default() -> Self {
        Self::RPY
    }
}

impl EulerOrder {
    /// Roll about x, then pitch about y, then yaw about z of the fixed frame: the `rpy` of URDF and tf2, `xyz` of scipy, `sxyz` of
    /// transforms3d.
    pub const RPY: Self = Self { axes: [0, 1, 2] };

    /// The words used in parameters: six orders, each by the fixed frame and by the moving one.
    pub fn words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|word| word.0).chain(WORDS.iter().map(|word| word.1))
    }

    /// Roll, pitch and yaw of a rotation matrix, in rad: the middle turn within [-pi/2, pi/2], the others within [-pi, pi]. Where the
    /// middle turn is a quarter, only the sum of the others is known; then the last is 0.
    pub fn angles(self, matrix: &Matrix3<f64>) -> [f64; 3] {
        let [first, middle, last] = self.axes;
        let m = |row: usize, column: usize| matrix.get((row, column)).copied().unwrap_or_default();
        // The sign of the permutation.
        let sign = if (first + 1) % 3 == middle { 1.0 } else { -1.0 };
        let cos = m(first, first).hypot(m(middle, first));
        let mut angles = [0.0; 3];
        let mut set = |axis: usize, angle: f64| {
            if let Some(slot) = angles.get_mut(axis) {
                *slot = angle;
            }
        };
        set(middle, (-sign * m(last, first)).atan2(cos));
        if cos > 4.0 * f64::EPSILON {
            set(first, (sign * m(last, middle)).atan2(m(last, last)));
            set(last, (sign * m(middle, first)).atan2(m(first, first)));
        } else {
            set(first, (-sign * m(middle, last)).atan2(m(middle, middle)));
        }
        angles
    }
}

impl FromStr for EulerOrder {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = WORDS.iter().find(|(fixed, moving, _)| [*fixed, *moving].contains(&word));
        found
            .map(|(_, _, axes)| Self { axes: *axes })
            .ok_or_else(|| format!("expected one of {}, found '{word}'", Self::words().collect::<Vec<_>>().join(", ")))
    }
}

impl fmt::Display for EulerOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(_, _, axes)| *axes == self.axes).map_or("", |word| word.0);
        f.write_str(word)
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_PI_2, PI};

    use nalgebra::{Rotation3, Vector3};
    use proptest::prelude::*;

    use super::*;

    /// The product of turns about the axes in the word, as the word says.
    fn composed(word: &str, angles: [f64; 3]) -> Matrix3<f64> {
        let (kind, order) = word.split_once('_').expect("two parts");
        let turns = order.chars().map(|axis| {
            let index = "xyz".find(axis).expect("an axis");
            let unit = Vector3::ith(index, 1.0);
            *Rotation3::new(unit * angles[index]).matrix()
        });
        turns.fold(Matrix3::identity(), |all, turn| if kind == "extrinsic" { turn * all } else { all * turn })
    }

    #[test]
    fn every_word_is_an_order_and_an_unknown_one_is_refused_with_all() {
        assert_eq!(EulerOrder::words().count(), 12);
        assert!(EulerOrder::words().all(|word| word.parse::<EulerOrder>().is_ok()));
        assert_eq!("extrinsic_xyz".parse(), Ok(EulerOrder::default()));
        assert!("xyz".parse::<EulerOrder>().expect_err("unknown").contains("intrinsic_zyx"));
        assert_eq!(EulerOrder::RPY.to_string(), "extrinsic_xyz");
    }

    #[test]
    fn at_a_quarter_turn_of_pitch_the_last_angle_is_zero_and_the_rotation_the_same() {
        for word in EulerOrder::words() {
            let order: EulerOrder = word.parse().expect("a word");
            for quarter in [FRAC_PI_2, -FRAC_PI_2] {
                let mut angles = [0.7, 0.7, 0.7];
                angles[order.axes[1]] = quarter;
                let matrix = composed(word, angles);
                let found = order.angles(&matrix);
                assert!((composed(word, found) - matrix).abs().max() < 1e-7, "{word}: {found:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn angles_within_their_ranges_are_found_again(a in -PI..PI, b in -1.5f64..1.5, c in -PI..PI) {
            for word in EulerOrder::words() {
                let order: EulerOrder = word.parse().expect("a word");
                let [first, middle, last] = order.axes;
                let mut angles = [0.0; 3];
                (angles[first], angles[middle], angles[last]) = (a, b, c);
                let found = order.angles(&composed(word, angles));
                prop_assert!(found.iter().zip(angles).all(|(a, b)| (a - b).abs() < 1e-9), "{}: {:?} {:?}", word, found, angles);
            }
        }
    }
}
