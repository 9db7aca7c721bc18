//! Observation to action chunk, against the vendor's vectors.

mod deltas;
mod demo_policy;
mod eef;
mod frame_history;
mod fuzz_codec;
mod fuzz_policy;
mod fuzz_processor;
mod layouts;
mod letterbox;
mod mixed_views;
mod oracle_codec;
mod oracle_n1d7;
mod oracle_processor;
mod policy_spec;
mod pose_keys;
mod prefix;
mod processor;
mod prompt;
mod resize;
mod resize_paths;
mod state_action;
mod transforms;
