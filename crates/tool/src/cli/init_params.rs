//! `vla-trt init-params`: writes a parameter file with placeholders for a policy.

use std::path::PathBuf;

use anyhow::Context as _;

use super::Outcome;
use super::settings::files;
use crate::robot_yaml;
use vla_base::sys::fs::{Outputs, replace};
use vla_policy::PolicySpec;
use vla_runtime::parameters::PolicyShape;

/// Write the parameter file (robot.yaml) of a policy with a placeholder for everything that only you know of your robot: topics,
/// joint names, limits. The node refuses the file, naming each placeholder, until all are filled in.
#[derive(clap::Args, Debug)]
pub(crate) struct InitParamsArguments {
    /// Policy folder.
    policy: PathBuf,
    /// File to write. One that exists is kept unless --overwrite is given.
    #[arg(short, long, value_name = "FILE", default_value = "robot.yaml")]
    output: PathBuf,
    /// Replace the output file, with everything that was filled in.
    #[arg(long)]
    overwrite: bool,
}

/// Runs the command.
///
/// # Errors
/// A policy that cannot be read, a file that exists or cannot be written.
pub(crate) fn run(args: &InitParamsArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(&args.policy)?;
    let shape = PolicyShape::load(&spec)?;
    Outputs::default().file("--output", args.output.as_path()).reading("a file of the policy", files(&spec)).check()?;
    let exists = args.output.symlink_metadata().is_ok();
    anyhow::ensure!(
        args.overwrite || !exists,
        "{} exists and is kept: expected the name of a new file; choose another with -o, or pass --overwrite",
        args.output.display()
    );
    let text = robot_yaml::render(&shape, &args.policy.display().to_string());
    replace(&args.output, text.as_bytes()).context("the parameter file")?;
    println!("{}{}", args.output.display(), if exists { " (replaced)" } else { "" });
    Ok(Outcome::Success)
}
