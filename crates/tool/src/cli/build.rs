//! `vla-trt build` and `vla-trt adopt`: engines for this device, with their provenance records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Outcome;
use vla_builder::{Effort, Range, Request, Scales, ahead};
#[cfg(feature = "tensorrt")]
use vla_engines::onnx::Network;
use vla_engines::provenance::ComputeCapability;
use vla_engines::{Precision, Stage};
use vla_offline::replay::BagClock;

mod dry;
#[cfg(feature = "tensorrt")]
#[path = "build/run.rs"]
mod imp;
#[cfg(not(feature = "tensorrt"))]
#[path = "build/missing.rs"]
mod imp;
mod outline;

/// Build TensorRT engines on this device: of one network, or of every stage of a policy that has none.
///
/// Each engine is built in a separate process, loaded and run once, and gets a provenance file. Finished engines stay when a
/// build is stopped, and the same command continues with the next.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["policy", "onnx"]))]
pub(crate) struct BuildArguments {
    /// Policy folder: builds every stage whose engine is missing or does not match, one after the other.
    policy: Option<PathBuf>,
    /// Only these stages of the policy.
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with_all = ["onnx", "bag"])]
    stages: Option<Vec<String>>,
    /// Network to build.
    #[arg(long, value_name = "FILE", requires = "engine", requires = "precision")]
    onnx: Option<PathBuf>,
    /// Engine to write.
    #[arg(long, value_name = "FILE", requires = "onnx")]
    engine: Option<PathBuf>,
    /// What the engine computes in: fp32, or int8, bf16 and fp16 joined by +. A policy has it for each stage in policy.yaml.
    #[arg(long, value_name = "TYPE", conflicts_with = "policy")]
    precision: Option<Precision>,
    /// Range of a symbolic dimension of the network; once for each.
    #[arg(long = "profile", value_name = "NAME=MIN:OPT:MAX", value_parser = range, conflicts_with = "policy")]
    profile: Vec<(String, Range)>,
    /// Largest value of any symbolic dimension: limits --profile, and means 1:N:N for a dimension without one. The ranges of a
    /// policy are in policy.yaml.
    #[arg(long, value_name = "N", conflicts_with = "policy")]
    max_seq_len: Option<usize>,
    /// Inputs for INT8 calibration (.npz): one array for each name with samples on the leading axis, or name/0000,
    /// name/0001, ...; `vla-trt calibrate` records them for every stage of a policy.
    #[arg(long, value_name = "FILE")]
    calib_data: Option<PathBuf>,
    /// The stage whose inputs --calib-data has, where it is not named as the network's file is.
    #[arg(long, value_name = "STAGE", conflicts_with = "policy", requires = "calib_data")]
    calib_stage: Option<String>,
    /// INT8 scales of an earlier calibration of the same network on the same TensorRT: used when it is there, written
    /// otherwise [default: ENGINE.calibration]. With a policy: a folder of one file a stage.
    #[arg(long, value_name = "FILE")]
    calib_cache: Option<PathBuf>,
    /// Tactic timings of earlier builds on this device: read when it is there, written at the end. With a policy: a folder
    /// of one file a stage.
    #[arg(long, value_name = "FILE")]
    timing_cache: Option<PathBuf>,
    /// Scratch memory of a tactic (kernel implementation) at most.
    #[arg(long, value_name = "MIB")]
    workspace_mib: Option<u64>,
    /// How long TensorRT searches for fast tactics, 0 (short) to 5.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=5))]
    opt_level: Option<u8>,
    /// Limit the builder's memory to what is free, and print what each limit costs.
    #[arg(long)]
    low_memory_mode: bool,
    /// Compare every engine with its network on this bag at the end (as `vla-trt verify` does), build one that deviates too much
    /// again in the next precision, and print what to write into policy.yaml. Needs --params.
    #[arg(long, value_name = "BAG", conflicts_with = "onnx")]
    bag: Option<PathBuf>,
    /// The clock that counts where that bag's header stamps and log times are of two clocks.
    #[arg(long, value_name = "header|log", requires = "bag")]
    clock: Option<BagClock>,
    /// The node's parameters for that bag.
    #[arg(long, value_name = "FILE", requires = "bag")]
    params: Option<PathBuf>,
    /// Set one of these parameters, as the node's `-p` does; may be given several times.
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE", requires = "bag")]
    param: Vec<String>,
    /// Most observations of the bag, spread evenly over it.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    observations: u16,
    /// With --bag: try the fastest precision of every stage first (int8+fp16 with --calib-data, else fp16), whatever
    /// policy.yaml says.
    #[arg(long, requires = "bag")]
    propose: bool,
    /// Build ahead of time with TensorRT-RTX for GPUs of these compute capabilities, such as sm86,sm89,sm120; needs no GPU. Element
    /// types are the network's own.
    #[arg(
        long = "for", value_name = "SM,SM", value_delimiter = ',', value_parser = ahead::capability,
        conflicts_with_all = ["bag", "calib_data", "calib_cache", "timing_cache", "low_memory_mode", "prepare_system", "emulated"]
    )]
    ahead: Vec<ComputeCapability>,
    /// Drop page caches and set maximum power mode and clocks for the build, then restore the previous settings. Without the
    /// necessary privileges, print the commands instead (`vla-trt prepare-system`).
    #[arg(long)]
    prepare_system: bool,
    /// Print what would be built and how, and build nothing.
    #[arg(long)]
    dry_run: bool,
    /// This device is a larger Jetson that emulates the module that will run the engines. The record says so, and the module
    /// accepts the engines although the board differs; the number of SMs must be the same.
    #[arg(long)]
    emulated: bool,
    /// Build here and now what this JSON says: what the command gives its own child.
    #[arg(long, value_name = "JSON", hide = true)]
    here: Option<String>,
    /// Load and run this engine here and now, and say what that showed: what the command gives its own child.
    #[arg(long, value_name = "ENGINE", hide = true)]
    probe: Option<PathBuf>,
}

