//! `vla-trt inspect`: describes a network, an engine file, or the networks of a policy.

use std::path::PathBuf;

use super::Outcome;
use crate::doctor::Machine;
use crate::inspect;
use crate::inspect::{EngineReport, Loaded, NetworkReport, OperationsReport, PolicyReport, Products, Report, Verdict};
use vla_engines::memory::mib;
use vla_engines::provenance::{DeviceIdentity, Provenance};

/// Describe a network (ONNX), a list of operations (engine kind cuda) or an engine (TensorRT plan): inputs and outputs, profiles, layers
/// by precision, sizes, where it was built and whether it would be loaded here. Of a policy's folder: how much of the weights of products is 8-bit or 4-bit,
/// stage by stage, and which products are not.
///
/// An engine is loaded temporarily where TensorRT and a GPU are present. Exit codes: 0; 1 the file is neither, or cannot be
/// read; 2 wrong arguments; 3 weights are missing or cut, an engine does not match this device, or a list its network.
#[derive(clap::Args, Debug)]
pub(crate) struct InspectArguments {
    /// An engine, an ONNX file, a list of operations, or a policy folder.
    file: PathBuf,
    /// Print one JSON object in place of lines.
    #[arg(long)]
    json: bool,
    /// Value of a symbolic dimension, for the cost of a run; 1 where none is given.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dim)]
    dims: Vec<(String, usize)>,
    /// Do not load an engine: only its file and its record.
    #[arg(long)]
    no_load: bool,
}

fn dim(text: &str) -> Result<(String, usize), String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    parts.ok_or_else(|| format!("expected NAME=N, such as T=64, found '{text}'"))
}

/// Runs the command.
///
/// # Errors
/// [`inspect::Error`]; errors of writing JSON.
pub(crate) fn run(args: &InspectArguments) -> anyhow::Result<Outcome> {
    let identity = Machine::identity();
    let mut report = inspect::inspect(&args.file, identity.as_ref(), &args.dims)?;
    if let Report::Engine(engine) = &mut report
        && !args.no_load
    {
        load(engine);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        match &report {
            Report::Network(network) => print!("{}", network_lines(network)),
            Report::Engine(engine) => print!("{}", engine_lines(engine)),
            Report::Operations(list) => print!("{}", operations_lines(list)),
            Report::Policy(policy) => print!("{}", policy_lines(policy)),
        }
    }
    let sound = match &report {
        Report::Network(network) => network.data_files.iter().all(|file| file.problem.is_none()),
        Report::Engine(engine) => !matches!(engine.verdict, Verdict::Differs(_)),
        Report::Operations(list) => list.problem.is_none(),
        Report::Policy(_) => true,
    };
    Ok(if sound { Outcome::Success } else { Outcome::Differs })
}

#[cfg(feature = "tensorrt")]
fn load(engine: &mut EngineReport) {
    use vla_tensorrt::cuda::Cuda;
    use vla_tensorrt::{Library, Log};

    // An engine of another device may crash the process inside TensorRT.
    if let Verdict::Differs(_) = engine.verdict {
        engine.not_loaded = Some("it does not match this device".to_owned());
        return;
    }
    let cuda = Cuda::open().map_err(|error| error.to_string());
    let loaded = cuda.and_then(|_cuda| {
        let library = Library::open().map_err(|error| error.to_string())?;
        inspect::loaded(&library, &Log::new(), &engine.file).map_err(|error| error.to_string())
    });
    match loaded {
        Ok(loaded) => (engine.loaded, engine.not_loaded) = (Some(loaded), None),
        Err(reason) => engine.not_loaded = Some(reason),
    }
}

#[cfg(not(feature = "tensorrt"))]
fn load(_engine: &mut EngineReport) {}

fn line(text: &mut String, name: &str, value: impl AsRef<str>) {
    *text += &format!("{name:14}{}\n", value.as_ref());
}

fn each(text: &mut String, name: &str, values: impl IntoIterator<Item = String>) {
    for (index, value) in values.into_iter().enumerate() {
        line(text, if index == 0 { name } else { "" }, value);
    }
}

fn operations_lines(list: &OperationsReport) -> String {
    let mut text = String::new();
    line(&mut text, "operations", list.file.display().to_string());
    each(&mut text, "inputs", list.inputs.iter().cloned());
    each(&mut text, "outputs", list.outputs.iter().cloned());
    let kinds: Vec<String> = list.operations.iter().map(|(name, count)| format!("{count} {name}")).collect();
    line(&mut text, "list", format!("{}: {}", list.operations.values().sum::<usize>(), kinds.join(", ")));
    line(&mut text, "weights", format!("{}, {} bytes", list.weights, list.weight_bytes));
    let (weights, elements) = (list.eight_bit_weights, list.eight_bit_elements);
    line(&mut text, "with int8", format!("{weights} of them in 8 bits, {elements} bytes and their scales"));
    line(&mut text, "network", list.problem.as_deref().unwrap_or("the one beside it, by its SHA-256"));
    text
}

