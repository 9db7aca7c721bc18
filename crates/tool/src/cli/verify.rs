//! `vla-trt verify`: compares engines with their networks on inputs of a bag.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::settings::{DatasetArgs, files, parameter_files, settings_for, source};
use vla_base::sys::fs::{Outputs, replace};
use vla_engines::EngineKind;
use vla_export::staging::Staging;
use vla_offline::replay::BagClock;
use vla_offline::verify;
use vla_offline::verify::{Candidate, Options, Progress, Report, candidate};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

/// Compare a policy's engines with its networks on ONNX Runtime, with inputs recorded in a bag or a LeRobot data set.
///
/// Compares every stage alone on the reference's inputs, then the whole chain down to decoded actions. Limits are those of
/// policy.yaml (accuracy), or cosine 0.999 for vision, language, fusion and context, 0.99 for denoising stages and the chunk, and
/// 0.01 rad. The verdict is written into the provenance file of each engine or list of operations; one that failed is not loaded unless
/// engines.STAGE.allow_inaccurate is true.
///
/// Exit codes: 0 everything is within its limits; 1 an error; 2 wrong arguments; 3 something is not; 4 it does not fit into
/// memory; 6 no observation of the bag can be used, and there is no verdict.
#[derive(clap::Args, Debug)]
pub(crate) struct VerifyArguments {
    /// Policy folder.
    policy: PathBuf,
    /// Bag: an .mcap or .db3 file, or a folder with metadata.yaml.
    #[arg(long, value_name = "BAG", required_unless_present = "dataset", conflicts_with = "dataset")]
    bag: Option<PathBuf>,
    /// The clock that counts where that bag's header stamps and log times are of two clocks.
    #[arg(long, value_name = "header|log", conflicts_with = "dataset")]
    clock: Option<BagClock>,
    /// LeRobot data set (v2.1 or v3.0) in place of a bag: the folder that contains meta, data and videos (docs/datasets.md).
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    #[command(flatten)]
    reading: DatasetArgs,
    /// Parameters: the node's own YAML file.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// Set one parameter, as the node's `-p` does; may be given several times.
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE")]
    param: Vec<String>,
    /// Observations at most, spread evenly over the bag.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    observations: u16,
    /// Only these stages, without the whole chain.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    stages: Option<Vec<String>>,
    /// Also compare up to N tensors inside each network, where both sides can output them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    internal: u16,
    /// What is compared with the networks: the policy's TensorRT engines, its lists of operations on CUDA, or with --candidate other
    /// networks.
    #[arg(long, value_enum, default_value_t = Kind::Tensorrt)]
    engine_kind: Kind,
    /// Folder of another bundle of the same policy, such as an export in FP16, to compare with this one's networks in place of
    /// its engines.
    #[arg(long, value_name = "POLICY", required_if_eq("engine_kind", "onnx"))]
    candidate: Option<PathBuf>,
    /// Write all results as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Folder for recorded tensors, about 100 MB for a policy of full size; they are deleted at the end. Default: the system's
    /// folder for temporary files.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// What runs the candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    /// TensorRT engines.
    Tensorrt,
    /// Lists of operations on CUDA.
    Cuda,
    /// ONNX Runtime on the CPU.
    Onnx,
}

/// Runs the command.
///
/// # Errors
/// Errors of the comparison; no verdict is then written.
pub(crate) fn run(args: &VerifyArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(&args.policy)?;
    let source = source(args.bag.as_deref(), args.clock, args.dataset.as_deref(), &args.reading)?;
    let settings = settings_for(&spec, &source, args.params.as_deref(), &args.param)?;
    Outputs::default()
        .file("--report", args.report.as_deref())
        .reading("the recording", source.files())
        .reading("a file of the policy", files(&spec))
        .reading("a file of the parameters", parameter_files(&settings, args.params.as_deref()))
        .check()?;
    let mut candidate = args.candidate(&spec, &settings)?;
    let base = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Staging::scratch(&base.join("vla_trt_verify"))?;
    let options = Options {
        source,
        observations: usize::from(args.observations),
        stages: args.stages.clone(),
        inner: usize::from(args.internal),
        scratch: scratch.dir().to_owned(),
    };
    let bar = bar();
    let report = verify::run(&spec, &settings, &options, &mut *candidate, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = report?;
    print!("{report}");
    if args.engine_kind != Kind::Onnx {
        record(&*candidate, &report)?;
    }
    if let Some(file) = &args.report {
        replace(file, report.json().as_bytes()).context("the report")?;
        println!("report: {}", file.display());
    }
    Ok(if report.passed { Outcome::Success } else { Outcome::Differs })
}

impl VerifyArguments {
    fn candidate(&self, spec: &PolicySpec, settings: &Arc<Settings>) -> anyhow::Result<Box<dyn Candidate>> {
        let kind = match self.engine_kind {
            Kind::Tensorrt => EngineKind::Tensorrt,
            Kind::Cuda => EngineKind::Cuda,
            Kind::Onnx => EngineKind::Onnx,
        };
        let Some(dir) = &self.candidate else { return Ok(candidate::of_policy(spec, settings, kind)?) };
        let other = load_other(dir)?;
        // Files that parameters name are those of the policy.
        let mut settings = Settings::clone(settings);
        settings.engine.stages.values_mut().for_each(|stage| stage.path = None);
        Ok(candidate::of_policy(&other, &settings, kind)?)
    }
}

fn load_other(dir: &Path) -> anyhow::Result<PolicySpec> {
    PolicySpec::load(dir).context("--candidate")
}

/// Writes the verdicts into the engines' records. A TensorRT engine without a record is skipped.
fn record(candidate: &dyn Candidate, report: &Report) -> anyhow::Result<()> {
    for stage in candidate.stages() {
        let Some(verification) = report.verification(&stage.name) else { continue };
        match candidate.record(stage, &verification) {
            Err(error @ vla_offline::Error::NoRecord { .. }) => tracing::warn!("{error}"),
            written => written?,
        }
    }
    Ok(())
}

/// Progress of a run of the networks.
pub(super) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:28} [{bar:40}] {pos}/{len} {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

/// Shows it.
pub(super) fn show(bar: &ProgressBar, progress: Progress) {
    let percent = |fraction: f64| ((fraction * 100.0) as u64, 100);
    let of = |done: usize, total: usize| (done as u64, total as u64);
    let (message, (done, total)) = match progress {
        Progress::Replay(fraction) => ("reading the bag".to_owned(), percent(fraction)),
        Progress::Reference { stage, done, total } => (format!("reference {stage}"), of(done, total)),
        Progress::Candidate { stage, done, total } => (format!("candidate {stage}"), of(done, total)),
        Progress::Chain { done, total } => ("whole chain".to_owned(), of(done, total)),
        Progress::Decode(fraction) => ("decoding".to_owned(), percent(fraction)),
    };
    bar.set_message(message);
    bar.set_length(total);
    bar.set_position(done);
}
