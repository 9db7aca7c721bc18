//! Floating-point types of weights and scales.

use half::{bf16, f16};
use vla_base::tensor::DType;
use vla_engines::onnx::proto::{TensorProto, type_name};

/// A floating-point type of a network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Float {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Float {
    /// Of ONNX's code.
    pub(crate) fn of(data_type: i32) -> Option<Self> {
        match data_type {
            1 => Some(Self::F32),
            10 => Some(Self::F16),
            16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Of a tensor of a product; what is no weight of one counts as single precision.
    pub(crate) fn of_tensor(tensor: &TensorProto) -> Self {
        Self::of(tensor.data_type()).unwrap_or(Self::F32)
    }

    /// ONNX's code.
    pub(crate) const fn code(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::F16 => 10,
            Self::Bf16 => 16,
        }
    }

    /// Whether values up to this magnitude are far enough from the type's largest that sums and scales of them are finite.
    pub(crate) fn holds(self, magnitude: f32) -> bool {
        // 127 steps of a scale that is rounded up are a little more than the largest value.
        self.nearest(magnitude * 1.01).is_finite()
    }

    /// Of a tensor's element type; of integers single precision.
    pub fn of_dtype(dtype: DType) -> Self {
        match dtype {
            DType::F16 => Self::F16,
            DType::BF16 => Self::Bf16,
            _ => Self::F32,
        }
    }

    /// Name, such as `f16`.
    pub fn name(self) -> &'static str {
        type_name(self.code())
    }

    /// The value of this type that is nearest to `value`; infinite beyond the largest.
    pub fn nearest(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// The smallest positive value of this type that is not below the positive `value`: a scale of a narrower type cuts nothing
    /// off. Infinite beyond the largest.
    pub fn round_up(self, value: f32) -> f32 {
        let nearest = self.nearest(value);
        match self {
            Self::F32 => value.max(f32::from_bits(1)),
            Self::F16 if nearest < value => f16::from_bits(f16::from_f32(value).to_bits() + 1).to_f32(),
            Self::Bf16 if nearest < value => bf16::from_bits(bf16::from_f32(value).to_bits() + 1).to_f32(),
            Self::F16 | Self::Bf16 => nearest,
        }
    }

    /// By how much a scale of this type can be larger than the number it is rounded up from.
    pub(crate) const fn slack(self) -> f32 {
        match self {
            Self::F32 => 1.0,
            Self::F16 => 1.0 + 1.0 / 512.0,
            Self::Bf16 => 1.0 + 1.0 / 64.0,
        }
    }

    /// Little-endian bytes of values.
    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_of_narrower_types_are_never_smaller_and_never_zero() {
        for value in [1.0, 0.1, 3.3e-3, 1e-6, 1e-9, 65_504.0, 65_505.0, f32::MIN_POSITIVE, f32::MAX] {
            for float in [Float::F32, Float::F16, Float::Bf16] {
                let up = float.round_up(value);
                assert!(up >= value && up > 0.0, "{value:e} {float:?}: {up:e}");
                assert_eq!(float.nearest(up).to_bits(), up.to_bits(), "{value:e} {float:?}");
            }
        }
        assert!(Float::F16.round_up(1.0 / 127.0) < 1.001 / 127.0);
    }
}
