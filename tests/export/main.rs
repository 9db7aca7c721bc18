//! Checkpoints to bundles, and single inferences of them.

mod checkpoint_config;
mod checkpoint_config_n1d7;
mod fuzz_export;
mod fuzz_infer;
mod infer;
mod lora;
mod operations;
mod reference_export;
mod reference_infer;
mod reference_n1d7;
mod split_layout;
