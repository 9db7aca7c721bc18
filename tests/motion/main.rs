//! Chunks to motion: parameters, limits, safety, replay.

#[expect(unsafe_code, reason = "an allocator that counts")]
mod allocation;
mod eval;
mod fuzz_parameters;
mod joint_inputs;
mod measured_motion;
mod motion;
mod outputs;
mod parameters;
mod qos;
mod replay;
mod safety;
mod shape;
mod shared_file;
