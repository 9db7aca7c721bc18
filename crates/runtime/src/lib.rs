//! The control cycle of the robot and the node's parameters, without ROS.
//!
//! In: a policy bundle, parameter values, sensor messages in [`vla_policy::observation::Inputs`], and the time. Out: action chunks and
//! trajectories as messages, ready to be published, and the state of the motion. The live node and `vla-trt replay` both run it.
//!
//! - [`parameters`]: the table of all parameters, from overrides to checked [`parameters::Settings`].
//! - [`devices`]: loads a policy on ONNX Runtime or TensorRT.
//! - [`session`]: one cycle ([`session::Session::cycle`]), and the motion shared with watchdog and command stream
//!   ([`session::Control`]).
//! - [`messages`]: chunks and plans as ROS messages.
//!
//! ```
//! use ros2_parameters::{NodeName, Overrides, Value};
//! use vla_base::time::Span;
//! use vla_runtime::parameters::{Parameters, PolicyShape};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shape = PolicyShape {
//!     cameras: vec!["front".to_owned()],
//!     blank_views: Vec::new(),
//!     video_history: vec![0],
//!     state: vec![("arm".to_owned(), 2)],
//!     state_history: vec![0],
//!     action_keys: vec![("arm".to_owned(), 2)],
//!     eef_actions: Vec::new(),
//!     deltas: Vec::new(),
//!     stages: vec!["vision".to_owned(), "step".to_owned()],
//!     denoise_steps: vec![4],
//!     default_steps: 4,
//!     step: Span::from_millis(50.0),
//!     accepts_prefix: false,
//!     instruction: None,
//! };
//! let mut overrides = Overrides::new(NodeName::new("/", "vla_trt")?);
//! for argument in ["policy:=my_policy", "state.arm.joints:=[shoulder, elbow]", "limits.elbow.velocity:=1.5"] {
//!     overrides.add_argument(argument)?;
//! }
//! let mut parameters = Parameters::new(shape, &overrides)?;
//! let limits = parameters.settings().limits.clone()?;
//! assert_eq!(limits.get("elbow").map(|limits| limits.velocity), Some(1.5));
//!
//! parameters.set("rate_hz", Value::Double(10.0))?;
//! assert_eq!(parameters.settings().period(), Span::from_millis(100.0));
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod devices;
pub mod messages;
pub mod parameters;
pub mod remedies;
pub mod session;
