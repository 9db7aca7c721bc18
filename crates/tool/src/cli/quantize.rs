//! `vla-trt quantize`: a policy with 8-bit networks.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::settings::{DatasetArgs, files, parameter_files, settings_for, source};
use super::verify::show;
use vla_base::sys::fs::{Outputs, replace};
use vla_export::staging::Staging;
use vla_offline::quantize;
use vla_offline::quantize::{Budget, Options, Plan, Progress, Samples, bundle};
use vla_offline::replay::BagClock;
use vla_policy::PolicySpec;
use vla_policy::spec::POLICY_FILE;
use vla_quantize::recipe::{Target, WeightType};

/// Write a policy with 8-bit networks: QuantizeLinear and DequantizeLinear around the products that can bear it.
///
/// The policy runs on observations of a bag or a LeRobot data set on ONNX Runtime; scales come from what its products read, and each
/// product's effect on the decoded actions is measured. A greedy search then quantises as many bytes as the limits allow: those of
/// policy.yaml (accuracy), or the ones given here. The new bundle has the same layout, and quantization.json with every product's
/// scale, error, effect, and the reason where it is not quantised. `vla-trt build` builds it as any other; docs/quantize.md says
/// which form is for which machine.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments; 3 done, and not within a limit (--bytes asks for more than it allows); 4 it
/// does not fit into memory; 5 done, and nothing could be quantised, a stage of --plan was left out, or fewer observations were found
/// than asked for; 6 no
/// observation of the recording can be used.
#[derive(clap::Args, Debug)]
pub(crate) struct QuantizeArguments {
    /// Policy folder.
    policy: PathBuf,
    /// Folder to write: new, empty, or an earlier policy bundle.
    #[arg(short, long)]
    out: PathBuf,
    #[command(flatten)]
    from: FromArgs,
    /// The clock that counts where that bag's header stamps and log times are of two clocks.
    #[arg(long, value_name = "header|log", conflicts_with_all = ["dataset", "calib_data", "plan"])]
    clock: Option<BagClock>,
    #[command(flatten)]
    reading: DatasetArgs,
    /// Parameters: the node's own YAML file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["calib_data", "plan"])]
    params: Option<PathBuf>,
    /// Set one parameter, as the node's `-p` does; may be given several times.
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE", conflicts_with_all = ["calib_data", "plan"])]
    param: Vec<String>,
    /// Observations to calibrate on at most, spread evenly over the recording. Of recorded inputs all are used.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000),
        conflicts_with_all = ["calib_data", "plan"])]
    observations: u16,
    /// Who reads the networks: TensorRT 8.6 (trt8), or TensorRT 10 and 11, TensorRT-RTX and ONNX Runtime (trt10).
    #[arg(long, value_enum, default_value_t = TargetArgument::Trt10)]
    target: TargetArgument,
    /// Weights in 8 bits with 8-bit activations, or in 4 bits with floating activations, which few builders keep.
    #[arg(long, value_enum, default_value_t = WeightsArgument::Int8, conflicts_with = "plan")]
    weights: WeightsArgument,
    /// Only these stages.
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with = "plan")]
    stages: Option<Vec<String>>,
    /// Largest difference of a decoded action from the policy as it is, rad (m where it is a position), in place of the policy's
    /// own limits. The search uses 0.7 of a limit, since other observations differ more.
    #[arg(long, value_name = "RAD", value_parser = positive, conflicts_with_all = ["calib_data", "plan"])]
    max_action_rad: Option<f64>,
    /// Largest L2 error of the predicted actions over their L2 norm, in place of the policy's own limits.
    #[arg(long, value_name = "SHARE", value_parser = positive, conflicts_with = "plan")]
    max_relative: Option<f64>,
    /// Stop as soon as the weights of all products take at most so many MiB in an engine with the rest in FP16.
    #[arg(long, value_name = "MIB", value_parser = positive, conflicts_with = "plan")]
    bytes: Option<f64>,
    /// Write the plan, quantization.json, here as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder for recorded tensors and the networks of trials; they are deleted at the end. Default: the system's folder for
    /// temporary files.
    #[arg(long, value_name = "DIR", conflicts_with = "plan")]
    scratch: Option<PathBuf>,
    /// Folder for what was found so far, so that a run that was ended goes on from there. Default: OUT.quantize, which is deleted at
    /// the end.
    #[arg(long, value_name = "DIR", conflicts_with = "plan")]
    work: Option<PathBuf>,
}

