//! Networks, pipelines, engines, their records and calibration data.

mod build_target;
mod calibration;
mod fuzz_calibration;
mod fuzz_provenance;
mod onnx_graph;
mod onnx_network;
mod pipelines;
mod quantized;
