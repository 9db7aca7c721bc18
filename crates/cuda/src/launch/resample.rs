//! Pixels of camera frames.

use super::Address;
pub use vla_engines::frames::ResampleStep;

/// One step of the transforms of all images of an input; see [`vla_engines::frames`].
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct ResampleArguments {
    /// Tables of all images, then their frames or pixels.
    pub slots: Address,
    /// Images between steps.
    pub between: Address,
    /// `[images, 3, height, width]` in single precision.
    pub pixels: Address,
    pub images: i32,
    pub width: i32,
    pub height: i32,
    pub step: i32,
}
