//! What every other crate of the workspace builds on: ROS time, tensors in host memory, and safe wrappers of system calls.
//!
//! - [`time`]: [`time::Stamp`] and [`time::Span`], integer nanoseconds with saturating arithmetic. Nothing here reads a clock,
//!   so replay and live operation share their code.
//! - [`tensor`]: element types, dimensions and [`tensor::HostTensor`], the type that crosses every border of an engine.
//! - [`sys`]: atomic file replacement, free space, memory mappings, page-cache eviction, SIMD dispatch, a thread pool,
//!   thread priority.
//!
//! Input and output are plain values and files; there is no state besides the process's own memory and files.
//!
//! ```
//! use vla_base::sys::fs::replace;
//! use vla_base::tensor::HostTensor;
//! use vla_base::time::{Span, Stamp};
//!
//! let captured = Stamp::from_parts(12, 500_000_000).ok_or("nanoseconds below one second")?;
//! let now = captured + Span::from_millis(40.0);
//! assert_eq!(captured.age_at(now).millis(), 40.0);
//!
//! let state = HostTensor::from_f32(&[1, 3], vec![0.1, 0.2, 0.3]).ok_or("three values")?;
//! assert_eq!(state.dims(), [1, 3]);
//!
//! let file = std::env::temp_dir().join(format!("vla_base-{}.txt", std::process::id()));
//! replace(&file, b"complete or not at all")?;
//! std::fs::remove_file(&file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod sys;
pub mod tensor;
pub mod time;
