//! A policy: encode, run the engines, decode. No clock, no I/O, no spawn inside [`Policy::infer`].

pub mod spec;

pub use spec::PolicySpec;
