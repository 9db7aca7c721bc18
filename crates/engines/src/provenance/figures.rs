//! Differences between two tensors: cosine and largest differences.

use super::Figures;
use vla_base::tensor::{Data, HostTensor};

impl Figures {
    /// Neutral element of [`Self::worse`].
    pub const EQUAL: Self = Self { cosine: Some(1.0), max_abs: Some(0.0), relative: Some(0.0), relative_l2: Some(0.0) };
    /// Figures of tensors with non-finite elements.
    pub const NOT_FINITE: Self = Self { cosine: None, max_abs: None, relative: None, relative_l2: None };

    /// Compares two tensors in double precision. The cosine of two zero tensors is 1, of a zero and a non-zero tensor 0.
    /// `None` if the numbers of elements differ.
    pub fn of(found: &HostTensor, reference: &HostTensor) -> Option<Self> {
        let count = |tensor: &HostTensor| tensor.dims().iter().product::<usize>();
        (count(found) == count(reference)).then(|| Self::between(elements(found), elements(reference)))
    }

    /// Compares two sequences of the same length.
    pub fn between(found: impl Iterator<Item = f64>, reference: impl Iterator<Item = f64>) -> Self {
        let (mut product, mut squares) = (0.0, [0.0; 2]);
        let (mut difference, mut largest, mut apart) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (a, b) in found.zip(reference) {
            if !(a.is_finite() && b.is_finite()) {
                return Self::NOT_FINITE;
            }
            product += a * b;
            squares[0] += a * a;
            squares[1] += b * b;
            apart += (a - b) * (a - b);
            difference = difference.max((a - b).abs());
            largest = largest.max(b.abs());
        }
        let cosine = match squares {
            [0.0, 0.0] => 1.0,
            [0.0, _] | [_, 0.0] => 0.0,
            // The root of the product, not the product of the roots: for equal tensors it equals the numerator exactly.
            [a, b] => (product / (a * b).sqrt()).clamp(-1.0, 1.0),
        };
        let relative = if difference == 0.0 { 0.0 } else { difference / largest };
        let relative_l2 = if apart == 0.0 { 0.0 } else { (apart / squares[1]).sqrt() };
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Self {
            cosine: finite(cosine),
            max_abs: finite(difference),
            relative: finite(relative),
            relative_l2: finite(relative_l2),
        }
    }

    /// The worse value of each figure.
    pub fn worse(self, other: Self) -> Self {
        let pair = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| Some(pick(a?, b?));
        Self {
            cosine: pair(self.cosine, other.cosine, f64::min),
            max_abs: pair(self.max_abs, other.max_abs, f64::max),
            relative: pair(self.relative, other.relative, f64::max),
            relative_l2: pair(self.relative_l2, other.relative_l2, f64::max),
        }
    }
}

/// Converts the elements of any type to double precision.
fn elements(tensor: &HostTensor) -> Box<dyn Iterator<Item = f64> + '_> {
    match tensor.data() {
        Data::F32(values) => Box::new(values.iter().map(|v| f64::from(*v))),
        Data::F16(values) => Box::new(values.iter().map(|v| f64::from(v.to_f32()))),
        Data::BF16(values) => Box::new(values.iter().map(|v| f64::from(v.to_f32()))),
        Data::I32(values) => Box::new(values.iter().map(|v| f64::from(*v))),
        Data::I64(values) => Box::new(values.iter().map(|v| *v as f64)),
        Data::U8(values) => Box::new(values.iter().map(|v| f64::from(*v))),
        Data::Bool(values) => Box::new(values.iter().map(|v| f64::from(u8::from(*v)))),
    }
}

/// Formats a figure; `nan` for `None`.
pub fn show(value: Option<f64>) -> String {
    match value {
        None => "nan".to_owned(),
        Some(value) if value != 0.0 && value.abs() < 1e-3 => format!("{value:.1e}"),
        Some(value) => format!("{value:.4}"),
    }
}

