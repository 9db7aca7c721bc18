//! message

pub mod image;

pub use image::{PixelFormat, Pixels};
