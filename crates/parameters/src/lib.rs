//! Parameters with the semantics of rclcpp and without ROS: parameter files, `-p name:=value`, node patterns, types, ranges, and changes that are
//! all or nothing.
//!
//! ```text
//! --params-file, -p -> Overrides (names, values, where they were given)
//! Declaration, Overrides -> Store (types, ranges, read-only)
//! ```

mod declaration;
mod document;
mod error;
mod names;
mod nearest;
mod overrides;
mod store;
mod value;
pub mod yaml;

pub use declaration::{Constraint, Declaration, Descriptor};
pub use error::{Error, Origin, Place, Problems};
pub use names::{NodeName, NodePattern, check_topic};
pub use nearest::{hint, nearest};
pub use overrides::{Override, Overrides};
pub use store::{Change, Listing, Store};
pub use value::{Value, ValueType, double};