/// Where scales come from.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct FromArgs {
    /// Bag: an .mcap or .db3 file, or a folder with metadata.yaml.
    #[arg(long, value_name = "BAG")]
    bag: Option<PathBuf>,
    /// LeRobot data set (v2.1 or v3.0): the folder that contains meta, data and videos (docs/datasets.md).
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// Recorded inputs of the stages (vla-trt calibrate). Each stage is then looked at alone, with the limits of its own outputs.
    #[arg(long, value_name = "FILE.npz")]
    calib_data: Option<PathBuf>,
    /// quantization.json of an earlier run on the same policy: the same scales and choice, for another target perhaps.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum TargetArgument {
    /// TensorRT 8.6.
    Trt8,
    /// TensorRT 10, TensorRT 11, TensorRT-RTX and ONNX Runtime.
    Trt10,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum WeightsArgument {
    /// 8-bit weights and activations.
    Int8,
    /// 4-bit weights in blocks of 128.
    Int4,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err(format!("expected a number above 0, found {text}")),
    }
}

/// Runs the command.
///
/// # Errors
/// Errors of running the policy; the output folder is then unchanged.
pub(crate) fn run(args: &QuantizeArguments) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(&args.policy)?;
    args.check_stages(&spec)?;
    anyhow::ensure!(
        (args.target, args.weights) != (TargetArgument::Trt8, WeightsArgument::Int4),
        "--weights int4: TensorRT 8.6 has no 4-bit weights; take --target trt10, or --weights int8"
    );
    let staging = Staging::beside(&args.out, "policy bundle", POLICY_FILE)?;
    let work = match &args.work {
        Some(work) => work.clone(),
        None => with_suffix(&args.out)?,
    };
    let plan = match &args.from.plan {
        Some(file) => {
            args.check_outputs(&spec, vec![file.clone()], &work)?;
            Plan::parse(file, &std::fs::read(file).with_context(|| file.display().to_string())?)?
        }
        None => args.search(&spec, &work)?,
    };
    let (plan, parts) = plan.for_target(args.target());
    if !parts.is_empty() {
        tracing::warn!(
            "{}: quantised in part, which TensorRT 8.6 builds larger and slower than FP16: left floating; choose anew with --bag or \
             --dataset, --target trt8",
            parts.join(", ")
        );
    }
    let bar = bar();
    let written = bundle::write(&spec, &plan, args.target(), staging.dir(), &mut |stage| {
        bar.set_message(format!("writing {stage}"));
    });
    bar.finish_and_clear();
    written?;
    staging.finish()?;
    if let Some(file) = &args.json {
        replace(file, plan.json().as_bytes()).context("--json")?;
    }
    if args.work.is_none() && args.from.plan.is_none() {
        quantize::forget(&work)?;
    }
    print!("{plan}");
    println!("{}", args.out.display());
    Ok(args.outcome(&plan))
}

impl QuantizeArguments {
    fn search(&self, spec: &PolicySpec, work: &Path) -> anyhow::Result<Plan> {
        let (samples, reading) = self.samples(spec)?;
        self.check_outputs(spec, reading, work)?;
        let base = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = Staging::scratch(&base.join("vla_trt_quantize"))?;
        let options = Options {
            samples,
            observations: usize::from(self.observations),
            stages: self.stages.clone(),
            target: self.target(),
            weights: match self.weights {
                WeightsArgument::Int8 => WeightType::Int8,
                WeightsArgument::Int4 => WeightType::Int4,
            },
            budget: Budget {
                action_rad: self.max_action_rad,
                relative: self.max_relative,
                bytes: self.bytes.map(|mib| (mib * f64::from(1 << 20)) as u64),
            },
            scratch: scratch.dir().to_owned(),
            work: work.to_owned(),
        };
        let bar = bar();
        let plan = quantize::run(spec, &options, &mut |progress| match progress {
            Progress::Reference(progress) => show(&bar, progress),
            Progress::Recording { stage, done, total } => step(&bar, format!("recording {stage}"), done, total),
            Progress::Scales { stage, done, total } => step(&bar, format!("scales of {stage}"), done, total),
            Progress::Effects { done, total } => step(&bar, "effects on the actions".to_owned(), done, total),
            Progress::Search(tried) => step(&bar, format!("search, choice {tried}"), tried, tried),
        });
        bar.finish_and_clear();
        Ok(plan?)
    }

