//! `vla-trt infer`: one observation given as arrays.

use std::path::PathBuf;

use super::Outcome;
use super::settings::files;
use vla_base::sys::fs::Outputs;
use vla_offline::infer;
use vla_offline::infer::Inputs;
use vla_policy::PolicySpec;

/// Run a policy once on arrays and write every named tensor: for comparison with a reference.
///
/// Arrays in: image.CAMERA u8 [H, W, 3] (RGB), state_raw.KEY f32 [1, width], noise f32 [horizon, dims],
/// instruction u8 (UTF-8 bytes), steps i64 (optional). docs/fidelity.md lists the tensors out.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments.
#[derive(clap::Args, Debug)]
pub(crate) struct InferArguments {
    /// Policy folder.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Arrays of one observation.
    #[arg(long, value_name = "FILE.npz")]
    inputs: PathBuf,
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
        .reading("--inputs", [&args.inputs])
        .reading("--stage", args.stages.iter().map(|(_, file)| file))
        .reading("a file of the policy", files(&spec))
        .check()?;
    let inputs = Inputs::new(vla_npz::read(&args.inputs)?, &spec)?;
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

fn stage_file(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(stage, file)| !stage.is_empty() && !file.is_empty());
    let (stage, file) =
        parts.ok_or_else(|| format!("expected STAGE=FILE, such as dit=dit_model.onnx, found '{text}'"))?;
    Ok((stage.to_owned(), file.into()))
}
