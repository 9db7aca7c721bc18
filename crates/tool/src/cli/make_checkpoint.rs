//! `vla-trt make-checkpoint`: a checkpoint in the vendor's layout with seeded weights.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;

use super::Outcome;
use super::bar::Bar;
use super::family::Family;
use vla_export::bundle::Camera;
use vla_export::demo::EMBODIMENT;
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::{KeyWidth, RobotShape, TOKENIZER};

/// Write a GR00T checkpoint (N1.6, N1.7) with seeded (untrained) weights, to try a robot or measure without a trained one.
///
/// Either --size, for the demo's robot (ALOHA: two arms, three cameras), or --camera, --state, --action and --rate, for a small
/// checkpoint of any robot's shape: the demo's network with your cameras, keys and widths. Keys with `gripper` in their name go
/// from 0 to 1, KEY=pose is the pose of an end effector, all others are joints in rad. Prints the export command that belongs to a robot's shape.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("robot").required(true).args(["size", "cameras"])))]
pub(crate) struct MakeCheckpointArguments {
    /// The release of the model. Default: n1d6.
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Which checkpoint.
    #[arg(long, value_enum, conflicts_with_all = ["cameras", "state", "action", "rate"])]
    size: Option<Size>,
    /// A camera and the size of its frames, such as front=640x480; once for each.
    #[arg(long = "camera", value_name = "NAME=WxH", requires_all = ["state", "action", "rate"])]
    cameras: Vec<Camera>,
    /// A state key and its number of joints, such as arm=6, or KEY=pose; once for each, in the policy's order.
    #[arg(long, value_name = "KEY=WIDTH", requires = "cameras")]
    state: Vec<KeyWidth>,
    /// An action key and its number of joints, such as arm=6, or KEY=pose; once for each, in the policy's order.
    #[arg(long, value_name = "KEY=WIDTH", requires = "cameras")]
    action: Vec<KeyWidth>,
    /// Action rows per second, in Hz: the robot's control rate.
    #[arg(long, value_name = "HZ", requires = "cameras")]
    rate: Option<f64>,
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
    /// The real widths with few blocks: 0.8 GB (N1.6), 1.4 GB (N1.7).
    Mid,
    /// The real dimensions: 6.6 GB (N1.6), 6.9 GB (N1.7).
    Full,
    /// As full, of N1.6.
    #[value(hide = true)]
    N1d6,
}

impl From<Size> for synthetic_checkpoint::Size {
    fn from(size: Size) -> Self {
        match size {
            Size::Demo => Self::Demo,
            Size::Mid => Self::Mid,
            Size::Full | Size::N1d6 => Self::Full,
        }
    }
}

impl MakeCheckpointArguments {
    /// `--size n1d6` is a size of its family alone.
    fn family(&self) -> anyhow::Result<&'static vla_export::Family> {
        match (self.family, self.size) {
            (Some(Family::N1d7), Some(Size::N1d6)) => {
                anyhow::bail!("--size n1d6: expected demo, mid or full with --family n1d7")
            }
            (family, _) => Ok(family.unwrap_or_default().into()),
        }
    }

    /// The robot's shape; `None` with `--size`. clap ensures that one of both is complete.
    fn shape(&self) -> Option<RobotShape> {
        let rate_hz = self.rate.filter(|_| self.size.is_none())?;
        let (cameras, state, action) = (self.cameras.clone(), self.state.clone(), self.action.clone());
        Some(RobotShape { cameras, state, action, rate_hz })
    }
}

/// Writes the checkpoint and prints its path.
///
/// # Errors
/// An invalid robot's shape; files that cannot be written.
pub(crate) fn run(args: &MakeCheckpointArguments) -> anyhow::Result<Outcome> {
    let (family, shape) = (args.family()?, args.shape());
    let mut bar = Bar::new();
    let mut report = |progress| bar.show(progress);
    let written = match (&shape, args.size) {
        (Some(shape), _) => synthetic_checkpoint::write_shape(family, shape, args.seed, &args.out, &mut report),
        (None, Some(size)) => synthetic_checkpoint::write(family, size.into(), args.seed, &args.out, &mut report),
        (None, None) => anyhow::bail!("expected --size, or --camera, --state, --action and --rate"),
    };
    let bytes = written.context("the checkpoint was not written")?;
    drop(bar);
    println!("{} {:.1} MB of weights", args.out.display(), bytes as f64 / 1e6);
    if let Some(shape) = &shape {
        println!("next: {}", export_command(shape, &args.out));
    }
    Ok(Outcome::Success)
}

/// The export command for the checkpoint, with the values that a checkpoint does not contain (frame sizes, rate).
fn export_command(shape: &RobotShape, checkpoint: &std::path::Path) -> String {
    let camera = |camera: &Camera| format!(" --camera {}={}x{}", camera.name, camera.width, camera.height);
    let cameras: String = shape.cameras.iter().map(camera).collect();
    format!(
        "vla-trt export --checkpoint {} --tokenizer {} --embodiment {}{cameras} --step-s {} -o my_policy",
        checkpoint.display(),
        checkpoint.join(TOKENIZER).display(),
        EMBODIMENT.0,
        shape.step_s(),
    )
}
