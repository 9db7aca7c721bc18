//! Measured activation ranges compared with the range of half precision.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::Error;
use vla_export::onnx::activation_range::MeasuredTensor;

/// Largest number of FP16.
const LARGEST: f32 = 65_504.0;
/// Smallest normal number of FP16: below, digits are lost.
const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;
/// A margin below this is close: other observations than the bag's can be this much larger.
const CLOSE: f32 = 4.0;
/// Tensors of a stage in the table.
const SHOWN: usize = 5;

/// How a tensor fares in half precision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fp16 {
    /// It becomes infinite, or is no number in single precision already.
    Leaves,
    /// It becomes infinite, and the results are still correct: tanh, erf or sigmoid.
    Saturates,
    /// It fits with a margin below 4.
    Close,
    /// It fits.
    Fits,
    /// All of it lies below the smallest normal number: digits are lost.
    Subnormal,
}

impl Fp16 {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaves => "leaves",
            Self::Saturates => "saturates",
            Self::Close => "close",
            Self::Fits => "fits",
            Self::Subnormal => "subnormal",
        }
    }

    fn of(tensor: &MeasuredTensor, absmax: f32) -> Self {
        match (absmax <= LARGEST, tensor.saturates) {
            (false, true) if !absmax.is_nan() => Self::Saturates,
            (false, _) => Self::Leaves,
            (true, false) if absmax * CLOSE > LARGEST => Self::Close,
            _ if absmax > 0.0 && absmax < SMALLEST_NORMAL => Self::Subnormal,
            _ => Self::Fits,
        }
    }
}

/// The tensors of every stage.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Bag that was measured on.
    pub bag: PathBuf,
    /// Observations of it.
    pub observations: usize,
    /// In run order.
    pub stages: Vec<StageReport>,
}

/// The tensors of one stage.
#[derive(Clone, PartialEq, Debug)]
pub struct StageReport {
    /// Name of the stage.
    pub name: String,
    /// In the network's order, with the largest magnitude over all observations and steps.
    pub tensors: Vec<(MeasuredTensor, f32)>,
}

impl StageReport {
    /// Largest first, NaN before all.
    pub(crate) fn largest_first(&self) -> Vec<(&MeasuredTensor, f32)> {
        let mut tensors: Vec<_> = self.tensors.iter().map(|(tensor, absmax)| (tensor, *absmax)).collect();
        tensors.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        tensors
    }

    /// How many tensors fare so.
    pub fn count(&self, fp16: Fp16) -> usize {
        self.tensors.iter().filter(|(tensor, absmax)| Fp16::of(tensor, *absmax) == fp16).count()
    }

    /// Whether half precision cannot hold the stage.
    pub fn leaves(&self) -> bool {
        self.count(Fp16::Leaves) > 0
    }

    /// One line: whether the stage fits half precision.
    pub fn verdict(&self) -> String {
        let tensors = self.largest_first();
        let Some((tensor, absmax)) = tensors.iter().find(|(tensor, _)| !tensor.saturates) else {
            return "fp16: nothing measured".to_owned();
        };
        if self.leaves() {
            let others = match self.count(Fp16::Leaves) - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            return format!("leaves FP16's range: {} {absmax:.4e}{others}", tensor.tensor);
        }
        let close = if self.count(Fp16::Close) > 0 { " (close)" } else { "" };
        let subnormal = match self.count(Fp16::Subnormal) {
            0 => String::new(),
            n => {
                format!("; {n} tensors lie below FP16's smallest normal number ({SMALLEST_NORMAL:.1e}) and lose digits")
            }
        };
        format!("fp16: fits, margin {:.1} x{close}: {} {absmax:.4e}{subnormal}", LARGEST / absmax, tensor.tensor)
    }
}

impl Report {
    /// Adds the outputs of one run of a stage.
    pub(super) fn take(&mut self, stage: &str, maxima: &[f32]) -> Result<(), Error> {
        let held = self.stages.iter_mut().find(|held| held.name == stage);
        let tensors = held.map(|held| &mut held.tensors[..]).unwrap_or_default();
        if tensors.len() != maxima.len() {
            let (expected, found) = (tensors.len(), maxima.len());
            return Err(Error::Maxima { stage: stage.to_owned(), expected, found });
        }
        for ((_, largest), &found) in tensors.iter_mut().zip(maxima) {
            // What is no number stays.
            if found.is_nan() || found > *largest {
                *largest = found;
            }
        }
        Ok(())
    }

