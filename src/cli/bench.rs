//! `vla-trt bench`: the latency of a policy on this machine.

use std::path::PathBuf;
use std::time::Duration;

use super::Outcome;
use super::settings::PolicyArgs;
use crate::policy::{PolicySpec, Timings};
use crate::replay::bench::{self, Latencies};
use crate::session::Session;

/// Measure the latency of a policy: one observation of a bag, inferred again and again.
#[derive(clap::Args, Debug)]
pub struct Bench {
    /// Bag: an .mcap or .db3 file, or a folder with metadata.yaml. Its first whole observation is used.
    bag: PathBuf,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Inferences to count.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Inferences before the first counted one.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: u32,
}

/// Runs the command: a table of median and 99th percentile of every part.
///
/// # Errors
/// Whatever keeps the policy from loading or inferring.
pub fn run(args: &Bench) -> anyhow::Result<Outcome> {
    let spec = PolicySpec::load(args.policy.dir())?;
    let settings = args.policy.settings(&spec)?;
    let mut session = Session::load(spec, &settings, &mut |_| {})?;
    let latencies = bench::run(&mut session, &settings, &args.bag, args.warm_up as usize, args.count as usize)?;
    println!(
        "{} inferences of {} on {}, {} denoising steps; milliseconds",
        args.count,
        session.policy().spec().name,
        session.policy().engine_kind(),
        settings.denoise_steps
    );
    println!("{:24} {:>10} {:>10}", "", "median", "p99");
    row(&latencies, "whole inference", |timings| timings.total);
    row(&latencies, "  encode", |timings| timings.encode);
    row(&latencies, "  engine room", |timings| timings.run);
    for (index, stage) in latencies.stages().into_iter().enumerate() {
        row(&latencies, &format!("    {stage}"), |timings| {
            timings.stages.get(index).map_or(Duration::ZERO, |stage| stage.time)
        });
    }
    row(&latencies, "    sum of stages", |timings| timings.run.saturating_sub(timings.overhead()));
    row(&latencies, "    overhead", Timings::overhead);
    row(&latencies, "  decode", |timings| timings.decode);
    Ok(Outcome::Success)
}

fn row(latencies: &Latencies, name: &str, pick: impl Fn(&Timings) -> Duration) {
    let milliseconds = |quantile| latencies.quantile(quantile, &pick).unwrap_or_default().as_secs_f64() * 1e3;
    println!("{name:24} {:10.3} {:10.3}", milliseconds(0.5), milliseconds(0.99));
}
