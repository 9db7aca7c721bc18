//! The ROS 2 node: the only user of r2r.

pub mod args;
mod clock;
mod convert;
mod error;
mod latest;
mod level;
mod logging;
mod rosout;
