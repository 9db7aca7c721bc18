//! What an engine may compute in, as `policy.yaml` and `vla-trt build --precision` say it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::provenance::{DeviceIdentity, RTX};

/// What the builder may choose from for each layer; single precision is always among it.
///
/// Text: `fp32`, or any of `int8`, `bf16`, `fp16` joined by `+`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Precision {
    /// 8-bit integers, with scales from calibration or from the network's own Q/DQ nodes; engine kind cuda takes them from the numbers
    /// themselves.
    pub int8: bool,
    /// bfloat16: the range of single precision, an eighth of half precision's resolution.
    pub bf16: bool,
    /// Half precision: up to 65,504.
    pub fp16: bool,
}

/// Types that TensorRT knows and no engine here is built in, with the reason.
const NOT_BUILT: [(&[&str], &str); 2] = [
    (
        &["fp8"],
        "GPUs have fp8 from compute capability 8.9 on, Orin is 8.7, and scales for it come from Q/DQ nodes that no \
         exporter here writes",
    ),
    (
        &["fp4", "nvfp4", "int4"],
        "GPUs have it from compute capability 10.0 on, Orin is 8.7, and scales for it come from Q/DQ nodes that no \
         exporter here writes",
    ),
];

impl Precision {
    /// Single precision throughout.
    pub const FP32: Self = Self { int8: false, bf16: false, fp16: false };
    /// Half precision where the builder finds it faster.
    pub const FP16: Self = Self { int8: false, bf16: false, fp16: true };
    /// 8-bit integers where they are faster, half precision elsewhere.
    pub const INT8_FP16: Self = Self { int8: true, bf16: false, fp16: true };

    /// Whether nothing but single precision is allowed.
    pub fn is_fp32(self) -> bool {
        self == Self::FP32
    }

    /// What `device` lacks to build this; `None` when its versions allow it. Whether the GPU computes INT8 and FP16 faster
    /// than FP32 is known to the builder only.
    pub fn lacking(self, device: &DeviceIdentity) -> Option<Lacking> {
        let major = number(&device.tensorrt);
        let sm = device.sm_version.split_once('.').map(|(major, minor)| (number(major), number(minor)));
        let flags = self.int8 || self.bf16 || self.fp16;
        if (major >= 11 || device.tensorrt.starts_with(RTX)) && flags {
            return Some(Lacking::BuilderPrecision { tensorrt: device.tensorrt.clone() });
        }
        if self.bf16 && major < 9 {
            return Some(Lacking::Bf16Version { tensorrt: device.tensorrt.clone() });
        }
        if self.bf16 && sm.is_some_and(|sm| sm < (8, 0)) {
            let (gpu, sm_version) = (device.gpu.clone(), device.sm_version.clone());
            return Some(Lacking::Bf16Gpu { gpu, sm_version });
        }
        None
    }

    /// What to try when results in this precision are not good enough: the next one that is closer to single precision.
    pub fn safer(self) -> Option<Self> {
        match self {
            Self { int8: true, bf16: false, fp16: false } => Some(Self::INT8_FP16),
            Self { int8: true, .. } => Some(Self { int8: false, ..self }),
            Self { int8: false, bf16: false, fp16: false } => None,
            Self { .. } => Some(Self::FP32),
        }
    }
}

/// What a device lacks for a precision.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lacking {
    /// From TensorRT 11 on, element types come from the network, and there is no calibration.
    #[error("TensorRT {tensorrt} takes element types from the network alone and has no calibration")]
    BuilderPrecision {
        /// Version of TensorRT.
        tensorrt: String,
    },
    /// TensorRT before 9 has no bf16.
    #[error("bf16 needs TensorRT 9 or newer, found {tensorrt}")]
    Bf16Version {
        /// Version of TensorRT.
        tensorrt: String,
    },
    /// The GPU has no bf16.
    #[error("bf16 needs compute capability 8.0 or higher, found {sm_version} ({gpu})")]
    Bf16Gpu {
        /// Name of the GPU.
        gpu: String,
        /// Its compute capability.
        sm_version: String,
    },
}

