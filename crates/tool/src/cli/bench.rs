//! `vla-trt bench`: the latency of a policy on this machine, or the rates of the machine itself.

use std::time::Duration;

use super::Outcome;
use super::settings::{BagArgs, PolicyArgs};
use vla_engines::memory::{MemoryUse, mib};
use vla_engines::{EngineKind, HostCopy, Launch, StageReport};
use vla_offline::replay::bench::Latencies;
use vla_offline::replay::{Source, bench};
use vla_policy::{LoadOptions, PolicySpec, Timings};
use vla_runtime::parameters::Settings;
use vla_runtime::session;
use vla_runtime::session::Session;

mod roofs;

use roofs::RoofsArguments;

/// What is measured.
#[derive(Debug)]
pub(crate) enum BenchArguments {
    /// The latency of a policy.
    Policy(Box<PolicyBench>),
    /// The rates of the device.
    Roofs(RoofsArguments),
}

/// Both kinds of arguments; what a policy needs is not required with `--roofs`.
impl clap::Args for BenchArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = RoofsArguments::augment_args(PolicyBench::augment_args(command));
        command
            .mut_group("BagOrDataset", |group| group.required(false))
            .mut_arg("bag", |bag| bag.required_unless_present_any(["dataset", "roofs"]))
            .mut_arg("policy", |policy| policy.required(false).required_unless_present("roofs"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for BenchArguments {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        if matches.get_flag("roofs") {
            return RoofsArguments::from_arg_matches(matches).map(Self::Roofs);
        }
        PolicyBench::from_arg_matches(matches).map(|policy| Self::Policy(Box::new(policy)))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Measure the latency of a policy: the first whole observation of a bag or a data set, inferred again and again. With --roofs
/// measure the device: memory bandwidth and matrix rates.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments; 4 the engines do not fit into memory; 6 no observation of the bag gave a
/// chunk.
#[derive(clap::Args, Debug)]
pub(crate) struct PolicyBench {
    #[command(flatten)]
    bag: BagArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Inferences to count.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Inferences before the first counted one.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: u32,
    /// Measure the three ways of starting a pass after each other (TensorRT, CUDA): one CUDA graph, engine by engine, and waiting
    /// after each engine as scripts do; ratios to the first.
    #[arg(long)]
    compare_launch: bool,
}

/// Runs the command: a table of median and 99th percentile of every part, or the rates of the device.
///
/// # Errors
/// Errors of loading or running the policy.
pub(crate) fn run(args: &BenchArguments) -> anyhow::Result<Outcome> {
    match args {
        BenchArguments::Policy(args) => policy(args),
        BenchArguments::Roofs(args) => roofs::run(args),
    }
}

fn policy(args: &PolicyBench) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(args.policy.dir())?;
    let source = args.bag.source()?;
    let settings = args.policy.settings(&spec, &source)?;
    if args.compare_launch {
        anyhow::ensure!(
            settings.engine.kind != EngineKind::Onnx,
            "--compare-launch: engine.kind is onnx, which runs stage after stage in one way only; expected tensorrt or cuda: add -p \
             engine.kind:=tensorrt on a machine with a GPU"
        );
        return compare(args, &source, &spec, &settings);
    }
    let mut session = Session::load(spec, &settings, &mut |_| {})?;
    let latencies = bench::run(&mut session, &settings, &source, args.warm_up as usize, args.count as usize)?;
    heading(args, &session, &settings);
    println!("{:24} {:>10} {:>10}", "", "median", "p99");
    row(&latencies, "whole inference", |timings| timings.total);
    row(&latencies, "  encode", |timings| timings.encode);
    row(&latencies, "  pipeline", |timings| timings.run);
    for (index, stage) in latencies.stages().into_iter().enumerate() {
        row(&latencies, &format!("    {stage}"), |timings| {
            timings.stages.get(index).map_or(Duration::ZERO, |stage| stage.time)
        });
    }
    row(&latencies, "    sum of stages", |timings| timings.run.saturating_sub(timings.overhead()));
    row(&latencies, "    overhead", Timings::overhead);
    row(&latencies, "  decode", |timings| timings.decode);
    print_memory(session.policy().load_reports());
    Ok(Outcome::Success)
}

fn heading(args: &PolicyBench, session: &Session, settings: &Settings) {
    println!(
        "{} inferences of {} on {}, {} denoising steps; milliseconds",
        args.count,
        session.policy().spec().name,
        session.policy().engine_kind(),
        settings.denoise_steps
    );
}

/// One policy loaded and measured for each way, one after the other, so that only one is in memory.
fn compare(args: &PolicyBench, source: &Source, spec: &PolicySpec, settings: &Settings) -> anyhow::Result<Outcome> {
    let ways = [
        ("one graph", Launch::Graph),
        ("engine by engine", Launch::StepByStep),
        ("waiting after each", Launch::WaitAfterEach),
    ];
    let mut first = None;
    for (name, launch) in ways {
        let options = LoadOptions { launch, ..session::load_options(settings) };
        let mut session = Session::load_with(spec.clone(), settings, options, &mut |_| {})?;
        let latencies = bench::run(&mut session, settings, source, args.warm_up as usize, args.count as usize)?;
        if first.is_none() {
            heading(args, &session, settings);
            println!("{:24} {:>10} {:>10} {:>10}", "pipeline", "median", "p99", "ratio");
        }
        let [median, p99] = [0.5, 0.99].map(|quantile| milliseconds(&latencies, quantile, |timings| timings.run));
        println!("{name:24} {median:10.3} {p99:10.3} {:10.3}", median / *first.get_or_insert(median));
    }
    Ok(Outcome::Success)
}

/// Memory of the process now, and the state of the engines' host copies.
fn print_memory(reports: &[StageReport]) {
    let files: u64 = reports.iter().map(|report| report.bytes).sum();
    let kept: u64 = reports.iter().map(|report| u64::try_from(report.measured.anonymous).unwrap_or(0)).sum();
    let device: u64 = reports.iter().filter_map(|report| u64::try_from(report.measured.device?).ok()).sum();
    let released: u64 =
        reports.iter().map(|report| if let HostCopy::Released { bytes } = report.host_copy { bytes } else { 0 }).sum();
    let now = MemoryUse::now();
    println!(
        "memory, MiB: engine files {:.1}; loading them kept {:.1} anonymous, {:.1} on the device; host copies given back {:.1}; \
         process now {:.1} anonymous, {:.1} resident",
        mib(files),
        mib(kept),
        mib(device),
        mib(released),
        mib(now.anonymous),
        mib(now.resident)
    );
    for report in reports {
        if let HostCopy::Kept { reason } = &report.host_copy {
            println!("  {}: its host copy stays: {reason}", report.stage);
        }
    }
}

fn row(latencies: &Latencies, name: &str, pick: impl Fn(&Timings) -> Duration) {
    println!("{name:24} {:10.3} {:10.3}", milliseconds(latencies, 0.5, &pick), milliseconds(latencies, 0.99, &pick));
}

fn milliseconds(latencies: &Latencies, quantile: f64, pick: impl Fn(&Timings) -> Duration) -> f64 {
    latencies.quantile(quantile, pick).unwrap_or_default().as_secs_f64() * 1e3
}
