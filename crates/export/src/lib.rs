//! Network weights to a policy bundle: ONNX pieces without PyTorch, and the demo policy.
//!
//! [`layers`] holds the network as functions on an [`onnx::Graph`], parameterised by sizes ([`model`]) and by a
//! source of weights ([`weights::Weights`]): a checkpoint or seeded numbers. A [`layout`] ([`split`], [`backbone_dit`],
//! [`vendor`]) cuts it into the stages that a policy runs and [`policy_yaml`] writes the description around them. [`demo`] is a policy made of seeded numbers.

#![deny(unreachable_pub)]

pub mod backbone_dit;
pub mod bundle;
pub mod checkpoint;
pub mod demo;
pub mod error;
pub mod inventory;
pub mod layers;
pub mod layout;
pub mod model;
pub mod onnx;
pub mod policy_yaml;
pub mod position_table;
pub mod progress;
pub mod random_weights;
pub mod split;
pub mod staging;
pub mod synthetic_checkpoint;
pub mod tensor_file;
pub mod vendor;
pub mod weights;

pub use error::Error;
pub use layout::Layout;
pub use model::{Model, Options, RopeFrequencies, View, VisionAttention};