/// The leading digits.
fn number(text: &str) -> u32 {
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
    digits.parse().unwrap_or(0)
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected fp32, or int8, bf16 and fp16 joined by '+' such as int8+fp16";
        if text == "fp32" {
            return Ok(Self::FP32);
        }
        let mut precision = Self::FP32;
        for part in text.split('+') {
            let has = match part {
                "int8" => &mut precision.int8,
                "bf16" => &mut precision.bf16,
                "fp16" => &mut precision.fp16,
                "fp32" => {
                    return Err(format!("{EXPECTED}; fp32 is always allowed and is not combined: found '{text}'"));
                }
                other => {
                    let reason = NOT_BUILT.iter().find(|(names, _)| names.contains(&other));
                    let reason = reason.map_or(String::new(), |(_, reason)| format!(" ({other}: {reason})"));
                    return Err(format!("{EXPECTED}, found '{text}'{reason}"));
                }
            };
            if std::mem::replace(has, true) {
                return Err(format!("{EXPECTED}, found {part} twice in '{text}'"));
            }
        }
        Ok(precision)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.int8, "int8"), (self.bf16, "bf16"), (self.fp16, "fp16")];
        let parts: Vec<&str> = parts.into_iter().filter_map(|(has, name)| has.then_some(name)).collect();
        f.pad(&if parts.is_empty() { "fp32".to_owned() } else { parts.join("+") })
    }
}

impl TryFrom<String> for Precision {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Precision> for String {
    fn from(precision: Precision) -> Self {
        precision.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(tensorrt: &str, sm: &str) -> DeviceIdentity {
        DeviceIdentity {
            tensorrt: tensorrt.into(),
            gpu: "Orin".into(),
            sm_version: sm.into(),
            sm_count: 8,
            driver: "540.4.0".into(),
            cuda: "12.6".into(),
            l4t: None,
            board: None,
        }
    }

    #[test]
    fn every_combination_reads_back_as_it_is_written() {
        for bits in 0..8u8 {
            let precision = Precision { int8: bits & 1 != 0, bf16: bits & 2 != 0, fp16: bits & 4 != 0 };
            assert_eq!(precision.to_string().parse(), Ok(precision), "{precision}");
        }
        assert_eq!("fp16+int8".parse::<Precision>().map(|precision| precision.to_string()), Ok("int8+fp16".to_owned()));
    }

    #[test]
    fn what_is_no_precision_is_told_with_the_reason() {
        for (text, words) in [
            ("", "found ''"),
            ("int9", "found 'int9'"),
            ("fp16+fp16", "fp16 twice"),
            ("int8+fp32", "fp32 is always allowed"),
            ("fp8", "compute capability 8.9"),
            ("nvfp4+fp16", "compute capability 10.0"),
        ] {
            let told = text.parse::<Precision>().expect_err(text);
            assert!(told.contains(words) && told.contains("expected fp32"), "{told}");
        }
    }

    #[test]
    fn what_a_version_or_gpu_lacks_is_named() {
        let bf16 = Precision { bf16: true, ..Precision::FP32 };
        let lacking = |precision: Precision, tensorrt: &str, sm: &str| precision.lacking(&device(tensorrt, sm));
        assert!(matches!(lacking(bf16, "8.6.1", "8.7"), Some(Lacking::Bf16Version { .. })));
        assert_eq!(lacking(bf16, "10.3.0", "8.7"), None);
        assert!(matches!(lacking(bf16, "10.3.0", "7.2"), Some(Lacking::Bf16Gpu { .. })));
        let int8 = lacking(Precision::INT8_FP16, "11.0.0", "8.7");
        assert!(matches!(int8, Some(Lacking::BuilderPrecision { .. })));
        assert_eq!(lacking(Precision::FP32, "11.0.0", "8.7"), None);
        let rtx = lacking(Precision::FP16, "RTX 1.7.1", "8.6");
        assert!(matches!(rtx, Some(Lacking::BuilderPrecision { .. })));
        assert_eq!(lacking(Precision::FP32, "RTX 1.7.1", "8.6"), None);
        assert_eq!(lacking(Precision::INT8_FP16, "8.6.1", "8.7"), None);
    }

    #[test]
    fn safer_ends_at_single_precision() {
        let mut all = vec![Precision { int8: true, ..Precision::FP32 }];
        while let Some(next) = all.last().and_then(|last| last.safer()) {
            all.push(next);
        }
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["int8", "int8+fp16", "fp16", "fp32"]);
    }
}
