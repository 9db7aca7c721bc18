//! `vla-trt build` and `vla-trt adopt`: engines for this device, with the record of where they were built.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Outcome;
use crate::builder::{Precision, Range, Request};

#[cfg(feature = "tensorrt")]
#[path = "build/run.rs"]
mod imp;
#[cfg(not(feature = "tensorrt"))]
#[path = "build/missing.rs"]
mod imp;

/// Build TensorRT engines on this device: of one network, or of every stage of a policy that lacks one.
///
/// Each engine is built in a process of its own, loaded and run once, and gets a provenance file.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["policy", "onnx"]))]
pub struct Build {
    /// Policy folder: builds every stage whose engine is missing or does not match, one after the other.
    policy: Option<PathBuf>,
    /// Network to build.
    #[arg(long, value_name = "FILE", requires = "engine", requires = "precision")]
    onnx: Option<PathBuf>,
    /// Engine to write.
    #[arg(long, value_name = "FILE", requires = "onnx")]
    engine: Option<PathBuf>,
    /// What the engine computes in: fp32 or fp16. A policy has it for each stage in policy.yaml.
    #[arg(long, value_name = "TYPE", conflicts_with = "policy")]
    precision: Option<Precision>,
    /// Range of a symbolic dimension of the network; once for each.
    #[arg(long = "profile", value_name = "NAME=MIN:OPT:MAX", value_parser = range, conflicts_with = "policy")]
    profile: Vec<(String, Range)>,
    /// Tactic timings of earlier builds on this device: read when it is there, written at the end. With a policy: a folder
    /// of one file a stage.
    #[arg(long, value_name = "FILE")]
    timing_cache: Option<PathBuf>,
    /// Most scratch memory that a tactic may take.
    #[arg(long, value_name = "MIB")]
    workspace_mib: Option<u64>,
    /// How long to look for fast tactics, 0 to 5.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=5))]
    opt_level: Option<u8>,
    /// This device emulates the module that the engines are for.
    #[arg(long)]
    emulated: bool,
    /// Build here and now what this JSON says: what the command gives its own child.
    #[arg(long, value_name = "JSON", hide = true)]
    here: Option<String>,
}

/// Write the provenance file of an engine that another tool built on this very device, after loading and running it.
#[derive(clap::Args, Debug)]
pub struct Adopt {
    /// The engine.
    engine: PathBuf,
    /// The network that it was built from.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// What it was built in, as policy.yaml says: fp32 or fp16.
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

impl Build {
    /// The one network that the arguments name.
    fn single(&self) -> Option<Request> {
        Some(Request {
            onnx: self.onnx.clone()?,
            engine: self.engine.clone()?,
            precision: self.precision?,
            profile: self.profile.iter().cloned().collect::<BTreeMap<_, _>>(),
            timing_cache: self.timing_cache.clone(),
            workspace: self.workspace_mib.map(|mib| mib << 20),
            level: self.opt_level,
        })
    }
}

/// Runs `build`.
///
/// # Errors
/// What keeps an engine from being built; engines that were built before it stay.
pub fn run(args: &Build) -> anyhow::Result<Outcome> {
    imp::build(args)
}

/// Runs `adopt`.
///
/// # Errors
/// What keeps the engine from loading or running.
pub fn adopt(args: &Adopt) -> anyhow::Result<Outcome> {
    imp::adopt(args)
}
