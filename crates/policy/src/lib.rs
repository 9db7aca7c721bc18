//! A vision-language-action policy: observations in, action chunks out.
//!
//! - [`observation`] collects serialized ROS 2 messages (cameras, joint states, poses, instruction) and checks their age,
//!   skew and stamps; the result is an [`observation::Observation`] or the list of violated rules.
//! - [`spec`] reads `policy.yaml`, [`processor`] the checkpoint's processor files, whose class names the [`family`] of models:
//!   what differs between them is a value, asked for wherever a rule depends on it.
//! - [`encode`] turns the observation into host tensors, `vla_engines` runs the networks, [`decode`] turns their output into
//!   joint positions and poses.
//! - [`Policy`] puts these together: one [`Observation`](observation::Observation) in, one [`vla_motion::Chunk`] out.
//!
//! ```
//! use vla_base::time::{Span, Stamp};
//! use vla_messages::{HeaderView, write};
//! use vla_policy::observation::{InputKind, InputRule, InputSpec, Inputs, JointNames, OnViolation, Rules};
//!
//! let arm = JointNames { read: vec!["shoulder".into()], ..JointNames::default() };
//! let joints = InputSpec { joints: arm, ..InputSpec::new("joints", InputKind::Joints, ["/joint_states"]) };
//! let inputs = Inputs::new(vec![joints]);
//! let captured = Stamp::from_nanos(1_000_000_000);
//! let header = HeaderView { stamp: captured, frame_id: "" };
//! let message = write::joint_state(header, &["shoulder"], &[0.5], &[], &[]);
//! inputs.offer(0, message.into(), captured)?;
//! inputs.set_instruction("pick up the cube");
//!
//! let rules = Rules {
//!     per_input: vec![InputRule::age(Span::from_millis(100.0), true)],
//!     max_skew: Span::from_millis(50.0),
//!     on_violation: OnViolation::Skip,
//!     future_tolerance: Span::from_millis(20.0),
//!     ..Rules::default()
//! };
//! let observation = inputs.assemble(captured + Span::from_millis(10.0), &rules)?;
//! assert_eq!(observation.stamp, captured);
//! let violation = inputs.assemble(captured + Span::from_millis(500.0), &rules).expect_err("too old");
//! assert_eq!(violation.breaches.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod actions;
mod bundle;
mod columns;
pub mod decode;
mod embedding;
pub mod encode;
mod error;
pub mod family;
mod files;
mod fingerprint;
mod frames;
mod host;
mod instruction;
mod networks;
pub mod noise;
mod normalised;
pub mod observation;
mod options;
mod policy;
mod prefix;
pub mod processor;
pub mod spec;
mod state;
mod text;
mod timings;
pub mod trace;
mod unit_check;
mod views;

pub use error::Error;
pub use family::Family;
pub use files::LoadedFiles;
pub use fingerprint::{FingerprintError, fingerprint};
pub use frames::FrameSizes;
pub use instruction::{InstructionCheck, SharedEncoder};
pub use noise::initial_noise;
pub use normalised::ActionKeyColumns;
pub use options::{EncodeDevice, LoadOptions, LoadPipeline, Progress};
pub use policy::Policy;
pub use prefix::ActionPrefix;
pub use spec::PolicySpec;
pub use timings::Timings;
