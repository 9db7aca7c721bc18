//! A policy: encode, run the engines, decode. No clock, no I/O, no spawn inside [`Policy::infer`].

pub mod decode;
pub mod encode;
pub mod processor;
pub mod spec;

pub use spec::PolicySpec;
