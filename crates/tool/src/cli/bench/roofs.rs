//! `vla-trt bench --roofs`: memory bandwidth and matrix rates of this device.

use anyhow::Context as _;

use crate::cli::Outcome;
use crate::roofs::{Effort, on_cpu};
use vla_engines::roofline::Roofs;
use vla_export::staging::Staging;

// No doc comment: it would become the help text of `bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct RoofsArguments {
    /// Measure the device in place of a policy: bandwidth of reading weights, and operations a second of products in FP32, FP16 and
    /// INT8, with small networks made for it. `plan --roofline --roofs FILE` takes what --json prints.
    #[arg(long, conflicts_with_all = ["bag", "dataset", "policy", "compare_launch"])]
    roofs: bool,
    /// What runs the networks of --roofs: TensorRT, built here in a temporary folder, or ONNX Runtime. Default: TensorRT where it
    /// and a GPU are present.
    #[arg(long, value_enum, requires = "roofs")]
    engine_kind: Option<Kind>,
    /// CPU threads of --roofs with ONNX Runtime. Default: one a CPU core.
    #[arg(long, value_name = "N", requires = "roofs", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print --roofs as one JSON object in place of lines.
    #[arg(long, requires = "roofs")]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    /// TensorRT on the GPU.
    Tensorrt,
    /// ONNX Runtime on the CPU.
    Onnx,
}

/// Measures and prints.
///
/// # Errors
/// Errors of the runtime.
pub(super) fn run(args: &RoofsArguments) -> anyhow::Result<Outcome> {
    let scratch = Staging::scratch(&std::env::temp_dir().join("vla_trt_roofs"))?;
    let roofs = match args.engine_kind.unwrap_or_else(present) {
        Kind::Onnx => {
            let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            on_cpu(args.threads.map_or_else(cores, usize::from), Effort::CPU, scratch.dir())?
        }
        Kind::Tensorrt => gpu(scratch.dir())?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&roofs).context("the rates")?);
    } else {
        print!("{}", lines(&roofs));
    }
    Ok(Outcome::Success)
}

#[cfg(feature = "tensorrt")]
fn present() -> Kind {
    if vla_builder::device().is_ok() { Kind::Tensorrt } else { Kind::Onnx }
}

#[cfg(not(feature = "tensorrt"))]
fn present() -> Kind {
    Kind::Onnx
}

#[cfg(feature = "tensorrt")]
fn gpu(folder: &std::path::Path) -> anyhow::Result<Roofs> {
    Ok(crate::roofs::on_tensorrt(Effort::GPU, folder)?)
}

#[cfg(not(feature = "tensorrt"))]
fn gpu(_folder: &std::path::Path) -> anyhow::Result<Roofs> {
    anyhow::bail!(
        "--engine-kind tensorrt: this program was built without TensorRT; build it with the feature tensorrt, or give \
         --engine-kind onnx"
    )
}

fn lines(roofs: &Roofs) -> String {
    let tera = |rate: f64| rate / 1e12;
    format!(
        "{}, {}; reached in runs of {} and more, clocks warm\n\
         reading weights  {:9.1} GB/s\n\
         FP32 products    {:9.3} TFLOP/s\n\
         FP16 products    {:9.3} TFLOP/s\n\
         INT8 products    {:9.3} TOP/s\n",
        roofs.device,
        roofs.engine,
        crate::roofs::LEAST_RUNS,
        roofs.read_bytes_per_s / 1e9,
        tera(roofs.fp32_flops_per_s),
        tera(roofs.fp16_flops_per_s),
        tera(roofs.int8_ops_per_s)
    )
}
