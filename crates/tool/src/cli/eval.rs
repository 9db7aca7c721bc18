//! `vla-trt eval`: predicted actions against recorded ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome as Exit;
use super::settings::{BagArgs, files, parameter_files, settings_for};
use vla_base::sys::fs::{Outputs, replace};
use vla_base::time::Span;
use vla_offline::eval;
use vla_offline::eval::{
    ActionsFrom, Against, Comparison, Document, Dump, ErrorPair, Gallery, Observer, Observers, Options, Outcome,
    Predictions, report,
};
use vla_offline::replay::Source;
use vla_policy::PolicySpec;
use vla_runtime::devices::load_policy;
use vla_runtime::parameters::Settings;
use vla_runtime::session;

/// Measure how far a policy's predicted actions are from recorded ones (open loop).
///
/// Infers at the start and after every --stride rows, and compares the rows of each chunk with the actions that were recorded for
/// their due times: joint states by default, commands with --actions-from. Prints mean squared error (MSE) and mean absolute
/// error (MAE) as the vendor's open_loop_eval.py defines them, in the robot's units and normalised; --json has every figure.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments; 4 the engines do not fit into memory; 5 done, and at some inference times
/// there was no chunk; 6 nothing could be compared, and no output was written.
#[derive(clap::Args, Debug)]
#[command(override_usage = "vla-trt eval [OPTIONS] <POLICY> <BAG|--dataset <DIR>>")]
pub(crate) struct EvalArguments {
    /// Policy folder.
    policy: PathBuf,
    #[command(flatten)]
    bag: BagArgs,
    /// Parameters: the node's own YAML file.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// Set one parameter, as the node's `-p` does; may be given several times.
    #[arg(short = 'p', long = "param", value_name = "NAME:=VALUE")]
    param: Vec<String>,
    /// A second policy on the same observations. It is loaded when the first is done and freed.
    #[arg(long, value_name = "POLICY")]
    against: Option<PathBuf>,
    /// Parameter file of the second policy. Default: that of the first.
    #[arg(long, value_name = "FILE", requires = "against")]
    against_params: Option<PathBuf>,
    /// Set one parameter of the second policy, in addition to -p, such as engine.kind:=tensorrt.
    #[arg(long, value_name = "NAME:=VALUE", requires = "against")]
    against_param: Vec<String>,
    /// Rows of each chunk that are used before the next inference. Default: 16, as the vendor's, or all rows of a shorter chunk.
    #[arg(long, value_name = "ROWS")]
    stride: Option<usize>,
    /// Most control steps of each episode, as --steps of the vendor's evaluation (200 there). Default: all.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Topic of the bag with the recorded commands (JointTrajectory, JointState, Float64MultiArray or ActionChunk); several
    /// times where joints are commanded on several topics. Default: the joint states that followed.
    #[arg(long, value_name = "TOPIC", conflicts_with = "dataset")]
    actions_from: Vec<String>,
    /// Time from a command that does not say when it is due (JointState, Float64MultiArray) to that time. Default: one step, as in
    /// a data set, where the action of a frame is the first row of the chunk of its observation.
    #[arg(long, value_name = "MS", requires = "actions_from")]
    actions_ahead_ms: Option<f64>,
    /// Write every figure as JSON (docs/eval.md). The same input gives the same bytes.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a self-contained HTML report: predicted over recorded actions, the worst moments with their pictures, errors by row.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write every chunk beside the recorded actions as arrays for NumPy.
    #[arg(long, value_name = "FILE.npz")]
    chunks: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Errors of the evaluation; no output is written then.
pub(crate) fn run(args: &EvalArguments) -> anyhow::Result<Exit> {
    let source = args.bag.source()?;
    let first = Side::new(&args.policy, &source, args.params.as_deref(), args.param.clone())?;
    let second = args.against.as_deref().map(|dir| args.second(dir, &source)).transpose()?;
    let mut rows = first.spec.action.rows;
    if let Some(second) = &second {
        eval::comparable(&first.settings, &second.settings)?;
        rows = rows.min(second.spec.action.rows);
    }
    args.outputs(&source, &first, second.as_ref())?;
    let options = args.options(source, rows)?;

    let bar = progress_bar();
    let mut predictions = second.is_some().then(Predictions::default);
    let mut dump = args.chunks.as_deref().map(Dump::create).transpose()?;
    let mut observers: Vec<&mut dyn Observer> = Vec::new();
    observers.extend(predictions.as_mut().map(|observer| observer as &mut dyn Observer));
    let mut gallery = args.report.is_some().then(Gallery::default);
    observers.extend(gallery.as_mut().map(|observer| observer as &mut dyn Observer));
    observers.extend(dump.as_mut().map(|observer| observer as &mut dyn Observer));
    let outcome = first.run(&options, &mut Observers(observers), &bar)?;
    let compared = match (second, predictions) {
        (Some(second), Some(predictions)) => {
            let mut against = Against::new(predictions);
            let mut beside = gallery.as_ref().map(Gallery::beside);
            let mut observers: Vec<&mut dyn Observer> = vec![&mut against];
            observers.extend(beside.as_mut().map(|observer| observer as &mut dyn Observer));
            let other = second.run(&options, &mut Observers(observers), &bar)?;
            let comparison = against.comparison(&outcome, &other);
            Some((other, comparison, beside))
        }
        _ => None,
    };
    bar.finish_and_clear();

    let names = args.names(&outcome, compared.as_ref().map(|(other, ..)| other));
    print(&outcome, &names[0], &options);
    if let Some((other, comparison, _)) = &compared {
        print(other, &names[1], &options);
        print_comparison(comparison);
    }
    if let (Some(dump), Some(file)) = (dump, &args.chunks) {
        dump.finish()?;
        println!("chunks: {}", file.display());
    }
    if let Some(file) = &args.json {
        let second = compared.as_ref().map(|(other, comparison, _)| (other, comparison));
        let document = Document::new(&options, &first.settings, &outcome, second);
        replace(file, document.to_json()?.as_bytes()).context("the JSON document")?;
        println!("figures: {}", file.display());
    }
    if let (Some(file), Some(gallery)) = (&args.report, &gallery) {
        let first = report::Side { outcome: &outcome, gallery, name: &names[0] };
        let second = compared.as_ref().and_then(|(outcome, comparison, gallery)| {
            Some((report::Side { outcome, gallery: gallery.as_ref()?, name: &names[1] }, comparison))
        });
        replace(file, report::render(&options, first, second).as_bytes()).context("the report")?;
        println!("report: {}", file.display());
    }
    let outcomes = [Some(&outcome), compared.as_ref().map(|(other, ..)| other)];
    let skipped = outcomes.into_iter().flatten().any(|outcome| outcome.skipped_count() > 0);
    Ok(if skipped { Exit::Warned } else { Exit::Success })
}

impl EvalArguments {
    /// Names of both policies in the report: those that they have, or their folders where these are the same.
    fn names(&self, first: &Outcome, second: Option<&Outcome>) -> [String; 2] {
        let Some(second) = second else { return [first.policy.clone(), String::new()] };
        if first.policy != second.policy {
            return [first.policy.clone(), second.policy.clone()];
        }
        let folder = |dir: Option<&Path>| dir.unwrap_or(&self.policy).display().to_string();
        let (one, other) = (folder(None), folder(self.against.as_deref()));
        if one != other {
            return [one, other];
        }
        [format!("{} (first)", first.policy), format!("{} (second)", second.policy)]
    }

