//! Every kernel, emulated on the CPU or, where `VLA_TRT_TEST_GPU` is 1, on a GPU, against the same computation in double precision: random shapes and the real head
//! dimensions and widths, strided and unaligned operands, results over operands where the launch allows it. Memory that a kernel
//! must not read is NaN; memory that it must not write is compared after it.
#![allow(clippy::unwrap_used)]

#[path = "kernels/attention.rs"]
mod attention;
#[path = "kernels/configuration.rs"]
mod configuration;
#[path = "kernels/gpu.rs"]
mod gpu;
#[path = "kernels/moves.rs"]
mod moves;
#[path = "kernels/norm.rs"]
mod norm;
#[path = "kernels/pointwise.rs"]
mod pointwise;
#[path = "kernels/product.rs"]
mod product;
#[path = "kernels/quantize.rs"]
mod quantize;
#[path = "kernels/resample.rs"]
mod resample;
#[path = "kernels/rotary.rs"]
mod rotary;
#[path = "kernels/support.rs"]
mod support;
#[path = "kernels/tensor_product.rs"]
mod tensor_product;
