//! `vla-trt to-lerobot`: bags as a LeRobot data set.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use super::Outcome;
use super::settings::PolicyArgs;
use super::verify::bar;
use vla_base::sys::fs::replace;
use vla_export::staging::Staging;
use vla_offline::replay::{BagClock, BagSource};
use vla_offline::to_dataset;
use vla_policy::PolicySpec;

/// The file that is written last.
const CARD: &str = "README.md";
/// Frames a second that a data set may have.
const FPS: std::ops::RangeInclusive<f64> = 0.1..=10_000.0;

/// Write bags as a LeRobot data set (v3.0) with the keys of a policy: for more training, and for `eval`.
///
/// Each row is the observation that the node would have had at its time: the cameras as PNG images, and the joints of the state keys. The
/// action of a row is the position of the action's joints in the next row (that of the last row is its own position), or with
/// --actions-from the command that is due then. A bag is one episode, and more where inputs or commands were missing in between. meta/modality.json has the policy's keys (docs/datasets.md).
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments; 6 no bag has a whole observation: nothing is written.
#[derive(clap::Args, Debug)]
pub(crate) struct ToLerobotArguments {
    /// Bags: .mcap or .db3 files, or folders with metadata.yaml.
    #[arg(required = true)]
    bags: Vec<PathBuf>,
    /// The clock to use where header stamps and log times are of different clocks: header or log.
    #[arg(long, value_name = "header|log")]
    clock: Option<BagClock>,
    /// Read what is left of a bag that is cut or damaged.
    #[arg(long)]
    recover: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Topic of the bags with the recorded commands (JointTrajectory, JointState, Float64MultiArray or ActionChunk), for the actions;
    /// several times where joints are commanded on several topics. Default: the joint states that followed.
    #[arg(long, value_name = "TOPIC")]
    actions_from: Vec<String>,
    /// Rows a second. Default: one for each row of the policy's chunks.
    #[arg(long, value_name = "HZ")]
    fps: Option<f64>,
    /// Folder to write: a new or an empty one.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A bag that cannot be read, or a policy whose keys are not all joints; the folder is then not written.
pub(crate) fn run(args: &ToLerobotArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(args.policy.dir())?;
    let source = |bag| BagSource { clock: args.clock, recover: args.recover, ..BagSource::from(bag) };
    let bags: Vec<BagSource> = args.bags.iter().map(source).collect();
    let Some(first) = bags.first() else { bail!("expected one bag or more") };
    let settings = args.policy.settings(&spec, &first.clone().into())?;
    let fps = args.fps.unwrap_or_else(|| (1.0 / settings.step.seconds()).round().max(1.0));
    ensure!(FPS.contains(&fps), "--fps: expected {} to {} frames a second, found {fps}", FPS.start(), FPS.end());
    let occupied = args.output.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !occupied,
        "{} has files and is kept: expected the name of a new folder or an empty one; choose another with -o",
        args.output.display()
    );
    let staging = Staging::beside(&args.output, "data set", CARD)?;
    let bar = bar();
    let written =
        to_dataset::write(&spec, &settings, &bags, &args.actions_from, fps, staging.dir(), &mut |bag, fraction| {
            bar.set_message(format!("bag {} of {}", bag + 1, bags.len()));
            bar.set_length(1000);
            bar.set_position((fraction * 1000.0) as u64);
        });
    bar.finish_and_clear();
    let written = written?;
    let card = format!(
        "# LeRobot data set (v3.0)\n\n{} episodes, {} rows at {fps} Hz, written by `vla-trt to-lerobot` for the policy {}.\n",
        written.episodes, written.rows, spec.name
    );
    replace(&staging.dir().join(CARD), card.as_bytes()).context("the data set's card")?;
    staging.finish()?;
    println!(
        "{} episode{}, {} rows at {fps} Hz -> {}; {} moments without a whole observation or a command left out",
        written.episodes,
        if written.episodes == 1 { "" } else { "s" },
        written.rows,
        args.output.display(),
        written.left_out
    );
    Ok(Outcome::Success)
}
