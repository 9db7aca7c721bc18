//! `vla-trt make-demo-policy`: writes the demo policy bundle.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Outcome;
use super::family::Family;
use vla_export::demo;

/// Write a small policy with seeded weights: the shape of GR00T N1.6 or N1.7, runs on one CPU core, moves nothing useful.
#[derive(clap::Args, Debug)]
pub(crate) struct MakeDemoPolicyArguments {
    /// Folder to write: new, empty, or an earlier policy bundle.
    #[arg(short, long)]
    pub out: PathBuf,
    /// The release of the model.
    #[arg(long, value_enum, default_value_t)]
    pub(super) family: Family,
    /// Seed of the weights; the same seed gives the same bytes.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

/// Writes the bundle and prints its path and fingerprint.
pub(crate) fn run(args: &MakeDemoPolicyArguments) -> anyhow::Result<Outcome> {
    let hash =
        demo::bundle::write(args.family.into(), &args.out, args.seed).context("the demo policy was not written")?;
    println!("{} {hash}", args.out.display());
    Ok(Outcome::Success)
}
