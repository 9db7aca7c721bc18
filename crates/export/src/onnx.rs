//! ONNX files: schema, graph builder, external data.
//!
//! A [`Graph`] is built operator by operator; every operator checks the shapes and types of what it is given, so a
//! mistake is reported where it is made and not by a runtime later. Weights go straight to the external data file
//! and never gather in memory. The same calls give the same bytes.

pub mod activation_range;
pub(crate) mod external;
pub(crate) mod graph;
pub(crate) mod ops;
pub(crate) mod pieces;
pub(crate) mod shape;

pub use graph::{Graph, Value};

pub use vla_engines::onnx::proto;
