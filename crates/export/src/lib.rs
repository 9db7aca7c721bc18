//! A GR00T checkpoint (N1.6, N1.7) to a policy bundle: ONNX networks, constants and `policy.yaml`, without PyTorch.
//!
//! Input: a checkpoint folder (safetensors, `config.json`, `processor_config.json`, `statistics.json`), a tokenizer, and
//! the robot's cameras ([`bundle::Request`]). Output: a folder that the node loads ([`bundle::write`]).
//!
//! - [`family`]: what differs between releases of the model
//! - [`layers`]: the network as functions on an [`onnx::Graph`], by sizes ([`model`]) and a source of [`weights`]
//! - `operations`: the same network as a list of fused operations, beside its ONNX file
//! - [`layout`]: how the network is cut into the stages of a policy ([`split`], [`backbone_dit`], [`vendor`])
//! - [`checkpoint`], [`inventory`]: the weights that a checkpoint must have
//! - [`lora`]: adapters of PEFT, merged while the weights are written
//! - [`synthetic_checkpoint`], [`demo`]: checkpoints and a policy with random weights, for tests and measurements
//!
//! ```
//! use vla_base::tensor::DType;
//! use vla_export::inventory::inventory;
//! use vla_export::synthetic_checkpoint::shards;
//! use vla_export::Model;
//!
//! // The released N1.6: 3.3 billion parameters, which BF16 stores in two files of at most 5 GB.
//! let model = Model::n1d6();
//! let parameters: usize = inventory(&model).iter().map(|(_, dims)| dims.iter().product::<usize>()).sum();
//! assert!(parameters > 2_900_000_000);
//! assert_eq!(shards(&model, DType::BF16, 5_000_000_000).len(), 2);
//! ```

pub mod backbone_dit;
pub mod bundle;
pub mod checkpoint;
pub mod demo;
mod error;
pub mod expected;
pub mod family;
pub mod inventory;
pub mod layers;
pub mod layout;
pub mod lora;
pub mod model;
pub mod onnx;
mod operations;
mod policy_yaml;
mod position_table;
pub mod progress;
mod random_weights;
pub mod split;
pub mod staging;
pub mod synthetic_checkpoint;
mod tensor_file;
pub mod vendor;
pub mod weights;

pub use error::Error;
pub use family::Family;
pub use layout::Layout;
pub use model::{Model, Options, RopeFrequencies, View, VisionAttention};
