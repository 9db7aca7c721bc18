//! Poses in the columns of a chunk: position and unit quaternion, interpolated.

/// Values of a pose: x, y, z in m, then the quaternion x, y, z, w.
pub(super) const POSE: usize = 7;

/// Below this length a vector has no direction.
const SHORTEST: f64 = 1e-9;
/// Above this cosine of half the angle, slerp is the straight line.
const CLOSE: f64 = 0.9995;

/// How the columns of an end effector encode its pose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoseColumns {
    /// `x y z`, then the first two rows of the rotation matrix.
    Rot6d,
    /// `x y z`, then the rotation vector in rad.
    Rotvec,
    /// The 4x4 matrix row by row.
    Matrix,
}

impl PoseColumns {
    /// By the names of the columns, `<key>.x` and so on; `None` when they do not say what the values are.
    pub fn of_names(names: &[String]) -> Option<Self> {
        let ends = |at: usize, suffix: &str| names.get(at).is_some_and(|name| name.ends_with(suffix));
        match names.len() {
            9 if ends(0, ".x") && ends(3, ".r00") => Some(Self::Rot6d),
            6 if ends(0, ".x") && ends(3, ".rx") => Some(Self::Rotvec),
            16 if ends(0, ".r00") && ends(3, ".x") => Some(Self::Matrix),
            _ => None,
        }
    }

    /// Position and unit quaternion of a row's values; `None` when they are no pose.
    pub(super) fn read(self, values: &[f64]) -> Option<[f64; POSE]> {
        let at = |index: usize| values.get(index).copied().filter(|value| value.is_finite());
        let three = |indices: [usize; 3]| Some([at(indices[0])?, at(indices[1])?, at(indices[2])?]);
        let (position, rotation) = match self {
            Self::Rot6d => (three([0, 1, 2])?, of_rows(three([3, 4, 5])?, three([6, 7, 8])?)?),
            Self::Matrix => (three([3, 7, 11])?, of_rows(three([0, 1, 2])?, three([4, 5, 6])?)?),
            Self::Rotvec => (three([0, 1, 2])?, of_vector(three([3, 4, 5])?)),
        };
        let ([x, y, z], [qx, qy, qz, qw]) = (position, rotation);
        Some([x, y, z, qx, qy, qz, qw])
    }
}