/// Write the provenance file of an engine that another tool built on this very device, after loading and running it.
#[derive(clap::Args, Debug)]
pub(crate) struct AdoptArguments {
    /// The engine.
    engine: PathBuf,
    /// The network that it was built from.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// What it was built in, as policy.yaml says.
    #[arg(long, value_name = "TYPE", default_value = "fp16")]
    precision: Precision,
}

/// `NAME=MIN:OPT:MAX`.
fn range(text: &str) -> Result<(String, Range), String> {
    let parts = text.rsplit_once('=').map(|(name, range)| (name, range.split(':').collect::<Vec<_>>()));
    let number = |text: &str| text.parse::<usize>().ok();
    match parts {
        Some((name, range)) if !name.is_empty() => match range[..] {
            [min, opt, max] => match (number(min), number(opt), number(max)) {
                (Some(min), Some(opt), Some(max)) => Ok((name.to_owned(), [min, opt, max])),
                _ => Err(format!("expected NAME=MIN:OPT:MAX with whole numbers, such as T=16:64:192, found '{text}'")),
            },
            _ => Err(format!("expected NAME=MIN:OPT:MAX, such as T=16:64:192, found '{text}'")),
        },
        _ => Err(format!("expected NAME=MIN:OPT:MAX, such as T=16:64:192, found '{text}'")),
    }
}

/// The stages of a policy that `--stages` names; default: all.
fn chosen(stages: Vec<Stage>, names: Option<&[String]>) -> anyhow::Result<Vec<Stage>> {
    let Some(names) = names else { return Ok(stages) };
    let known: Vec<String> = stages.iter().map(|stage| stage.name.clone()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        anyhow::bail!("--stages: the policy has no stage '{unknown}'; its stages are {}", known.join(", "));
    }
    Ok(stages.into_iter().filter(|stage| names.contains(&stage.name)).collect())
}

impl BuildArguments {
    /// The one network that the arguments name.
    fn single(&self) -> Option<Request> {
        let engine = self.engine.clone()?;
        Some(Request {
            onnx: self.onnx.clone()?,
            precision: self.precision?,
            profile: self.profile.iter().cloned().collect::<BTreeMap<_, _>>(),
            longest: self.max_seq_len,
            group: self.calib_stage.clone(),
            scales: self.scales(self.precision?, self.calib_cache.clone(), &engine),
            timing_cache: self.timing_cache.clone(),
            effort: self.effort(),
            ahead: self.ahead.clone(),
            engine,
        })
    }

    /// The request for one stage of a policy, in a precision that may differ from policy.yaml.
    fn stage(&self, stage: &vla_engines::Stage, precision: Precision) -> Request {
        // One file per network: TensorRT 8.6 refuses the whole cache if it contains fused kernels of another network.
        let file = |dir: &PathBuf, kind: &str| dir.join(format!("{}-{precision}.{kind}", stage.name));
        let cache = self.calib_cache.as_ref().map(|dir| file(dir, "calibration"));
        Request {
            onnx: stage.onnx.clone(),
            engine: stage.file.clone(),
            precision,
            profile: stage.profile.iter().cloned().collect(),
            longest: None,
            group: Some(stage.name.clone()),
            scales: if precision.int8 { self.scales(precision, cache, &stage.file) } else { None },
            timing_cache: self.timing_cache.as_ref().map(|dir| file(dir, "cache")),
            effort: self.effort(),
            ahead: self.ahead.clone(),
        }
    }

    /// What policy.yaml says of a stage.
    fn precision_of(&self, stage: &vla_engines::Stage) -> anyhow::Result<Precision> {
        let parsed = stage.precision.parse();
        parsed.map_err(|words: String| anyhow::anyhow!("policy.yaml, stage {}: precision: {words}", stage.name))
    }

    /// The first precision of the accuracy gate.
    #[cfg(feature = "tensorrt")]
    fn first(&self, stage: &vla_engines::Stage) -> anyhow::Result<Precision> {
        let quantized = Network::open(&stage.onnx).is_ok_and(|network| network.is_quantized());
        match (self.propose && !quantized, &self.calib_data) {
            (false, _) => self.precision_of(stage),
            (true, Some(_)) => Ok(Precision::INT8_FP16),
            (true, None) => Ok(Precision::FP16),
        }
    }

    /// Sources of the INT8 scales: the arguments, and the cache of an earlier build.
    fn scales(&self, precision: Precision, cache: Option<PathBuf>, engine: &Path) -> Option<Scales> {
        let data = self.calib_data.clone();
        let beside = Scales::beside(engine);
        let is_there = precision.int8 && beside.is_file();
        let cache = cache.or_else(|| (data.is_some() || is_there).then_some(beside))?;
        Some(Scales { data, cache })
    }

    fn effort(&self) -> Effort {
        Effort { workspace: self.workspace_mib.map(|mib| mib << 20), level: self.opt_level, ..Effort::default() }
    }
}

/// Runs `build`.
///
/// # Errors
/// Errors of a build; engines that were built before stay.
pub(crate) fn run(args: &BuildArguments) -> anyhow::Result<Outcome> {
    imp::build(args)
}

/// Runs `adopt`.
///
/// # Errors
/// Errors of loading or running the engine.
pub(crate) fn adopt(args: &AdoptArguments) -> anyhow::Result<Outcome> {
    imp::adopt(args)
}
