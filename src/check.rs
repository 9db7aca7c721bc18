//! `--check`: compares the running ROS graph with the parameters and the policy, without loading an engine.

mod graph;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;

use crate::args::Arguments;
use crate::clock::RosClock;
use crate::context;
use crate::context::DEFAULT_NAME;
use crate::error::Error;
use crate::graph::Names;
use crate::outputs::command_topics;
use crate::startup::{node_name, overrides};
use crate::subscriptions::{Messages, Subscriptions};
use vla_base::time::{Span, Stamp};
use vla_policy::{FrameSizes, PolicySpec};
use vla_runtime::check;
use vla_runtime::check::{Finding, InputCheck, MessageSource, Severity};
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape};

/// How long the topics are listened to.
const LISTEN: Duration = Duration::from_secs(5);
/// How long one turn of the node's executor may wait.
const SLICE: Duration = Duration::from_millis(10);

/// The table of findings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckTable {
    /// As it is printed.
    pub text: String,
    /// Whether there is neither an error nor a warning.
    pub is_well: bool,
}

/// Listens to the robot's topics for 5 s and compares them with the parameters.
///
/// # Errors
/// Arguments, parameters or a policy with which the node would not start either.
pub fn run(arguments: &Arguments) -> Result<CheckTable, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("ros").enable_all().build();
    let runtime = runtime.map_err(|source| Error::Runtime { what: "the async runtime", source })?;
    let findings = {
        let _entered = runtime.enter();
        examine(arguments)
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    let findings = findings?;
    let is_well = findings.iter().all(|finding| finding.severity < Severity::Warning);
    Ok(CheckTable { text: check::table(&findings), is_well })
}

fn examine(arguments: &Arguments) -> Result<Vec<Finding>, Error> {
    // Before rcl reads the same files: it panics, or is silent, over one it does not accept.
    overrides(arguments, NodeName::new("/", DEFAULT_NAME)?)?;
    let mut node = context::create_node()?;
    let name = node_name(&node)?;
    let given = overrides(arguments, name.clone())?;
    let (spec, parameters) = load(&given)?;
    let settings = Arc::clone(parameters.settings());
    let mut findings = parameter_findings(&given, &parameters, &spec);
    findings.extend(check::settings(&settings));

    let clock = RosClock::of(&mut node, settings.use_sim_time)?;
    let inputs = Arc::new(InputCheck::new(&settings, FrameSizes::load(&spec)?.into_check()));
    let names = Names::new(name, &arguments.remaps);
    let messages = Subscriptions::create(&mut node, inputs.topics(), &names, &settings)?.into_messages();
    let tasks: Vec<_> = messages
        .into_iter()
        .enumerate()
        .map(|(index, messages)| tokio::spawn(listen(index, messages, inputs.clone(), clock.clone())))
        .collect();
    let started = Instant::now();
    while started.elapsed() < LISTEN {
        node.spin_once(SLICE);
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);

    findings.extend(time_findings(&clock));
    let topics = graph::topics(&node, &names, inputs.topics());
    let source =
        MessageSource::Graph { now: clock.now(), listened: Span::from_seconds(started.elapsed().as_secs_f64()) };
    findings.extend(inputs.judge(&settings, &topics, source));
    findings.extend(graph::commanders(&node, &names, &command_topics(&settings)));
    Ok(findings)
}

/// The policy and the parameters, as a node that starts reads them.
fn load(given: &Overrides) -> Result<(PolicySpec, Parameters), Error> {
    let spec = PolicySpec::load(&given.policy()?)?;
    let mut parameters = Parameters::new(PolicyShape::load(&spec)?, given)?;
    parameters.read_limits_file()?;
    Ok((spec, parameters))
}

fn parameter_findings(given: &Overrides, parameters: &Parameters, spec: &PolicySpec) -> Vec<Finding> {
    const CHECK: &str = "parameters";
    let warning =
        |text: &String| Finding::warning(CHECK, text).todo("correct the section's name in the parameter file");
    let mut findings: Vec<Finding> = given.warnings().iter().map(warning).collect();
    findings.extend(parameters.ignored().map(|ignored| Finding::info(CHECK, ignored.to_string())));
    findings.push(Finding::ok(CHECK, format!("fit the policy {}", spec.dir.display())));
    findings
}

/// Whether simulated time runs.
fn time_findings(clock: &RosClock) -> Option<Finding> {
    (clock.simulated() && clock.now() == Stamp::default()).then(|| {
        Finding::error("clock", "use_sim_time is true, and no time has come on /clock")
            .todo("start the simulator's or the bag's clock (ros2 bag play --clock), or set use_sim_time: false")
    })
}

async fn listen(index: usize, mut messages: Messages, inputs: Arc<InputCheck>, clock: RosClock) {
    while let Some(message) = messages.next().await {
        inputs.offer(index, Bytes::from(message), clock.now());
    }
}
