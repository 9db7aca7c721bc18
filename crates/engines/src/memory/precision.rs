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

    /// What to do; `None` where no stage would be smaller.
    pub fn remedy(&self) -> Option<String> {
        let single = (!self.single.is_empty()).then(|| format!("fp16 instead of fp32 for {}", self.single.join(", ")));
        let half = (!self.half.is_empty()).then(|| {
            format!(
                "int8+fp16 instead of fp16 for {} (if TensorRT then chooses int8: docs/tensorrt.md)",
                self.half.join(", ")
            )
        });
        let changes: Vec<String> = single.into_iter().chain(half).collect();
        (!changes.is_empty())
            .then(|| format!("smaller engines: {}; set precision in policy.yaml and build again", changes.join("; ")))
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
    fn each_stage_is_told_what_its_own_precision_leaves() {
        let mixed =
            lower(&[("vision", Some("fp32")), ("language", Some("fp16")), ("step", Some("int8+fp16")), ("onnx", None)]);
        assert_eq!(
            (mixed.single.as_slice(), mixed.half.as_slice()),
            (&["vision".to_owned()][..], &["language".to_owned()][..])
        );
        let remedy = mixed.remedy().expect("a remedy");
        assert!(remedy.contains("fp32 for vision") && remedy.contains("fp16 for language"), "{remedy}");
        let half = lower(&[("step", Some("fp16"))]).remedy().expect("a remedy");
        assert!(!half.contains("fp32"), "{half}");
        assert_eq!(lower(&[("step", Some("int8+fp16")), ("onnx", None)]).remedy(), None);
    }
}
