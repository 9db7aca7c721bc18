//! Time, tensors, and safe wrappers of the system calls that the other crates need.

pub mod sys;
pub mod tensor;
pub mod time;
