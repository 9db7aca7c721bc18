//! Rewritten networks on ONNX Runtime, and what is refused.

mod demo;
mod files;
mod half;
mod networks;
mod program;
mod recipes;
mod runtime;
