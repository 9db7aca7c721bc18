//! The rotation that a predicted 3x3 matrix stands for, as scipy 1.15.3's `Rotation.from_matrix` finds it.

use nalgebra::{Matrix3, Quaternion, UnitQuaternion};

/// How far `m mᵀ` may be from the identity (`numpy.isclose`): absolute, and relative to its ones.
const ORTHOGONAL: (f64, f64) = (1e-12, 1e-5);
/// Newton's steps converge quadratically; the worst matrix of double precision needs about ten.
const MOST_STEPS: usize = 40;

/// The rotation nearest to `matrix`: U Vᵀ of its singular value decomposition. A matrix that is orthogonal already
/// is taken as it is, through the quaternion. `None` unless the determinant is positive.
pub(super) fn nearest_rotation(matrix: &Matrix3<f64>) -> Option<Matrix3<f64>> {
    let largest = matrix.amax();
    if !largest.is_finite() || largest <= 0.0 {
        return None;
    }
    if (matrix / largest).determinant() <= 0.0 {
        return None;
    }
    let near = |found: f64, expected: f64| (found - expected).abs() <= ORTHOGONAL.0 + ORTHOGONAL.1 * expected;
    let gram = matrix * matrix.transpose();
    let orthogonal = gram.iter().zip(Matrix3::identity().iter()).all(|(&found, &expected)| near(found, expected));
    let rotation = if orthogonal { *matrix } else { orthogonal_factor(&(matrix / largest))? };
    let quaternion = UnitQuaternion::new_normalize(quaternion_of(&rotation));
    let rotation = *quaternion.to_rotation_matrix().matrix();
    rotation.iter().all(|value| value.is_finite()).then_some(rotation)
}

/// The orthogonal factor of the polar decomposition, which is U Vᵀ where the determinant is positive: Newton's iteration
/// X = (s X + X⁻ᵀ / s) / 2, scaled by norms (Higham, Computing the Polar Decomposition, 1986).
fn orthogonal_factor(matrix: &Matrix3<f64>) -> Option<Matrix3<f64>> {
    let mut x = *matrix;
    for _ in 0..MOST_STEPS {
        let inverse = x.try_inverse()?.transpose();
        let scale = (inverse.norm() / x.norm()).sqrt();
        let next = (x * scale + inverse / scale) * 0.5;
        let moved = (next - x).norm();
        x = next;
        // The last step squares an error of this size.
        if moved <= 1e-9 {
            let inverse = x.try_inverse()?.transpose();
            return Some((x + inverse) * 0.5);
        }
    }
    None
}

/// The quaternion of a rotation matrix, not normalised: from the greatest of the diagonal and the trace.
fn quaternion_of(m: &Matrix3<f64>) -> Quaternion<f64> {
    let trace = m.trace();
    let (mut axis, mut greatest) = (0, m[(0, 0)]);
    for at in 1..3 {
        if m[(at, at)] > greatest {
            (axis, greatest) = (at, m[(at, at)]);
        }
    }
    if trace > greatest {
        let [x, y, z] = [m[(2, 1)] - m[(1, 2)], m[(0, 2)] - m[(2, 0)], m[(1, 0)] - m[(0, 1)]];
        return Quaternion::new(1.0 + trace, x, y, z);
    }
    let (i, j, k) = (axis, (axis + 1) % 3, (axis + 2) % 3);
    let mut imaginary = [0.0; 3];
    imaginary[i] = 1.0 - trace + 2.0 * m[(i, i)];
    imaginary[j] = m[(j, i)] + m[(i, j)];
    imaginary[k] = m[(k, i)] + m[(i, k)];
    let [x, y, z] = imaginary;
    Quaternion::new(m[(k, j)] - m[(j, k)], x, y, z)
}

#[cfg(test)]
mod tests {
    use nalgebra::{Rotation3, SVD, Vector3};
    use proptest::prelude::*;

    use super::*;

    /// U Vᵀ by nalgebra.
    fn by_svd(matrix: &Matrix3<f64>) -> Matrix3<f64> {
        let svd = SVD::new(*matrix, true, true);
        svd.u.expect("U") * svd.v_t.expect("V")
    }

    fn distance(a: &Matrix3<f64>, b: &Matrix3<f64>) -> f64 {
        (a - b).amax()
    }

    #[test]
    fn a_rotation_is_its_own_nearest_whatever_its_largest_entry() {
        for turn in [[0.0; 3], [0.3, -0.2, 1.0], [3.1, 0.0, 0.0], [0.0, 3.1, 0.1], [0.1, 0.0, -3.1], [2.0, 2.0, 0.5]] {
            let rotation = *Rotation3::new(Vector3::from(turn)).matrix();
            let found = nearest_rotation(&rotation).expect("a rotation");
            assert!(distance(&found, &rotation) < 1e-14, "{turn:?}");
        }
    }

    #[test]
    fn what_is_no_rotation_with_a_positive_determinant_is_none() {
        let mirrored = Matrix3::from_diagonal(&Vector3::new(1.0, 1.0, -1.0));
        let flat = Matrix3::from_diagonal(&Vector3::new(1.0, 1.0, 0.0));
        let endless = Matrix3::identity() * f64::INFINITY;
        for matrix in [mirrored, flat, Matrix3::zeros(), endless, Matrix3::repeat(f64::NAN), Matrix3::repeat(1.0)] {
            assert_eq!(nearest_rotation(&matrix), None, "{matrix}");
        }
    }

    #[test]
    fn a_scale_is_no_turn() {
        let rotation = *Rotation3::new(Vector3::new(0.4, 0.2, -0.9)).matrix();
        for scale in [1e-200, 1e-3, 0.5, 7.0, 1e200] {
            let found = nearest_rotation(&(rotation * scale)).expect("a rotation");
            assert!(distance(&found, &rotation) < 1e-14, "{scale}");
        }
    }

    proptest! {
        #[test]
        fn the_nearest_is_that_of_the_singular_value_decomposition(values in prop::array::uniform9(-2.0..2.0_f64)) {
            let matrix = Matrix3::from_row_slice(&values);
            match nearest_rotation(&matrix) {
                None => prop_assert!(matrix.determinant() <= 1e-9),
                Some(found) => {
                    prop_assert!(distance(&(found * found.transpose()), &Matrix3::identity()) < 1e-12);
                    // Where two singular values nearly cancel the factor is not well defined.
                    prop_assume!(matrix.determinant() > 1e-2);
                    prop_assert!(distance(&found, &by_svd(&matrix)) < 1e-9, "{found} {}", by_svd(&matrix));
                }
            }
        }
    }
}
