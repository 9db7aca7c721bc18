//! The command line tool `vla-trt`, as a library, so that tests reach its parts.
//!
//! Input: arguments, and the files that they name (checkpoints, policies, parameter files, bags, engines). Output: files that are
//! written completely or not at all, lines or JSON on standard output, errors with their causes on standard error, and an exit code
//! of [`cli::Outcome`]. [`cli`] has one module per subcommand; the work is done by the other crates, and in this crate by
//! [`doctor`] (checks a machine, a policy and a robot's parameters), [`inspect`] (describes a network or an engine) and
//! [`prepare`] (prepares a machine for a build and restores it). `doctor` and `prepare` read a machine's files below a
//! [`root::Root`].
//!
//! ```
//! use vla_trt::doctor::{Machine, Severity, Unknown, examine};
//! use vla_trt::root::Root;
//!
//! // A machine without GPU, TensorRT, ONNX Runtime and ROS, whose `/` is an empty folder.
//! let missing = || Unknown::missing("not on the loader's path", "install it");
//! let machine = Machine {
//!     root: Root::new("/nonexistent"),
//!     environment: [].into(),
//!     gpu: Err(missing()),
//!     tensorrt: Err(missing()),
//!     cuda_engines: Err(missing()),
//!     identity: None,
//!     onnx_runtime: Err(missing()),
//!     topics: Err(missing()),
//! };
//! let report = examine(&machine, None, None);
//! let onnx = report.findings.iter().find(|finding| finding.check == "onnx runtime").expect("a finding");
//! assert_eq!(onnx.severity, Severity::Warning);
//! assert_eq!(onnx.remedy.as_deref(), Some("install it"));
//! ```

pub mod cli;
pub mod doctor;
pub mod inspect;
pub mod prepare;
mod robot_yaml;
pub mod roofs;
pub mod root;
