//! Parameters of engines and memory. `{}` is a stage.

use super::{Allowed, Param};
use vla_engines::EngineKind;
use vla_policy::EncodeDevice;

/// A number of MiB that no machine reaches.
const MOST_MIB: i64 = 1 << 24;

pub(crate) const KIND: Param<EngineKind> = Param::word(
    "engine.kind",
    "onnx",
    "Runtime of the policy: TensorRT engines built on this device, lists of operations on CUDA without a build (cuda; \
     docs/engine_cuda.md), or ONNX Runtime on the CPU.",
)
.fixed();

pub(crate) const THREADS: Param<usize> = Param::integer(
    "engine.threads",
    1,
    (1, 256),
    "CPU threads of one inference (onnx). Chunks are the same bit by bit only for the same number.",
)
.fixed();

pub(crate) const ENCODE_THREADS: Param<usize> = Param::integer(
    "encode.threads",
    0,
    (0, 64),
    "CPU threads that decode and resample the camera frames of one inference side by side, the inference thread among them, at \
     most eight a frame. One thread decodes a frame, several may resample it. 0: one a frame, at most one a CPU core; up to two a frame while \
     that is no more than half of the cores. The result does not depend on it.",
)
.fixed();

pub(crate) const ENCODE_DEVICE: Param<EncodeDevice> = Param::word(
    "encode.device",
    "auto",
    "What resamples camera frames. gpu: decoded frames are copied to the GPU as bytes and resampled there, to the same bits (cuda); a \
     frame of more than four times as many pixels as the network reads is resampled by the CPU all the same, as are all where several \
     inputs have the views. cpu: the CPU. auto: gpu with engine.kind cuda on a GPU that has memory of its own.",
)
.fixed();

pub(crate) const CUDA_GRAPH: Param<bool> = Param::flag(
    "engine.cuda_graph",
    true,
    "Record a whole inference as one CUDA graph after its first run (tensorrt, cuda). false: launch every engine separately.",
);

pub(crate) const INTEGER_KERNELS: Param<bool> = Param::flag(
    "engine.integer_kernels",
    false,
    "Run quantised networks with ONNX Runtime's integer kernels (onnx). false: run what the network says, products of \
     dequantised tensors in floating point, as TensorRT computes them. true is faster and gives other actions, which depend on the CPU: \
     without VNNI its 8-bit products saturate.",
)
.fixed();

pub(crate) const MAX_RESTARTS: Param<u32> = Param::integer(
    "engine.max_restarts",
    3,
    (0, 1000),
    "How often the node loads the engines again after the device was lost (a sticky CUDA error), counted from the start or the last \
     ~/reload. After that the node is degraded.",
);

/// The allowed values are the policy's stages.
pub(crate) const LOAD_ORDER: Param<Vec<String>> = Param::strings(
    "engines.load_order",
    "Order in which the engines are loaded, at the next load. Empty: the largest file first.",
);

pub(crate) const BUDGET_MIB: Param<Option<u64>> = Param::integer_or_off(
    "memory.budget_mib",
    0,
    (0, MOST_MIB),
    "Memory budget of all engines together, host and GPU added, in MiB; at the next load. 0: the free memory at that time less \
     memory.reserve_mib. `vla-trt plan` prints how much a policy needs.",
);

pub(crate) const RESERVE_MIB: Param<u64> = Param::integer(
    "memory.reserve_mib",
    512,
    (0, MOST_MIB),
    "Memory left to the system, the cameras and the other nodes, in MiB; at the next load.",
);

pub(crate) const COUNT_AVAILABLE: Param<bool> = Param::flag(
    "memory.count_available",
    false,
    "Where GPU and CPU share one memory: use MemAvailable of /proc/meminfo as the free memory, page cache included, in place of the \
     GPU driver's figure, which excludes it (docs/memory.md); at the next load.",
);

pub(crate) const RELEASE_HOST_COPY: Param<bool> = Param::flag(
    "memory.release_host_copy",
    true,
    "Release the copy that TensorRT keeps of an engine in host memory, where a trial at its build showed that this is safe \
     (docs/memory.md): it moves to an unnamed file beside the engine; at the next load. false: the copy stays in memory.",
);

pub(crate) const PATH: Param<Option<String>> = Param::text_or_none(
    "engines.{}.path",
    Allowed::Any,
    "File of the engine of stage {}, absolute or relative to the policy folder. Empty: engines/{}.engine, for engine.kind onnx the \
     network that the policy names, for cuda the list of operations beside it.",
)
.fixed();

pub(crate) const ALLOW_UNVERIFIED: Param<bool> = Param::flag(
    "engines.{}.allow_unverified",
    false,
    "Load the engine of stage {} also when it has no provenance file, at the next load; warns at every start. An engine whose \
     provenance differs is still refused.",
);

pub(crate) const ALLOW_INACCURATE: Param<bool> = Param::flag(
    "engines.{}.allow_inaccurate",
    false,
    "Load the engine of stage {} also when it failed its accuracy gate (`vla-trt verify`), at the next load; warns at every start.",
);