    fn second(&self, dir: &Path, source: &Source) -> anyhow::Result<Side> {
        let params = self.against_params.as_deref().or(self.params.as_deref());
        Side::new(dir, source, params, self.param.iter().chain(&self.against_param).cloned().collect())
    }

    fn options(&self, source: Source, rows: usize) -> anyhow::Result<Options> {
        if let Some(ms) = self.actions_ahead_ms.filter(|ms| !(0.0..=10_000.0).contains(ms)) {
            bail!("--actions-ahead-ms: expected 0 to 10000 ms, found {ms}");
        }
        if self.steps == Some(0) {
            bail!("--steps: expected 1 or more control steps, found 0");
        }
        let ahead = self.actions_ahead_ms.map(Span::from_millis);
        let actions = match &self.actions_from[..] {
            [] if matches!(source, Source::Dataset(_)) => ActionsFrom::Dataset,
            [] => ActionsFrom::JointStates,
            names => ActionsFrom::Topics { names: names.to_vec(), ahead },
        };
        // Both policies use the same rows.
        let stride = self.stride.unwrap_or(eval::VENDOR_STRIDE.min(rows).max(1));
        Ok(Options { source, actions, stride: Some(stride), steps: self.steps, pictures: self.report.is_some() })
    }

    fn outputs(&self, source: &Source, first: &Side, second: Option<&Side>) -> anyhow::Result<()> {
        let policies = [Some(first), second].into_iter().flatten().flat_map(Side::files);
        Outputs::default()
            .file("--json", self.json.as_deref())
            .file("--report", self.report.as_deref())
            .file("--chunks", self.chunks.as_deref())
            .reading("the recording", source.files())
            .reading("a file of a policy or its parameters", policies)
            .check()?;
        Ok(())
    }
}

/// A policy with its parameters.
struct Side {
    spec: PolicySpec,
    params: Option<PathBuf>,
    settings: Arc<Settings>,
}

impl Side {
    fn new(dir: &Path, source: &Source, params: Option<&Path>, assignments: Vec<String>) -> anyhow::Result<Self> {
        let spec = PolicySpec::load(dir)?;
        let settings = settings_for(&spec, source, params, &assignments)?;
        Ok(Self { spec, params: params.map(Path::to_owned), settings })
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = files(&self.spec);
        files.extend(parameter_files(&self.settings, self.params.as_deref()));
        files
    }