fn network_lines(network: &NetworkReport) -> String {
    let mut text = String::new();
    line(&mut text, "network", format!("{}, {} bytes", network.file.display(), network.bytes));
    line(&mut text, "producer", if network.producer.is_empty() { "unknown" } else { &network.producer });
    line(&mut text, "opsets", network.opsets.join(", "));
    each(&mut text, "inputs", network.inputs.iter().cloned());
    each(&mut text, "outputs", network.outputs.iter().cloned());
    line(&mut text, "symbols", if network.symbols.is_empty() { "none".into() } else { network.symbols.join(", ") });
    let parameters = network.parameters.iter();
    each(
        &mut text,
        "parameters",
        parameters.map(|each| format!("{}: {} elements, {} bytes", each.dtype, each.elements, each.bytes)),
    );
    let files = network.data_files.iter().map(|data| match &data.problem {
        Some(problem) => problem.clone(),
        None => format!("{}, {} bytes", data.file.display(), data.bytes.unwrap_or_default()),
    });
    each(&mut text, "weights in", files);
    let count: usize = network.operators.iter().map(|each| each.nodes).sum();
    let operators: Vec<String> =
        network.operators.iter().map(|each| format!("{} {}", each.nodes, each.operator)).collect();
    line(&mut text, "nodes", format!("{count}: {}", operators.join(", ")));
    line(&mut text, "quantized", if network.quantized { "yes: has Q/DQ nodes" } else { "no Q/DQ nodes" });
    line(&mut text, "products", shares(&network.products));
    if network.quantized {
        each(&mut text, "floating", floating(&network.products));
    }
    line(&mut text, "fp32 scope", format!("{} nodes stay in single precision", network.fp32_scope_nodes));
    let dims: Vec<String> = network.cost_dims.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let dims = if dims.is_empty() { String::new() } else { format!(" at {} (--dim)", dims.join(", ")) };
    let unknown = match network.cost_unknown.as_slice() {
        [] => String::new(),
        unknown => format!("; too low, not worked out: {}", unknown.join(", ")),
    };
    let (gflop, live) = (network.flops as f64 / 1e9, mib(network.live_bytes));
    line(&mut text, "one run", format!("~{gflop:.3} GFLOP, ~{live:.1} MiB between nodes in fp32{dims}{unknown}"));
    text
}

/// Products that are named in the text; `--json` has all of them.
const NAMED: usize = 12;

/// One line: how much of the weights of products is quantised.
fn shares(products: &Products) -> String {
    let percent = |share: f64| 100.0 * share;
    let (int8, int4) = (percent(products.int8_share), percent(products.int4_share));
    let weights = products.weights.elements();
    format!(
        "{} products with {weights} weights: {int8:.1} % of them 8-bit, {int4:.1} % 4-bit, {:.1} % floating",
        products.products,
        if weights == 0 { 0.0 } else { 100.0 - int8 - int4 }
    )
}

/// The products that stay floating, the largest first.
fn floating(products: &Products) -> Vec<String> {
    let mut lines: Vec<String> = products
        .floating
        .iter()
        .take(NAMED)
        .map(|product| format!("{} ({} weights, {})", product.node, product.elements, product.weight))
        .collect();
    if products.floating.len() > NAMED {
        lines.push(format!("and {} more (--json lists all)", products.floating.len() - NAMED));
    }
    lines
}

fn policy_lines(policy: &PolicyReport) -> String {
    let mut text = String::new();
    let keys = |keys: &[(String, usize)]| {
        let each: Vec<String> = keys.iter().map(|(key, width)| format!("{key} {width}")).collect();
        each.join(", ")
    };
    line(&mut text, "policy", policy.policy.display().to_string());
    line(&mut text, "model", format!("{}, {}", policy.name, policy.fingerprint));
    if policy.random_weights {
        line(&mut text, "weights", "random: a demonstration of the software, not of a task");
    }
    line(&mut text, "cameras", policy.cameras.join(", "));
    line(&mut text, "state", keys(&policy.state));
    line(&mut text, "action", format!("{}; {} rows of {} s", keys(&policy.action), policy.rows, policy.step_s));
    let steps: Vec<String> = policy.denoise_steps.iter().map(ToString::to_string).collect();
    line(&mut text, "denoising", format!("{} steps, of {}", policy.default_steps, steps.join(", ")));
    for stage in &policy.stages {
        line(&mut text, &stage.stage, shares(&stage.products));
        if stage.quantized {
            each(&mut text, "  floating", floating(&stage.products));
        }
    }
    line(&mut text, "all", shares(&policy.all));
    text
}

