//! Policies on recorded data: replay, calibration data, verification of engines, single inferences.

pub mod absmax;
pub mod calibrate;
pub mod infer;
pub mod recorded;
pub mod replay;
pub mod verify;