    /// Loads the policy, runs it over the recording and frees it.
    fn run(&self, options: &Options, observer: &mut dyn Observer, bar: &ProgressBar) -> anyhow::Result<Outcome> {
        bar.set_message(format!("loading {}", self.spec.name));
        let load = session::load_options(&self.settings);
        let mut policy = load_policy(self.spec.clone(), load, &mut |_| {}).map_err(session::Error::from)?;
        bar.set_message(self.spec.name.clone());
        let progress = &mut |fraction: f64| bar.set_position((fraction * 1000.0) as u64);
        Ok(eval::run(&mut policy, &self.settings, options, observer, progress)?)
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {percent:>3} % {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

fn print(outcome: &Outcome, name: &str, options: &Options) {
    let figures = &outcome.figures;
    let rows: u64 = outcome.episodes.iter().map(|episode| episode.rows).sum();
    println!(
        "{} ({}): {} chunks, {rows} rows of {} columns compared with {}",
        name,
        outcome.engine,
        outcome.inferences,
        outcome.layout.width(),
        match &options.actions {
            ActionsFrom::Dataset => "the recorded actions".to_owned(),
            ActionsFrom::JointStates => "the joint states that followed".to_owned(),
            ActionsFrom::Topics { names, .. } => names.join(", "),
        }
    );
    println!("{:24} {:>11} {:>11} {:>11} {:>11} {:>11}", "", "MSE", "MAE", "max", "norm. MSE", "norm. MAE");
    figures.keys.iter().for_each(|key| print_errors(&key.key, &key.errors));
    print_errors("all", &figures.overall);
    if let Some(mean) = outcome.episode_mean().filter(|_| outcome.episodes.len() > 1) {
        println!("{:24} {:>11.6} {:>11.6}", format!("mean of {} episodes", outcome.episodes.len()), mean.mse, mean.mae);
    }
    let count = outcome.skipped_count();
    if count > 0 {
        println!("{count} inference times without a chunk:");
        outcome.skipped.iter().take(3).for_each(|skipped| println!("  {}", skipped.reason));
    }
}

fn print_errors(name: &str, errors: &ErrorPair) {
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.6}"));
    let (robot, normalised) = (errors.robot, errors.normalised);
    println!(
        "{name:24} {:>11} {:>11} {:>11} {:>11} {:>11}",
        figure(robot.map(|errors| errors.mse)),
        figure(robot.map(|errors| errors.mae)),
        figure(robot.map(|errors| errors.largest)),
        figure(normalised.map(|errors| errors.mse)),
        figure(normalised.map(|errors| errors.mae)),
    );
}

fn print_comparison(comparison: &Comparison) {
    println!(
        "{} chunks of both; {} of the first alone, {} of the second alone",
        comparison.chunks, comparison.only_first, comparison.only_second
    );
    if let Some(difference) = &comparison.difference {
        println!("difference of the predictions: mean {:.6}, max {:.6}", difference.mae, difference.largest);
    }
    if let Some(ratio) = &comparison.ratio {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        println!("errors of the second over the first: MSE {}, MAE {}", figure(ratio.mse), figure(ratio.mae));
    }
}
