//! From normalised predictions to physical values.

use crate::processor::ActionScaling;

/// How one value is scaled. What is single and what is double precision is upstream's: predictions are f32, statistics
/// f64.
#[derive(Clone, Copy)]
enum Channel {
    /// `x std + mean`, rounded to f32.
    Spread {
        mean: f64,
        std: f64,
    },
    /// `(clip(x) + 1) / 2 width + low`; the part before `width` in f32.
    Range {
        low: f64,
        width: f64,
    },
    Unchanged,
}

impl Channel {
    fn apply(self, x: f32) -> f64 {
        match self {
            Self::Spread { mean, std } => f64::from((f64::from(x) * std + mean) as f32),
            Self::Range { low, width } => f64::from((x.clamp(-1.0, 1.0) + 1.0) / 2.0) * width + low,
            Self::Unchanged => f64::from(x),
        }
    }

    /// The prediction that [`Self::apply`] makes `y` of, or the one that comes closest: within its range, where it has one. A
    /// range without width gives the same value whatever is predicted; its middle stands for it.
    fn invert(self, y: f64) -> f32 {
        match self {
            Self::Spread { mean, std } => ((y - mean) / std) as f32,
            Self::Range { width: 0.0, .. } => 0.0,
            Self::Range { low, width } => ((y - low) / width * 2.0 - 1.0).clamp(-1.0, 1.0) as f32,
            Self::Unchanged => y as f32,
        }
    }
}

/// The scaling of one key: one set of channels for all rows, or one for each row.
pub(super) struct Scaling {
    width: usize,
    channels: Vec<Channel>,
}

impl Scaling {
    /// `Err` holds the length of a table that is neither `width` nor `rows * width` long, or unlike the other.
    pub(crate) fn new(scaling: &ActionScaling, rows: usize, width: usize) -> Result<Self, usize> {
        let (first, second) = match scaling {
            ActionScaling::MeanStd { mean, std } => (mean, std),
            ActionScaling::Range { low, high } => (low, high),
        };
        if first.len() != width && rows.checked_mul(width) != Some(first.len()) {
            return Err(first.len());
        }
        if second.len() != first.len() {
            return Err(second.len());
        }
        let channel = |(&first, &second): (&f64, &f64)| match scaling {
            ActionScaling::MeanStd { .. } if second == 0.0 => Channel::Unchanged,
            ActionScaling::MeanStd { .. } => Channel::Spread { mean: first, std: second },
            ActionScaling::Range { .. } => Channel::Range { low: first, width: second - first },
        };
        Ok(Self { width, channels: first.iter().zip(second).map(channel).collect() })
    }

    /// One row of the key; as many values as the shorter of `predicted` and `out` has, at most the key's width.
    pub(crate) fn apply(&self, row: usize, predicted: &[f32], out: &mut [f64]) {
        for ((channel, &x), y) in self.row(row).zip(predicted).zip(out) {
            *y = channel.apply(x);
        }
    }

    /// The other way: physical values to what predicts them.
    pub(crate) fn invert(&self, row: usize, physical: &[f64], out: &mut [f32]) {
        for ((channel, &y), x) in self.row(row).zip(physical).zip(out) {
            *x = channel.invert(y);
        }
    }

    fn row(&self, row: usize) -> impl Iterator<Item = &Channel> {
        let start = if self.channels.len() == self.width { 0 } else { row * self.width };
        self.channels.iter().skip(start).take(self.width)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(scaling: &ActionScaling, x: f32) -> f64 {
        let mut out = [f64::NAN];
        Scaling::new(scaling, 1, 1).expect("tables of one value").apply(0, &[x], &mut out);
        out[0]
    }

    #[test]
    fn each_row_has_its_own_table_when_there_is_one_and_else_they_share_it() {
        let range = |low: &[f64]| ActionScaling::Range { low: low.into(), high: low.iter().map(|x| x + 2.0).collect() };
        let mut out = [0.0; 2];
        let own = Scaling::new(&range(&[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]), 3, 2).expect("3 rows of 2");
        own.apply(2, &[0.0, 1.0], &mut out);
        assert_eq!(out, [41.0, 52.0]);
        let shared = Scaling::new(&range(&[0.0, 10.0]), 3, 2).expect("one row of 2");
        shared.apply(2, &[0.0, 1.0], &mut out);
        assert_eq!(out, [1.0, 12.0]);
        assert_eq!(Scaling::new(&range(&[0.0; 4]), 3, 2).err(), Some(4));
        assert_eq!(Scaling::new(&ActionScaling::MeanStd { mean: vec![0.0; 2], std: vec![] }, 3, 2).err(), Some(0));
    }

    #[test]
    fn without_spread_a_prediction_is_unchanged() {
        assert_eq!(one(&ActionScaling::MeanStd { mean: vec![5.0], std: vec![0.0] }, 3.5), 3.5);
        assert_eq!(one(&ActionScaling::MeanStd { mean: vec![5.0], std: vec![2.0] }, 3.5), 12.0);
    }

    proptest! {
        #[test]
        fn what_predicts_a_value_is_found_from_it(x in -1.0..1.0f32, low in -9.0..9.0, width in 0.01..9.0, turned: bool) {
            let (low, high) = if turned { (low + width, low) } else { (low, low + width) };
            let spread = ActionScaling::MeanStd { mean: vec![low], std: vec![width] };
            for scaling in [ActionScaling::Range { low: vec![low], high: vec![high] }, spread] {
                let mut found = [f32::NAN];
                let scaling = (one(&scaling, x), Scaling::new(&scaling, 1, 1).expect("tables of one value"));
                scaling.1.invert(0, &[scaling.0], &mut found);
                // The value is rounded to single precision on its way, a spread's before it is known.
                prop_assert!((found[0] - x).abs() < 2e-4, "{found:?} {x}");
            }
        }

        #[test]
        fn a_range_is_never_left_whatever_is_predicted(x in any::<f32>(), low in -9.0..9.0, width in 0.0..9.0) {
            prop_assume!(!x.is_nan());
            let y = one(&ActionScaling::Range { low: vec![low], high: vec![low + width] }, x);
            prop_assert!((low..=low + width + 1e-12).contains(&y), "{y}");
        }

        #[test]
        fn what_is_no_number_stays_so(low in -9.0..9.0) {
            let y = one(&ActionScaling::Range { low: vec![low], high: vec![low + 1.0] }, f32::NAN);
            prop_assert!(y.is_nan());
        }
    }
}
