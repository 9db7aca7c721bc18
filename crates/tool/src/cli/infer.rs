//! `vla-trt infer`: one observation given as arrays, or a row of a data set.

use std::path::PathBuf;

use std::collections::BTreeMap;

use super::Outcome;
use super::settings::{ColumnArgs, files};
use vla_base::sys::fs::Outputs;
use vla_base::tensor::HostTensor;
use vla_offline::infer;
use vla_offline::infer::{Inputs, Moment};
use vla_offline::replay::Source;
use vla_policy::PolicySpec;

/// Run a policy once on arrays, or on a row of a LeRobot data set, and write every named tensor: for comparison with a reference.
///
/// Arrays in: image.CAMERA u8 [H, W, 3] (RGB), or [T, H, W, 3] with frames of T times, the oldest first; state_raw.KEY f32 [1, width],
/// noise f32 [horizon, dims], instruction u8 (UTF-8 bytes), steps i64 (optional). docs/fidelity.md lists the tensors out. With --dataset all of them come from
/// the data set (docs/datasets.md), and the noise from --seed.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments.
#[derive(clap::Args, Debug)]
pub(crate) struct InferArguments {
    /// Policy folder.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Arrays of one observation.
    #[arg(long, value_name = "FILE.npz", required_unless_present = "dataset", conflicts_with = "dataset")]
    inputs: Option<PathBuf>,
    /// LeRobot data set (v2.1 or v3.0) in place of arrays: the folder that contains meta, data and videos (docs/datasets.md).
    #[arg(long, value_name = "DIR", requires = "episode", requires = "frame")]
    dataset: Option<PathBuf>,
    /// Episode of the data set.
    #[arg(long, value_name = "N", requires = "dataset")]
    episode: Option<usize>,
    /// Row of the episode, from 0.
    #[arg(long, value_name = "N", requires = "dataset")]
    frame: Option<usize>,
    /// Seed of the noise.
    #[arg(long, value_name = "N", requires = "dataset", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    reading: ColumnArgs,
    /// Where to write the tensors.
    #[arg(long, value_name = "FILE.npz")]
    dump: PathBuf,
    /// Network that replaces a stage's, such as dit=dit_model.onnx; once for each.
    #[arg(long = "stage", value_name = "STAGE=FILE", value_parser = stage_file)]
    stages: Vec<(String, PathBuf)>,
    /// Threads of the inference.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
///
/// # Errors
/// Errors of running the policy on the arrays; the output file is then not written.
pub(crate) fn run(args: &InferArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(&args.policy)?;
    Outputs::default()
        .file("--dump", args.dump.as_path())
        .reading("--inputs", &args.inputs)
        .reading("the data set", args.moment().map(|moment| Source::from(moment.source).files()).unwrap_or_default())
        .reading("--stage", args.stages.iter().map(|(_, file)| file))
        .reading("a file of the policy", files(&spec))
        .check()?;
    let inputs = Inputs::new(args.arrays(&spec)?, &spec)?;
    let stages = args.stages.iter().cloned().collect();
    let mut policy = infer::load_with(spec, stages, args.threads, &mut |_| {})?;
    let mut dump = vla_npz::Writer::create(&args.dump)?;
    let mut count = 0;
    infer::run(&mut policy, &inputs, &mut |name, tensor| {
        count += 1;
        Ok(dump.add(name, tensor)?)
    })?;
    dump.finish()?;
    println!("{count} tensors -> {}", args.dump.display());
    Ok(Outcome::Success)
}

impl InferArguments {
    /// The row of a data set, where that is given.
    fn moment(&self) -> Option<Moment> {
        let (dir, episode, frame) = (self.dataset.as_ref()?, self.episode?, self.frame?);
        Some(Moment { source: self.reading.source(dir), episode, frame, seed: self.seed })
    }

    fn arrays(&self, spec: &PolicySpec) -> anyhow::Result<BTreeMap<String, HostTensor>> {
        match (&self.inputs, self.moment()) {
            (Some(file), _) => Ok(vla_npz::read(file)?),
            (None, Some(moment)) => Ok(infer::arrays(spec, &moment)?),
            (None, None) => anyhow::bail!("expected --inputs FILE.npz, or --dataset DIR with --episode and --frame"),
        }
    }
}

fn stage_file(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(stage, file)| !stage.is_empty() && !file.is_empty());
    let (stage, file) =
        parts.ok_or_else(|| format!("expected STAGE=FILE, such as dit=dit_model.onnx, found '{text}'"))?;
    Ok((stage.to_owned(), file.into()))
}
