//! Memory over many inferences: replays a bag's messages in a loop through one session and prints the resident set.
//!
//! ```sh
//! cargo run --release --example soak -- out/demo/policy config/aloha.yaml data/aloha_cube 10000
//! ```
//!
//! Prints a line every tenth of the way and, last, the slope of a least-squares line over the second half in bytes per
//! inference.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use vla_bags::BagReader;
use vla_engines::MemoryUse;
use vla_engines::memory::mib;
use vla_policy::PolicySpec;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape, Settings, Value};
use vla_runtime::session::{CycleOutcome, Session};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [policy, params, bag, count] = args.as_slice() else {
        anyhow::bail!("usage: soak POLICY PARAMS BAG INFERENCES");
    };
    let count: usize = count.parse().context("INFERENCES: expected a number")?;
    let spec = PolicySpec::load(&PathBuf::from(policy))?;
    let settings = settings(&spec, policy, params)?;
    let mut session = Session::load(spec, &settings, &mut |_| {})?;
    let bag = BagReader::open(&PathBuf::from(bag))?;
    let started = Instant::now();
    let mut resident: Vec<f64> = Vec::with_capacity(count);
    while resident.len() < count {
        let before = resident.len();
        pass(&mut session, &settings, &bag, count, &mut resident)?;
        ensure!(resident.len() > before, "no inference succeeded in a whole pass over the bag");
    }
    let slope = slope(&resident[count / 2..]);
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} inferences in {seconds:.1} s; slope over the second half: {slope:.3} bytes per inference");
    Ok(())
}

/// One pass over the bag: an inference after each message, the resident set after each inference.
fn pass(
    session: &mut Session,
    settings: &Settings,
    bag: &BagReader,
    count: usize,
    resident: &mut Vec<f64>,
) -> anyhow::Result<()> {
    let inputs = Inputs::new(settings.inputs.clone());
    let topic = |name: &str| bag.topics().iter().position(|topic| topic.name == name);
    let topics: Vec<Option<usize>> = inputs.topics().iter().map(|input| topic(&input.name)).collect();
    let wanted: Vec<usize> = topics.iter().flatten().copied().collect();
    for message in bag.messages(&wanted)? {
        let message = message?;
        for topic in (0..topics.len()).filter(|topic| topics[*topic] == Some(message.topic)) {
            inputs.offer(topic, message.data.clone(), message.log_time)?;
        }
        let now = message.log_time;
        if let CycleOutcome::Published(_) = session.cycle(now, &inputs, settings, true, &mut || now) {
            let bytes = MemoryUse::now().resident;
            resident.push(bytes as f64);
            if resident.len().is_multiple_of((count / 10).max(1)) {
                println!("{:>8} inferences  {:8.2} MiB resident", resident.len(), mib(bytes));
            }
        }
        if resident.len() == count {
            break;
        }
    }
    Ok(())
}

fn settings(spec: &PolicySpec, policy: &str, params: &str) -> anyhow::Result<Arc<Settings>> {
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt")?);
    overrides.add_file(&PathBuf::from(params))?;
    overrides.set("policy", Value::String(policy.to_owned()));
    Ok(Arc::clone(Parameters::new(PolicyShape::load(spec)?, &overrides)?.settings()))
}

/// Slope of the least-squares line through equally spaced values.
fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (mx, my) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let deviations = values.iter().enumerate().map(|(x, y)| (x as f64 - mx, y - my));
    let (covariance, variance) = deviations.fold((0.0, 0.0), |(c, v), (dx, dy)| (c + dx * dy, v + dx * dx));
    covariance / variance.max(f64::MIN_POSITIVE)
}
