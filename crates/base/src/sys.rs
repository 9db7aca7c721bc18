//! Small safe surfaces over what the operating system gives: the only room outside the engine's FFI where `unsafe`
//! may stand.

#[expect(unsafe_code, reason = "two functions of the loader that only answer questions")]
pub mod allocator;
pub mod disk;
#[expect(unsafe_code, reason = "one C function without preconditions")]
mod exit;
pub mod fs;
#[expect(unsafe_code, reason = "mapping a file; the safety argument stands at the call")]
pub mod map;
pub mod private;
pub mod regions;
#[expect(unsafe_code, reason = "one call of POSIX threads about the calling thread")]
mod schedule;
#[expect(unsafe_code, reason = "a call into code for instructions that were found on this machine")]
pub mod simd;
#[expect(unsafe_code, reason = "memory of this process mapped anew with the bytes that it has")]
pub mod spill;
#[expect(unsafe_code, reason = "mapping a file; the safety argument stands at the call")]
pub mod window;

pub use exit::exit_now;
pub use schedule::run_as_real_time;
