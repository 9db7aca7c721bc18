//! What becomes 8 bits, and back.

use super::{Address, Matrix};

/// `y = x / scale` in 8 bits, where the row's `scale` is its largest magnitude / 127, which goes to `scales`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct QuantizeArguments {
    /// `[rows, columns]`
    pub x: Matrix,
    /// `[rows, columns]`; its stride is in bytes.
    pub y: Matrix,
    /// `[rows]` in single precision.
    pub scales: Address,
    pub rows: i32,
    pub columns: i32,
    /// As [`super::NormArguments::release`].
    pub release: i32,
    pub _padding: i32,
}

/// `y = activation(x * row_scales * channel_scales + bias)` for the sums of an 8-bit product.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct DequantizeArguments {
    /// INT32 `[rows, columns]`
    pub x: Matrix,
    /// `[rows]` in single precision.
    pub row_scales: Address,
    /// `[columns]` in single precision.
    pub channel_scales: Address,
    /// `[columns]`; 0: none.
    pub bias: Address,
    /// `[rows, columns]`
    pub y: Matrix,
    pub rows: i32,
    pub columns: i32,
    /// As [`super::ElementwiseArguments::activation`].
    pub activation: i32,
    /// As [`super::NormArguments::release`].
    pub release: i32,
}

/// Scales of an 8-bit product's factors.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Scales {
    /// `[rows]`
    pub rows: Address,
    /// `[to]`
    pub channels: Address,
}
