//! Node parameters with the semantics of rclcpp, without ROS.
//!
//! In: [`Declaration`]s (name, type, default, constraint, read-only or not) and [`Overrides`] from parameter files and
//! `-p name:=value` arguments. Out: a [`Store`] that answers as the six parameter services of a ROS 2 node do.
//!
//! - Files are read as `rcl` reads them: node patterns with `*` and `**`, nested names, YAML 1.1 booleans. Duplicate keys and empty
//!   values are refused.
//! - A file may be shared with other nodes: what is given under `/**` and is none of this node's names is no error unless it looks like
//!   a mistake ([`Known::sort`]).
//! - All problems are reported at once ([`Problems`]), with file and line and the nearest known name.
//! - A live change of several parameters is applied as a whole or not at all.
//!
//! ```
//! use ros2_parameters::{Constraint, Declaration, NodeName, Overrides, Store, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rate = Declaration {
//!     name: "rate_hz".to_owned(),
//!     default: Value::Double(5.0),
//!     description: "Inferences per second.".to_owned(),
//!     constraint: Constraint::DoubleRange { from: 0.0, to: 100.0, step: 0.0 },
//!     read_only: false,
//! };
//! let mut overrides = Overrides::new(NodeName::new("/left", "arm")?);
//! overrides.add_text("robot.yaml", "/*/arm:\n  ros__parameters:\n    rate_hz: 10\n")?;
//! let mut store = Store::declare(vec![rate], overrides.given())?;
//! assert_eq!(store.get("rate_hz"), Some(&Value::Double(10.0)));
//!
//! let refused = store.set("rate_hz", Value::Double(500.0)).expect_err("beyond the range");
//! assert_eq!(refused.to_string(), "parameter 'rate_hz' cannot be 500.0: expected a number from 0.0 to 100.0");
//! # Ok(())
//! # }
//! ```

mod declaration;
mod document;
mod error;
mod names;
mod nearest;
mod overrides;
mod remap;
mod sharing;
mod store;
mod value;
pub mod yaml;

pub use declaration::{Constraint, Declaration, Descriptor};
pub use error::{Error, Origin, Problems, SourceLocation};
pub use names::{NodeName, NodePattern, check_topic};
pub use nearest::{hint, nearest};
pub use overrides::{Override, Overrides};
pub use remap::Remap;
pub use sharing::{Ignored, Known, Sorted};
pub use store::{Change, Listing, Store};
pub use value::{Value, ValueType, double};
