//! Vision-language-action policies on a robot: camera and joint-state topics in, action chunks out.
//!
//! Data flows one way (see `ARCHITECTURE.md`):
//!
//! ```text
//! bytes -> message -> observation -> policy::encode -> engine -> policy::decode -> chunk -> bytes
//! ```
//!
//! A live topic and a bag enter at the same door, as serialized bytes, so a
//! replay runs the code that the robot runs.

pub mod absmax;
pub mod bag;
pub mod builder;
pub mod calibrate;
pub mod calibration;
pub mod chunk;
pub mod cli;
pub mod doctor;
pub mod engine;
pub mod export;
pub mod infer;
pub mod inspect;
pub mod message;
pub mod npz;
pub mod observation;
pub mod onnx;
pub mod parameters;
pub mod policy;
pub mod prepare;
pub mod recorded;
pub mod replay;
#[cfg(feature = "ros")]
pub mod ros;
pub mod session;
pub mod sys;
pub mod tensor;
pub mod time;
pub mod verify;