/// Formats a cosine with enough digits to distinguish it from 1.
pub fn show_cosine(value: Option<f64>) -> String {
    value.map_or("nan".to_owned(), |value| format!("{value:.6}"))
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;

    fn tensor(values: &[f32]) -> HostTensor {
        HostTensor::from_f32(&[values.len()], values.to_vec()).expect("as many")
    }

    fn of(found: &[f32], reference: &[f32]) -> Figures {
        Figures::of(&tensor(found), &tensor(reference)).expect("as many")
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let found = of(&[3.0, 4.0, 0.0], &[4.0, 3.0, 0.0]);
        let l2 = (2.0_f64 / 25.0).sqrt();
        let expected = (Some(24.0 / 25.0), Some(1.0), Some(0.25), Some(l2));
        assert_eq!((found.cosine, found.max_abs, found.relative, found.relative_l2), expected);
        assert_eq!(of(&[1.0, 0.0], &[-2.0, 0.0]).cosine, Some(-1.0));
    }

    #[test]
    fn zero_tensors_are_equal_and_one_alone_is_as_far_as_can_be() {
        assert_eq!(of(&[0.0; 3], &[0.0; 3]), Figures::EQUAL);
        assert_eq!(of(&[], &[]), Figures::EQUAL);
        assert_eq!(of(&[0.0; 2], &[1.0, 1.0]).cosine, Some(0.0));
        let from_nothing = of(&[1.0, 1.0], &[0.0; 2]);
        assert_eq!(from_nothing, Figures { cosine: Some(0.0), max_abs: Some(1.0), relative: None, relative_l2: None });
    }

    #[test]
    fn what_is_not_finite_on_either_side_has_no_figures_and_stays_so() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(of(&[1.0, bad], &[1.0, 2.0]), Figures::NOT_FINITE);
            assert_eq!(of(&[1.0, 2.0], &[bad, 2.0]), Figures::NOT_FINITE);
            assert_eq!(of(&[bad], &[bad]), Figures::NOT_FINITE, "not even with itself");
        }
        assert_eq!(Figures::EQUAL.worse(Figures::NOT_FINITE).worse(Figures::EQUAL), Figures::NOT_FINITE);
    }

    #[test]
    fn another_number_of_elements_is_no_comparison_and_other_types_and_dimensions_are() {
        assert_eq!(Figures::of(&tensor(&[1.0]), &tensor(&[1.0, 2.0])), None);
        let mut half = HostTensor::zeros(vla_base::tensor::DType::F16, &[1, 2]).expect("small");
        if let Data::F16(values) = half.data_mut() {
            values.copy_from_slice(&[f16::from_f32(0.5), f16::from_f32(-2.0)]);
        }
        assert_eq!(Figures::of(&half, &tensor(&[0.5, -2.0])), Some(Figures::EQUAL));
        let whole = HostTensor::from_i32(&[2], vec![1, 2]).expect("as many");
        assert_eq!(Figures::of(&whole, &tensor(&[1.0, 2.0])), Some(Figures::EQUAL));
    }

    #[test]
    fn figures_are_shown_with_digits_that_tell_them_from_their_limits() {
        assert_eq!(
            [show(None), show(Some(0.0)), show(Some(1.5e-5)), show(Some(0.25))],
            ["nan", "0.0000", "1.5e-5", "0.2500"]
        );
        assert_eq!(show_cosine(Some(0.998_999)), "0.998999");
    }

    fn values() -> impl Strategy<Value = Vec<(f32, f32)>> {
        prop::collection::vec((-1e30_f32..1e30, -1e30_f32..1e30), 1..50)
    }

    proptest! {
        #[test]
        fn a_tensor_is_equal_to_itself(pairs in values()) {
            let a: Vec<f32> = pairs.iter().map(|pair| pair.0).collect();
            prop_assert_eq!(of(&a, &a), Figures::EQUAL);
        }

        #[test]
        fn the_cosine_does_not_depend_on_side_or_scale_and_is_one(pairs in values(), scale in 1e-3_f32..1e3) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let scaled: Vec<f32> = a.iter().map(|v| v * scale).collect();
            let [ab, ba, sb] = [of(&a, &b), of(&b, &a), of(&scaled, &b)].map(|figures| figures.cosine.expect("finite"));
            prop_assert!((-1.0..=1.0).contains(&ab));
            prop_assert!((ab - ba).abs() < 1e-12 && (ab - sb).abs() < 1e-6, "{} {} {}", ab, ba, sb);
        }

        #[test]
        fn a_difference_is_at_most_the_sum_of_what_is_there(pairs in values()) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let largest = |v: &[f32]| v.iter().fold(0.0, |m, v| f64::from(v.abs()).max(m));
            let figures = of(&a, &b);
            prop_assert!(figures.max_abs.expect("finite") <= largest(&a) + largest(&b));
            let relative = figures.max_abs.expect("finite") / largest(&b);
            prop_assert_eq!(figures.relative, Some(relative).filter(|value| value.is_finite()));
        }

        #[test]
        fn the_worst_of_several_is_no_better_than_any(pairs in prop::collection::vec(values(), 1..5)) {
            let each: Vec<Figures> = pairs.into_iter().map(|pairs| {
                let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
                of(&a, &b)
            }).collect();
            let worst = each.iter().copied().reduce(Figures::worse).expect("one at least");
            prop_assert!(each.iter().all(|one| worst.cosine <= one.cosine && worst.max_abs >= one.max_abs));
            prop_assert!(each.iter().any(|one| worst.cosine == one.cosine));
        }
    }
}
