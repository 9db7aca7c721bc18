//! Safe wrappers of system calls. `unsafe` is allowed here, in `vla_cuda` and in `vla_tensorrt` only.

#[expect(unsafe_code, reason = "two queries of the dynamic loader")]
pub mod allocator;
pub mod disk;
#[expect(unsafe_code, reason = "one C function without preconditions")]
mod exit;
pub mod fs;
#[expect(unsafe_code, reason = "mapping a file")]
pub mod map;
pub mod mappings;
#[expect(unsafe_code, reason = "a query of the dynamic loader, and one C function without preconditions")]
pub mod onnx_runtime;
#[expect(unsafe_code, reason = "threads that stay borrow the data of a caller that waits for them")]
pub mod pool;
pub mod private;
#[expect(unsafe_code, reason = "remapping memory of this process")]
pub mod remap;
#[expect(unsafe_code, reason = "a POSIX threads call for the calling thread")]
mod schedule;
#[expect(unsafe_code, reason = "a call of code for instructions that this machine supports")]
pub mod simd;
#[expect(unsafe_code, reason = "mapping a file")]
pub mod streamed;

pub use exit::exit_now;
pub use schedule::run_as_real_time;
