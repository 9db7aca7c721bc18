//! From a checked command line to a running node.

use std::sync::Arc;

use r2r::Node;
use tokio::sync::mpsc;

use super::args::{Arguments, Override};
use super::clock::RosClock;
use super::context::{self, DEFAULT_NAME};
use super::description::{Described, Description};
use super::diagnostics::{self, Diagnostics};
use super::error::Error;
use super::inference::{Inference, Shared};
use super::latest::Latest;
use super::logging::{Logging, Record};
use super::parameters::{Effects, ParameterServices, Parameters, set_level};
use super::phase::Phase;
use super::policy_files;
use super::publishers::Publishers;
use super::report::Report;
use super::requests::Requests;
use super::rosout::Rosout;
use super::services::Services;
use super::shutdown::Running;
use super::spin::Spin;
use super::stream::Stream;
use super::subscriptions::Subscriptions;
use super::trajectory::Trajectories;
use super::watch::{Watch, Worker};
use crate::observation::Inputs;
use crate::parameters::{self as rules, NodeName, Overrides, PolicyShape, Value};
use crate::policy::PolicySpec;

/// Starts the node. Parameters, diagnostics and services serve from here on; the policy loads on its own thread.
///
/// # Errors
/// Whatever is wrong with the arguments, the parameter files, the policy's description or the names.
pub fn start(arguments: &Arguments, logging: Logging, records: mpsc::Receiver<Record>) -> Result<Running, Error> {
    // Twice: here for the words, since rcl panics or is silent over a file it does not like, and below for the node
    // whose name only rcl knows.
    overrides(arguments, NodeName::new("/", DEFAULT_NAME)?)?;
    let node = context::create_node()?;
    logging.set_name(node.logger());
    let mut given = overrides(arguments, node_name(&node)?)?;
    for warning in given.warnings() {
        tracing::warn!("{warning}");
    }
    if let (None, Some(level)) = (given.get("log_level"), arguments.log_level(node.logger())) {
        given.set("log_level", Value::String(level.name().to_owned()));
    }
    let policy = Arc::new(PolicySpec::load(&given.policy()?)?);
    let shape = PolicyShape::load(&policy)?;
    let parameters = rules::Parameters::new(shape.clone(), &given)?;
    set_level(&logging, &parameters.settings().log_level);
    Builder { node, policy, shape, parameters, logging }.build(arguments, records)
}

fn overrides(arguments: &Arguments, node: NodeName) -> Result<Overrides, Error> {
    let mut overrides = Overrides::new(node);
    for given in &arguments.overrides {
        match given {
            Override::File(path) => overrides.add_file(path)?,
            Override::Assignment { node, name, value } => overrides.assign(node.as_deref(), name, value)?,
        }
    }
    Ok(overrides)
}

fn node_name(node: &Node) -> Result<NodeName, Error> {
    let unnamed = |source| Error::Node { name: DEFAULT_NAME.to_owned(), source };
    Ok(NodeName::new(&node.namespace().map_err(unnamed)?, &node.name().map_err(unnamed)?)?)
}

struct Builder {
    node: Node,
    policy: Arc<PolicySpec>,
    shape: PolicyShape,
    parameters: rules::Parameters,
    logging: Logging,
}

impl Builder {
    /// Creates every endpoint, then the threads and tasks.
    fn build(self, arguments: &Arguments, mut records: mpsc::Receiver<Record>) -> Result<Running, Error> {
        let Self { mut node, policy, shape, parameters, logging } = self;
        let settings = parameters.settings().clone();
        let clock = RosClock::of(&mut node, settings.use_sim_time)?;
        let inputs = Arc::new(Inputs::new(settings.inputs.clone()).with_finite_joints(settings.joint_names()));
        inputs.set_instruction(&settings.instruction);
        let subscriptions = Subscriptions::create(&mut node, &settings.inputs)?;
        let trajectories = Trajectories::create(&mut node)?;
        let publishers = Publishers::create(&mut node, trajectories.clone())?;
        let description = Description::create(&mut node, &settings)?;
        let services = Services::create(&mut node)?;
        let parameter_services = ParameterServices::create(&mut node)?;
        let diagnostics = Diagnostics::create(&mut node)?;
        let rosout = if arguments.rosout_logs { Some(Rosout::create(&mut node)?) } else { None };
        let kind = settings.command.kind;
        let settings = Arc::new(Latest::new(settings));
        let control = Arc::new(Latest::new(None));
        let stream = Stream::create(&mut node, kind, control.clone(), settings.clone(), clock.clone())?;
        let requests = Arc::new(Requests::default());
        let effects = Effects {
            settings: settings.clone(),
            inputs: inputs.clone(),
            logging: logging.clone(),
            requests: requests.clone(),
        };
        let parameters = Parameters::create(&mut node, parameters, effects, clock.clone())?;
        let shared = Shared {
            settings: settings.clone(),
            inputs: inputs.clone(),
            requests: requests.clone(),
            phase: Arc::new(Latest::new(Phase::Planning)),
            report: Arc::new(Latest::new(Report::default())),
            control: control.clone(),
            described: Described::default(),
            clock: clock.clone(),
        };
        let watch = Watch {
            control: control.clone(),
            settings: settings.clone(),
            inputs: inputs.clone(),
            phase: shared.phase.clone(),
            clock: clock.clone(),
            trajectories,
        };
        let sources = diagnostics::Sources {
            clock: clock.clone(),
            phase: shared.phase.clone(),
            settings: settings.clone(),
            inputs: inputs.clone(),
            report: shared.report.clone(),
            control: control.clone(),
            logging: logging.clone(),
            policy: policy.clone(),
        };
        tracing::info!("node {} runs policy {}", node.fully_qualified_name().unwrap_or_default(), policy.dir.display());

        // Nothing below needs the node itself.
        let spin = Spin::start(node)?;
        let parameters = Arc::new(parameters);
        parameters.announce();
        let mut tasks = subscriptions.drain_into(&inputs, &clock);
        tasks.extend(services.serve(&requests, &shared.phase));
        tasks.extend(parameter_services.serve(&parameters));
        tasks.push(tokio::spawn(diagnostics.run(sources)));
        tasks.push(tokio::spawn(policy_files::watch(shared.report.clone())));
        tasks.push(tokio::spawn(async move {
            match rosout {
                Some(rosout) => rosout.run(&mut records).await,
                None => while records.recv().await.is_some() {},
            }
        }));
        if let Some(description) = description {
            tasks.push(tokio::spawn(description.run(shared.described.clone(), control.clone(), settings)));
        }
        let watch = Worker::start("watchdog", move |told| watch.run(told))?;
        let stream = Worker::start("stream", move |told| stream.run(told))?;
        let inference = Inference::start(policy.dir.clone(), shape, shared, publishers)?;
        Ok(Running { spin, inference, watch, stream, control, clock, tasks, requests, logging })
    }
}
