//! `vla-trt make-checkpoint`: a checkpoint in the vendor's layout with seeded weights.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;

use super::Outcome;
use super::bar::Bar;
use vla_export::synthetic_checkpoint;

/// Write a GR00T N1.6 checkpoint with seeded weights: what tests and measurements use in place of a trained one.
#[derive(clap::Args, Debug)]
pub struct MakeCheckpoint {
    /// Which checkpoint.
    #[arg(long, value_enum)]
    size: Size,
    /// Seed of the weights; the same seed gives the same bytes.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Folder to write: new, empty, or one made by this command. The tokenizer is in its `tokenizer` folder.
    #[arg(short, long)]
    out: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Size {
    /// The demo's: a few MB.
    Demo,
    /// The real widths with few blocks: 0.6 GB.
    Mid,
    /// The real dimensions: 6.6 GB.
    N1d6,
}

/// Writes the checkpoint and prints where it is.
pub fn run(args: &MakeCheckpoint) -> anyhow::Result<Outcome> {
    let size = match args.size {
        Size::Demo => synthetic_checkpoint::Size::Demo,
        Size::Mid => synthetic_checkpoint::Size::Mid,
        Size::N1d6 => synthetic_checkpoint::Size::N1d6,
    };
    let mut bar = Bar::new();
    let bytes = synthetic_checkpoint::write(size, args.seed, &args.out, &mut |progress| bar.show(progress))
        .context("the checkpoint was not written")?;
    drop(bar);
    println!("{} {:.1} MB of weights", args.out.display(), bytes as f64 / 1e6);
    Ok(Outcome::Success)
}
