//! `vla-trt replay`: runs a policy on a recorded bag or a data set.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::settings::{BagArgs, PolicyArgs};
use vla_bags::files_of;
use vla_base::sys::fs::{Outputs, replace};
use vla_base::time::Span;
use vla_engines::LoadEvent;
use vla_engines::memory::mib;
use vla_offline::replay;
use vla_offline::replay::{Summary, bench, report};
use vla_policy::{PolicySpec, Progress};
use vla_runtime::session::Session;

/// Run a policy over a recorded bag or a LeRobot data set, without ROS.
///
/// Exit codes: 0 done; 1 an error; 2 wrong arguments; 3 the run differs from the golden one; 4 the engines do not fit into
/// memory; 6 there was no chunk: the output is not written, and a file of its name is kept.
#[derive(clap::Args, Debug)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    bag: BagArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Latency from observation to publication that the replay assumes; default 0. The inference time measured in the replay is
    /// printed and not used, so that the same bag gives the same bytes: give the robot's own latency to see how many rows would be
    /// late. With a rate_hz of 0 or -1 the next inference starts after it, and the default is measured on this machine.
    #[arg(long, value_name = "MS")]
    latency_ms: Option<f64>,
    /// Infer when the node did that recorded the bag (record.path), as its chunks there say, each time with its latency. rate_hz and
    /// --latency-ms are not used. With --golden and the same bag the chunks are compared with those of the node.
    #[arg(long, conflicts_with = "latency_ms")]
    as_recorded: bool,
    /// MCAP file to write the chunks and trajectories to.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Compare with this bag, an earlier output or a recording of the node: chunks by values, start and step, trajectories
    /// by every point (not those of a live recording). Exit code 3 and the first difference when they differ.
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Largest difference from the golden values and positions, in rad or m; of velocities, this in a step of the chunk.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    tolerance: f32,
    /// Write a self-contained HTML report, also of a run without a chunk.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Errors of the replay; the output file is then not written.
pub(crate) fn run(args: &ReplayArguments) -> anyhow::Result<Outcome> {
    if let Some(latency) = args.latency_ms.filter(|latency| !(latency.is_finite() && *latency >= 0.0)) {
        bail!("--latency-ms: expected milliseconds of 0 or more, found {latency}");
    }
    if !(args.tolerance.is_finite() && args.tolerance >= 0.0) {
        bail!("--tolerance: expected 0 or more, found {}", args.tolerance);
    }
    let spec = PolicySpec::load(args.policy.dir())?;
    let source = args.bag.source()?;
    let recording = source.path().display().to_string();
    let settings = args.policy.settings(&spec, &source)?;
    Outputs::default()
        .file("--output", args.output.as_path())
        .file("--report", args.report.as_deref())
        .reading("the recording", source.files())
        .reading("--golden", args.golden.iter().flat_map(|bag| files_of(bag)))
        .reading("a file of the policy or its parameters", args.policy.files(&spec, &settings))
        .check()?;
    let bar = progress_bar();
    let mut session = Session::load(spec, &settings, &mut |progress| bar.set_message(describe(&progress)))?;
    let latency = match args.latency_ms {
        Some(latency) => Span::from_millis(latency),
        None if settings.rate_hz > 0.0 || args.as_recorded => Span::ZERO,
        None => {
            bar.set_message("measuring the latency");
            let (restarted, latency) = bench::measure(session, &settings, &source)?;
            session = restarted;
            latency
        }
    };
    bar.set_message("replay");
    let options = replay::Options {
        source,
        output: args.output.clone(),
        topics: args.policy.topics()?,
        latency,
        as_recorded: args.as_recorded,
        golden: args.golden.clone().map(|file| (file, args.tolerance)),
    };
    let done = replay::run(&mut session, &settings, &options, &mut |fraction| {
        bar.set_position((fraction * 1000.0) as u64);
    });
    bar.finish_and_clear();
    let summary = done?;
    if settings.rate_hz <= 0.0 && !args.as_recorded {
        let (rate, latency) = (settings.rate_hz, latency.millis());
        let from = if args.latency_ms.is_some() { "given" } else { "measured here; --latency-ms gives it again" };
        println!("rate_hz is {rate}: inferences at most every {latency} ms, their latency ({from})");
    }
    print_summary(&summary, args);
    if let Some(file) = &args.report {
        let page = report::render(
            &summary.record,
            &report::Given { recording: &recording, parameters: &args.policy.described() },
        );
        replace(file, page.as_bytes()).context("the report")?;
        println!("report: {}", file.display());
    }
    if summary.is_empty() {
        return Ok(Outcome::Empty);
    }
    if let Some(compared) = &summary.compared {
        println!("compared with {}: {compared}", args.golden.as_deref().unwrap_or(Path::new("")).display());
    }
    if let Some(difference) = &summary.difference {
        println!("differs from the golden bag: {difference}");
        return Ok(Outcome::Differs);
    }
    Ok(Outcome::Success)
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {percent:>3} % {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

fn describe(progress: &Progress) -> String {
    match progress {
        Progress::Planning => "planning".into(),
        Progress::Engine(LoadEvent::Loading { index, total, stage, bytes }) => {
            format!("loading {stage} {}/{total} ({:.1} MiB)", index + 1, mib(*bytes))
        }
        Progress::Engine(LoadEvent::Loaded(report)) => format!("loaded {}", report.stage),
        Progress::WarmUp => "warm-up".into(),
    }
}

fn print_summary(summary: &Summary, args: &ReplayArguments) {
    let record = &summary.record;
    let violations = record.events.iter().filter(|event| event.kind == "violation").count();
    let refused = record.events.len() - violations;
    match record.chunks.len() {
        0 if args.output.exists() => println!("no chunk: {} stays as it was", args.output.display()),
        0 => println!("no chunk: {} is not written", args.output.display()),
        1 => println!("1 chunk -> {}", args.output.display()),
        count => println!("{count} chunks -> {}", args.output.display()),
    }
    println!(
        "without a chunk: {violations} violation{}, {refused} refused, {} unchanged, {} stopped, {} before every input had come",
        if violations == 1 { "" } else { "s" },
        record.unchanged,
        record.stopped,
        record.waiting
    );
    if let (Some(median), Some(p99)) = (record.latency(0.5), record.latency(0.99)) {
        println!("inference: median {:.1} ms, p99 {:.1} ms", median.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
    }
    let clamped = record.clamped();
    let joints: Vec<String> = clamped.by_name(&record.moved).map(|(joint, count)| format!("{joint} {count}")).collect();
    let joints = if joints.is_empty() { String::new() } else { format!(" ({})", joints.join(", ")) };
    println!("clamped to position limits: {} values{joints}", clamped.total);
    if let Some(reason) = &record.no_trajectories {
        println!("no trajectories: {reason}");
    }
    record.reasons(3).iter().for_each(|reason| println!("  {reason}"));
    if record.events.len() > 3 {
        println!("  and {} more", record.events.len() - 3);
    }
}
