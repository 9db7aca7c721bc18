//! 8-bit networks: reads the products of an ONNX network, and writes the network anew with `QuantizeLinear` and
//! `DequantizeLinear` around them.
//!
//! A *product* is a `MatMul` or `Gemm` with a weight matrix. What is done to each product of a network is its
//! [`recipe::Recipe`]; it has no form of a file in it, so the networks for every [`recipe::Target`] compute the same.
//!
//! Nothing here runs a network: what the activations of a product are like comes from outside.

pub mod fit;
pub mod matrix;
pub mod recipe;
pub mod scale;
pub mod statistics;