/// The one device that an engine was built on.
fn device_lines(text: &mut String, device: &DeviceIdentity) {
    line(text, "for", format!("{}, SM {}, {} SMs", device.gpu, device.sm_version, device.sm_count));
    let none = "none".to_owned();
    let (l4t, board) = (device.l4t.as_ref().unwrap_or(&none), device.board.as_ref().unwrap_or(&none));
    line(text, "board", format!("{board}, L4T {l4t}"));
    line(text, "with", format!("TensorRT {}, CUDA {}, driver {}", device.tensorrt, device.cuda, device.driver));
}

fn engine_lines(engine: &EngineReport) -> String {
    let mut text = String::new();
    line(&mut text, "engine", format!("{}, {} bytes", engine.file.display(), engine.bytes));
    line(&mut text, "sha256", &engine.sha256);
    line(&mut text, "begins with", &engine.begins_with);
    match &engine.record {
        Some(record) => record_lines(&mut text, record),
        None => line(&mut text, "record", engine.record_problem.as_deref().unwrap_or("none")),
    }
    match &engine.verdict {
        Verdict::Matches => line(&mut text, "verdict", "matches this device and its network"),
        Verdict::FilesMatch => {
            line(
                &mut text,
                "verdict",
                "its files match; GPU, driver and TensorRT were not compared, they are not known here",
            );
        }
        Verdict::Differs(differences) => {
            each(&mut text, "verdict", differences.iter().map(|one| format!("differs: {one}")))
        }
        Verdict::Unknown => {
            line(&mut text, "verdict", "nothing says where it was built: it is not loaded unless allowed")
        }
    }
    match &engine.loaded {
        Some(loaded) => loaded_lines(&mut text, loaded),
        None => line(&mut text, "not loaded", engine.not_loaded.as_deref().unwrap_or("not asked for")),
    }
    text
}

fn record_lines(text: &mut String, record: &Provenance) {
    let device = &record.device;
    let adopted = if record.adopted { ", by another tool" } else { "" };
    let emulated = if record.emulated { ", emulated" } else { "" };
    line(text, "built", format!("{} in {:.1} s{adopted}{emulated}", record.built_at, record.build_s));
    if let Some(portable) = &record.portable {
        let system = &portable.system;
        line(
            text,
            "for",
            format!("every GPU of compute capability {} on {system}, built ahead of time", portable.names()),
        );
        line(text, "with", format!("TensorRT-{}", device.tensorrt));
    } else {
        device_lines(text, device);
    }
    line(text, "from", format!("{}, sha256 {}", record.onnx.file.display(), record.onnx.sha256));
    line(text, "precision", &record.precision);
    each(text, "profiles", record.profiles.iter().map(|(name, profile)| format!("{name} {profile}")));
    each(text, "flags", record.flags.phrases());
    if let Some(calibration) = &record.calibration {
        line(text, "calibration", format!("{}, sha256 {}", calibration.file.display(), calibration.sha256));
    }
    let memory = &record.memory;
    let size =
        |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} MiB", mib(bytes)));
    let kept = memory.kept_factor.map_or_else(|| "unknown".to_owned(), |kept| format!("{kept:.2} of the file"));
    line(
        text,
        "memory",
        format!(
            "weights {}, activation {}, host keeps {kept}, highest while loading {}",
            size(memory.weight_bytes),
            size(memory.activation_bytes),
            size(memory.load_peak_bytes)
        ),
    );
    let gate = record
        .verification
        .as_ref()
        .map(|gate| format!("{}: {}", if gate.passed { "passed" } else { "failed" }, gate.summary));
    line(text, "accuracy gate", gate.as_deref().unwrap_or("not run"));
}

fn loaded_lines(text: &mut String, loaded: &Loaded) {
    let tensor = |tensor: &inspect::LoadedTensor| {
        let host = if tensor.on_host { ", on the host" } else { "" };
        let profiles: String = tensor.profiles.iter().map(|profile| format!("  {profile}")).collect();
        format!("{}{host}{profiles}", tensor.tensor)
    };
    each(text, "inputs", loaded.inputs.iter().map(tensor));
    each(text, "outputs", loaded.outputs.iter().map(tensor));
    let weights = loaded.weight_bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1} MiB", mib(bytes)));
    line(text, "on the device", format!("activation {:.1} MiB, weights {weights}", mib(loaded.activation_bytes)));
    let layers = &loaded.layers;
    if layers.detailed {
        let counts = layers.by_precision.iter();
        each(text, "layers", counts.map(|count| format!("{:5} {:6} {}", count.layers, count.precision, count.kind)));
    } else {
        let words = "by name only: the engine was built without detailed layers, precision and type are not in it";
        line(text, "layers", format!("{} {words}", layers.total));
    }
}
