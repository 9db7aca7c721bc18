//! The node's parameters and its control cycle, without ROS: what the live node and a replay run alike.

pub mod devices;
pub mod messages;
pub mod parameters;
pub mod session;