    /// Where scales come from, and the files that are read.
    fn samples(&self, spec: &PolicySpec) -> anyhow::Result<(Samples, Vec<PathBuf>)> {
        if let Some(file) = &self.from.calib_data {
            return Ok((Samples::Arrays(file.clone()), vec![file.clone()]));
        }
        let source = source(self.from.bag.as_deref(), self.clock, self.from.dataset.as_deref(), &self.reading)?;
        let settings = settings_for(spec, &source, self.params.as_deref(), &self.param)?;
        let mut files = source.files();
        files.extend(parameter_files(&settings, self.params.as_deref()));
        Ok((Samples::Recording(source, settings), files))
    }

    fn target(&self) -> Target {
        match self.target {
            TargetArgument::Trt8 => Target::Trt8,
            TargetArgument::Trt10 => Target::Trt10,
        }
    }

    fn check_stages(&self, spec: &PolicySpec) -> anyhow::Result<()> {
        let names = spec.stage_names();
        if let Some(unknown) = self.stages.iter().flatten().find(|name| !names.contains(name)) {
            anyhow::bail!("--stages: there is no stage '{unknown}'; the policy's stages are {}", names.join(", "));
        }
        Ok(())
    }

    fn check_outputs(&self, spec: &PolicySpec, reading: Vec<PathBuf>, work: &Path) -> anyhow::Result<()> {
        Outputs::default()
            .file("--json", self.json.as_deref())
            .reading("the recording or its parameters", reading)
            .reading("a file of the policy", files(spec))
            .check()?;
        let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let inside =
            |dir: &Path| std::path::absolute(work).is_ok_and(|work| work.ancestors().any(|above| same(above, dir)));
        anyhow::ensure!(!inside(&self.policy), "--work: expected a folder outside the policy's");
        anyhow::ensure!(!inside(&self.out), "--work: expected a folder outside --out");
        anyhow::ensure!(!same(&self.out, &self.policy), "--out: expected another folder than the policy's");
        Ok(())
    }

    fn outcome(&self, plan: &Plan) -> Outcome {
        let recording = self.from.bag.is_some() || self.from.dataset.is_some();
        let asked = recording.then_some(usize::from(self.observations));
        if asked.is_some_and(|asked| plan.observations < asked) {
            tracing::warn!(
                "{}: expected {} observations (--observations), found {}",
                plan.source.display(),
                self.observations,
                plan.observations
            );
        }
        match &plan.outcome {
            Some(outcome) if !outcome.within => Outcome::Differs,
            _ if plan.elements().0 == 0 => {
                tracing::warn!("nothing was quantised: no product, or no stage for this target, is within the limits");
                Outcome::Warned
            }
            None => {
                tracing::warn!(
                    "the choice was changed for this target: compare it with the policy (vla-trt verify --candidate)"
                );
                Outcome::Warned
            }
            Some(_) if asked.is_some_and(|asked| plan.observations < asked) => Outcome::Warned,
            Some(_) => Outcome::Success,
        }
    }
}

/// As of other runs of networks, with the time that is left: effects of a policy of full size take hours.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:28} [{bar:40}] {pos}/{len} {elapsed}, about {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

fn step(bar: &ProgressBar, message: String, done: usize, total: usize) {
    if bar.message() != message {
        bar.reset_eta();
    }
    bar.set_message(message);
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}

/// `OUT.quantize`, beside the folder wherever one is.
fn with_suffix(out: &Path) -> anyhow::Result<PathBuf> {
    let out = out.canonicalize().or_else(|_| std::path::absolute(out)).with_context(|| out.display().to_string())?;
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".quantize");
    Ok(out.with_file_name(name))
}
