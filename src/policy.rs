//! A policy: encode, run the engines, decode. No clock, no I/O, no spawn inside [`Policy::infer`].

mod noise;
pub mod spec;

pub use spec::PolicySpec;
