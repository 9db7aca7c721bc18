//! Chunks to motion: parameters, limits, safety, replay.

mod fuzz_parameters;
mod measured_motion;
mod motion;
mod parameters;
mod replay;
mod safety;
