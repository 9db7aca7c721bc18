//! Policies on recorded data.
//!
//! Input: a policy bundle, the node's parameters, and a rosbag2 bag (or named arrays). Output, by module:
//!
//! - [`replay`]: the action chunks and trajectories that a node would have published, as an MCAP bag and an HTML report
//! - [`calibrate`]: the inputs of every stage, as `.npz` for INT8 calibration
//! - [`verify`]: TensorRT engines compared with the ONNX networks, stage by stage and as decoded actions
//! - [`activation_range`]: the largest magnitude of every inner tensor, and which of them FP16 cannot hold
//! - [`quantize`]: which products of a policy's networks are 8-bit, and the bundle with such networks
//! - [`eval`]: errors of predicted actions against recorded ones
//! - [`to_dataset`]: bags as a LeRobot data set
//! - [`infer`]: every named tensor of one inference
//! - [`page`]: the HTML pages of reports
//!
//! All of them run the node's own code from bytes to chunk, on the bag's clock and without ROS.
//!
//! ```
//! use vla_offline::verify::{Trial, propose};
//! use vla_engines::provenance::Figures;
//!
//! let trial = |precision: &str, passed| Trial {
//!     stage: "vision".into(),
//!     precision: precision.into(),
//!     figures: Figures::EQUAL,
//!     passed,
//! };
//! let proposal = propose(vec![trial("int8+fp16", false), trial("fp16", true), trial("fp32", true)]);
//! assert_eq!(proposal.of("vision"), Some("fp16"));
//! ```

pub mod activation_range;
pub mod calibrate;
mod commands;
mod error;
pub mod eval;
pub mod infer;
mod observations;
pub mod page;
pub mod quantize;
pub mod replay;
pub mod to_dataset;
pub mod verify;

pub use error::Error;
