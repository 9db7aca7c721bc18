//! `vla-trt calibrate`: records calibration data for INT8 engines from a bag or a data set.

use std::path::PathBuf;

use anyhow::bail;

use super::Outcome;
use super::settings::{BagArgs, PolicyArgs};
use super::verify::{bar, show};
use vla_base::sys::fs::Outputs;
use vla_engines::Stage;
use vla_engines::memory::mib;
use vla_export::staging::Staging;
use vla_offline::calibrate;
use vla_offline::calibrate::StageSamples;
use vla_offline::verify;
use vla_offline::verify::{Networks, Options};
use vla_policy::PolicySpec;

/// Record the inputs of every stage's network by running a bag or a LeRobot data set through the policy on ONNX Runtime, as calibration data for INT8
/// engines (`vla-trt build --calib-data`).
///
/// The recording should show what the robot will see: its rooms, its light, its instructions. TensorRT calibrates with inputs of one
/// shape, and the number of text tokens is part of it: record with one instruction, or with instructions of the same number of
/// tokens.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments; 5 done, with fewer observations than asked for; 6 no observation of the
/// bag can be used: nothing is written, and what was at the output's name is still there.
#[derive(clap::Args, Debug)]
pub(crate) struct CalibrateArguments {
    #[command(flatten)]
    bag: BagArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Observations at most, spread evenly over the bag.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    observations: u16,
    /// Only these stages.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    stages: Option<Vec<String>>,
    /// File to write.
    #[arg(short, long, value_name = "FILE.npz")]
    output: PathBuf,
    /// Folder for recorded tensors; they are deleted at the end. Default: the system's folder for temporary files.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Errors of running the networks on the bag; the output file is then unchanged.
pub(crate) fn run(args: &CalibrateArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(args.policy.dir())?;
    let names = args.stages.clone().unwrap_or_else(|| spec.stage_names());
    if let Some(unknown) = names.iter().find(|name| !spec.stage_names().contains(name)) {
        bail!("--stages: there is no stage '{unknown}'; the policy's stages are {}", spec.stage_names().join(", "));
    }
    let source = args.bag.source()?;
    let settings = args.policy.settings(&spec, &source)?;
    // Checked before the networks run for minutes.
    Outputs::default()
        .file("--output", args.output.as_path())
        .reading("the recording", source.files())
        .reading("a file of the policy or its parameters", args.policy.files(&spec, &settings))
        .check()?;
    let base = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Staging::scratch(&base.join("vla_trt_calibrate"))?;
    let options = Options {
        source: source.clone(),
        observations: usize::from(args.observations),
        stages: Some(names.clone()),
        inner: 0,
        scratch: scratch.dir().to_owned(),
    };
    let bar = bar();
    let mut networks = Networks::of(&spec, settings.engine.threads).with_paths(&settings);
    let mut shown = |progress| show(&bar, progress);
    let captured = verify::capture(&spec, &settings, &options, &mut networks, &Default::default(), &mut shown)?;
    let stages: Vec<Stage> = spec.stages.iter().filter(|stage| names.contains(&stage.name)).cloned().collect();
    let written = calibrate::write(&captured, &stages, &args.output, &mut |stage, done, total| {
        bar.set_message(format!("writing {stage}"));
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    print(&written?);
    let (found, asked) = (captured.observations(), usize::from(args.observations));
    println!("{found} observations of {} -> {}", source.path().display(), args.output.display());
    if found < asked {
        tracing::warn!(
            "{}: expected {asked} observations (--observations), found {found}; use a longer recording, or look with `vla-trt \
             replay` at why the policy could not run on the others",
            source.path().display()
        );
        return Ok(Outcome::Warned);
    }
    Ok(Outcome::Success)
}

fn print(recorded: &[StageSamples]) {
    println!("{:16} {:>8} {:>7} {:>9}", "stage", "samples", "inputs", "MiB");
    for StageSamples { stage, samples, inputs, bytes } in recorded {
        println!("{stage:16} {samples:>8} {inputs:>7} {:>9.1}", mib(*bytes));
    }
}