    /// As comma-separated values: a line a tensor, by stage, largest first.
    pub fn csv(&self) -> String {
        let mut text = "stage,tensor,weight,absmax,fp16\n".to_owned();
        for stage in &self.stages {
            for (tensor, absmax) in stage.largest_first() {
                let weight = tensor.weight.as_deref().unwrap_or_default();
                let [stage, name, weight] = [&stage.name, &tensor.tensor, weight].map(field);
                let fp16 = Fp16::of(tensor, absmax).word();
                // Writing to a String cannot fail.
                writeln!(text, "{stage},{name},{weight},{absmax:e},{fp16}").unwrap_or_default();
            }
        }
        text
    }
}

/// In quotes where it has to be: a tensor's name can hold a camera's.
fn field(text: &str) -> Cow<'_, str> {
    match text.contains([',', '"', '\n', '\r']) {
        true => Cow::Owned(format!("\"{}\"", text.replace('"', "\"\""))),
        false => Cow::Borrowed(text),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "absmax over {} observations of {}", self.observations, self.bag.display())?;
        for stage in &self.stages {
            writeln!(f, "{}: {}", stage.name, stage.verdict())?;
            for (tensor, absmax) in stage.largest_first().into_iter().take(SHOWN) {
                let weight = tensor.weight.as_ref().map(|weight| format!(" ({weight})")).unwrap_or_default();
                let fp16 = Fp16::of(tensor, absmax).word();
                writeln!(f, "  {absmax:>11.4e}  {fp16:9}  {}{weight}", tensor.tensor)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(values: &[(f32, bool)]) -> StageReport {
        let measured = |i: usize, saturates| MeasuredTensor { tensor: format!("t{i}"), weight: None, saturates };
        let tensors = values.iter().enumerate().map(|(i, (absmax, saturates))| (measured(i, *saturates), *absmax));
        StageReport { name: "s".into(), tensors: tensors.collect() }
    }

    #[test]
    fn the_verdict_is_about_the_largest_tensor_that_does_not_saturate() {
        let fits = stage(&[(1.0, false), (2.0, false), (1e9, true)]);
        assert_eq!(fits.verdict(), "fp16: fits, margin 32752.0 x: t1 2.0000e0");
        assert_eq!(fits.count(Fp16::Saturates), 1);
        let close = stage(&[(32_752.0, false), (1e-6, false)]);
        let words = "fp16: fits, margin 2.0 x (close): t0 3.2752e4; 1 tensors lie below";
        assert!(close.verdict().starts_with(words), "{}", close.verdict());
        let leaves = stage(&[(65_505.0, false), (3.0, false), (f32::INFINITY, false)]);
        assert_eq!(leaves.verdict(), "leaves FP16's range: t2 inf and 1 more");
    }

    #[test]
    fn the_last_number_that_fits_fits_and_zeros_are_no_loss() {
        assert_eq!(stage(&[(65_504.0, false)]).count(Fp16::Close), 1);
        assert_eq!(stage(&[(0.0, false), (SMALLEST_NORMAL, false), (16_376.0, false)]).count(Fp16::Fits), 3);
        assert!(stage(&[(f32::NAN, true)]).leaves());
    }

    #[test]
    fn what_is_no_number_stays_and_other_counts_are_refused() {
        let mut report =
            Report { bag: "b".into(), observations: 1, stages: vec![stage(&[(0.0, false), (5.0, false)])] };
        for maxima in [[f32::NAN, 7.0], [1.0, 6.0]] {
            report.take("s", &maxima).expect("two maxima");
        }
        assert!(report.stages[0].tensors[0].1.is_nan());
        assert_eq!(report.stages[0].tensors[1].1, 7.0);
        assert!(report.take("s", &[1.0]).is_err() && report.take("other", &[1.0]).is_err());
    }

    #[test]
    fn the_file_has_a_line_a_tensor_largest_first() {
        let mut stage = stage(&[(1.0, false), (1e5, false)]);
        stage.tensors[1].0.weight = Some("w".into());
        stage.tensors[0].0.tensor = "pixels.a,\"b\"".into();
        let report = Report { bag: "b".into(), observations: 1, stages: vec![stage] };
        assert_eq!(
            report.csv(),
            "stage,tensor,weight,absmax,fp16\ns,t1,w,1e5,leaves\ns,\"pixels.a,\"\"b\"\"\",,1e0,fits\n"
        );
    }
}