/// `from` to `to` at `share` (0 to 1): the position on the line, the rotation on the shorter great circle.
pub(super) fn between(from: &[f64], to: &[f64], share: f64, out: &mut [f64; POSE]) {
    let value = |of: &[f64], index: usize| of.get(index).copied().unwrap_or_default();
    for (index, out) in out.iter_mut().take(3).enumerate() {
        *out = value(from, index) + share * (value(to, index) - value(from, index));
    }
    let q = |of: &[f64]| [3, 4, 5, 6].map(|index| value(of, index));
    let (a, mut b) = (q(from), q(to));
    let mut cosine: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    // q and -q are the same rotation.
    if cosine < 0.0 {
        b = b.map(|value| -value);
        cosine = -cosine;
    }
    let (first, second) = if cosine > CLOSE {
        (1.0 - share, share)
    } else {
        let angle = cosine.min(1.0).acos();
        (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
    };
    let mixed = [0, 1, 2, 3].map(|index: usize| first * value(&a, index) + second * value(&b, index));
    let length = mixed.iter().map(|value| value * value).sum::<f64>().sqrt().max(SHORTEST);
    for (out, value) in out.iter_mut().skip(3).zip(mixed) {
        *out = value / length;
    }
}

/// Quaternion of the rotation matrix with these first two rows, made orthonormal.
fn of_rows(first: [f64; 3], second: [f64; 3]) -> Option<[f64; 4]> {
    let row0 = direction(first, SHORTEST)?;
    let along = dot(row0, second);
    let across = [0, 1, 2].map(|i: usize| second[i] - along * row0[i]);
    let row1 = direction(across, SHORTEST * dot(second, second).sqrt())?;
    let row2 = cross(row0, row1);
    Some(of_matrix([row0, row1, row2]))
}

/// Shepperd's method: the largest component first, so that nothing is divided by a small number.
fn of_matrix(m: [[f64; 3]; 3]) -> [f64; 4] {
    let trace = m[0][0] + m[1][1] + m[2][2];
    let quaternion = if trace > 0.0 {
        let s = (trace + 1.0).sqrt() * 2.0;
        [(m[2][1] - m[1][2]) / s, (m[0][2] - m[2][0]) / s, (m[1][0] - m[0][1]) / s, s / 4.0]
    } else if m[0][0] >= m[1][1] && m[0][0] >= m[2][2] {
        let s = (1.0 + m[0][0] - m[1][1] - m[2][2]).sqrt() * 2.0;
        [s / 4.0, (m[0][1] + m[1][0]) / s, (m[0][2] + m[2][0]) / s, (m[2][1] - m[1][2]) / s]
    } else if m[1][1] >= m[2][2] {
        let s = (1.0 + m[1][1] - m[0][0] - m[2][2]).sqrt() * 2.0;
        [(m[0][1] + m[1][0]) / s, s / 4.0, (m[1][2] + m[2][1]) / s, (m[0][2] - m[2][0]) / s]
    } else {
        let s = (1.0 + m[2][2] - m[0][0] - m[1][1]).sqrt() * 2.0;
        [(m[0][2] + m[2][0]) / s, (m[1][2] + m[2][1]) / s, s / 4.0, (m[1][0] - m[0][1]) / s]
    };
    let length = quaternion.iter().map(|value| value * value).sum::<f64>().sqrt().max(SHORTEST);
    quaternion.map(|value| value / length)
}

fn of_vector(vector: [f64; 3]) -> [f64; 4] {
    let angle = dot(vector, vector).sqrt();
    // sin(angle / 2) / angle near zero.
    let factor = if angle < SHORTEST { 0.5 } else { (angle / 2.0).sin() / angle };
    let [x, y, z] = vector.map(|value| value * factor);
    [x, y, z, (angle / 2.0).cos()]
}

fn direction(vector: [f64; 3], above: f64) -> Option<[f64; 3]> {
    let length = dot(vector, vector).sqrt();
    (length.is_finite() && length > above.max(SHORTEST)).then(|| vector.map(|value| value / length))
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(&b).map(|(a, b)| a * b).sum()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, PI};

    fn near(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn a_quarter_turn_about_z_is_the_same_quaternion_in_every_format() {
        let expected = [1.0, 2.0, 3.0, 0.0, 0.0, FRAC_1_SQRT_2, FRAC_1_SQRT_2];
        let rot6d = [1.0, 2.0, 3.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0];
        let rotvec = [1.0, 2.0, 3.0, 0.0, 0.0, FRAC_PI_2];
        let matrix = [0.0, -1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0, 1.0];
        for (layout, values) in
            [(PoseColumns::Rot6d, &rot6d[..]), (PoseColumns::Rotvec, &rotvec), (PoseColumns::Matrix, &matrix)]
        {
            assert!(near(&layout.read(values).expect("a pose"), &expected), "{layout:?}");
        }
    }

    #[test]
    fn half_turns_about_each_axis_are_read() {
        for (diagonal, expected) in
            [([1.0, -1.0], [1.0, 0.0, 0.0]), ([-1.0, 1.0], [0.0, 1.0, 0.0]), ([-1.0, -1.0], [0.0, 0.0, 1.0])]
        {
            let values = [0.0, 0.0, 0.0, diagonal[0], 0.0, 0.0, 0.0, diagonal[1], 0.0];
            let pose = PoseColumns::Rot6d.read(&values).expect("a pose");
            assert!(near(&pose[3..6], &expected) && pose[6].abs() < 1e-9, "{pose:?}");
        }
    }

    #[test]
    fn what_is_no_rotation_is_no_pose() {
        assert_eq!(PoseColumns::Rot6d.read(&[0.0; 9]), None, "no direction");
        assert_eq!(PoseColumns::Rot6d.read(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0]), None, "both along x");
        assert_eq!(PoseColumns::Rotvec.read(&[0.0, f64::NAN, 0.0, 0.0, 0.0, 0.0]), None);
        assert_eq!(PoseColumns::Rotvec.read(&[0.0; 5]), None);
    }

    #[test]
    fn the_middle_of_a_turn_is_half_of_it_and_the_short_way_is_taken() {
        let turned = |angle: f64| PoseColumns::Rotvec.read(&[angle, 0.0, 0.0, 0.0, 0.0, angle]).expect("a pose");
        let mut middle = [0.0; POSE];
        between(&turned(0.0), &turned(1.0), 0.5, &mut middle);
        assert!(near(&middle, &turned(0.5)));
        // From 170 to -170 degrees: over 180, not over 0.
        let (from, to) = (turned(170f64.to_radians()), turned(-170f64.to_radians()));
        between(&from, &to, 0.5, &mut middle);
        assert!(near(&middle[3..], &turned(PI)[3..]) || near(&middle[3..], &turned(-PI)[3..]), "{middle:?}");
    }
}
