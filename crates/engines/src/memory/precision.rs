//! Stages whose engines would be smaller in another precision.

use super::Footprint;

/// Stages of TensorRT engines that a lower precision would make smaller, by their precision in policy.yaml.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LowerPrecision {
    /// Stages in single precision.
    pub single: Vec<String>,
    /// Stages in half precision (fp16, bf16) without int8.
    pub half: Vec<String>,
}

impl LowerPrecision {
    pub(super) fn of(stages: &[Footprint]) -> Self {
        let mut lower = Self::default();
        for (stage, precision) in stages.iter().filter_map(|stage| Some((&stage.stage, stage.precision?))) {
            if precision.int8 {
                continue;
            }
            let half = precision.fp16 || precision.bf16;
            if half { &mut lower.half } else { &mut lower.single }.push(stage.clone());
        }
        lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(precisions: &[(&str, Option<&str>)]) -> LowerPrecision {
        let stages = precisions.iter().map(|(stage, precision)| Footprint {
            stage: (*stage).to_owned(),
            precision: precision.map(|text| text.parse().expect("a precision")),
            ..Footprint::default()
        });
        LowerPrecision::of(&stages.collect::<Vec<_>>())
    }

    #[test]
    fn a_stage_is_listed_under_its_precision_unless_it_is_int8() {
        let mixed =
            lower(&[("vision", Some("fp32")), ("language", Some("fp16")), ("step", Some("int8+fp16")), ("onnx", None)]);
        assert_eq!(
            (mixed.single.as_slice(), mixed.half.as_slice()),
            (&["vision".to_owned()][..], &["language".to_owned()][..])
        );
        let none = lower(&[("step", Some("int8+fp16")), ("onnx", None)]);
        assert_eq!(none, LowerPrecision::default());
    }
}
