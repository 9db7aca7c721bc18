//! 8-bit networks: reads the products of an ONNX network, and writes the network anew with `QuantizeLinear` and
//! `DequantizeLinear` around them.
//!
//! A *product* is a `MatMul` or `Gemm` with a weight matrix. What is done to each product of a network is its
//! [`recipe::Recipe`]; it has no form of a file in it, so the networks for every [`recipe::Target`] compute the same.
//!
//! Nothing here runs a network: what the activations of a product are like comes from outside.

mod carrier;
mod error;
mod fit;
mod float;
mod graph;
pub mod integers;
mod matrix;
mod product;
pub mod recipe;
mod rewrite;
mod scale;
mod statistics;
mod weights;

pub use carrier::{Carrier, Vector, carrier};
pub use error::Error;
pub use fit::{Fit, Unfit, fit, fit_blocks};
pub use float::Float;
pub use matrix::Matrix;
pub use product::{Kind, Product, products};
pub use rewrite::{Written, int4_problem, rewrite};
pub use scale::Clip;
pub use statistics::Statistics;
pub use weights::read_weight;
