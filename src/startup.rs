//! From a checked command line to a running node.

use std::sync::Arc;

use super::args::{Arguments, ParameterArgument};
use super::call_queue::Intake;
use super::clock::RosClock;
use super::context::{self, DEFAULT_NAME};
use super::description_topic::DescriptionTopic;
use super::diagnostics::{self, Diagnostics};
use super::error::Error;
use super::graph::{Found, Graph, Layouts, Names};
use super::inference::{Inference, Shared};
use super::latest::Latest;
use super::lifecycle::{Lifecycle, LifecycleServices, Manager, MotionGate};
use super::logging::{Logging, Records};
use super::operator::{EnableTopic, Operator};
use super::outputs::{Outputs, Peers, command_topics};
use super::parameters::{Effects, ParameterServer, ParameterServices, set_level};
use super::phase::Phase;
use super::policy_files;
use super::publishers::Publishers;
use super::recording::NodeRecorder;
use super::report::Report;
use super::requests::Requests;
use super::rosout::Rosout;
use super::services::Services;
use super::shared_memory;
use super::shutdown::Running;
use super::shutdown_brake::ShutdownBrake;
use super::shutdown_reason::ShutdownReason;
use super::spin::Spin;
use super::stream::Stream;
use super::subscriptions::Subscriptions;
use super::task::{TaskEndpoints, TaskServer};
use super::threads::{StoppableThread, ThreadEnds};
use super::watchdog::{PollGap, WatchdogThread};
use r2r::Node;
use vla_policy::PolicySpec;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{NodeName, Overrides, PolicyShape, Remap, Value};

/// Starts the node. Parameters, diagnostics and services serve from here on; the policy loads on its own thread.
///
/// # Errors
/// The first problem with the arguments, the parameter files, the policy's description or the names.
pub(crate) fn start(arguments: &Arguments, logging: Logging, records: Records) -> Result<Running, Error> {
    // Twice: here for the messages, since rcl panics or stays silent about a file that it cannot use, and below for the node's
    // final name, which only rcl knows.
    overrides(arguments, NodeName::new("/", DEFAULT_NAME)?)?;
    // Before the node has its own segment.
    shared_memory::warn_of_stale();
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
    let mut parameters = vla_runtime::parameters::Parameters::new(shape.clone(), &given)?;
    parameters.read_limits_file()?;
    if let Some(ignored) = parameters.ignored() {
        tracing::warn!("{ignored}");
    }
    for warning in &parameters.settings().limit_warnings {
        tracing::warn!("{warning}");
    }
    set_level(&logging, &parameters.settings().log_level);
    Builder { node, policy, shape, parameters, logging }.build(arguments, records)
}

/// What the command line gives a node of this name.
pub(crate) fn overrides(arguments: &Arguments, node: NodeName) -> Result<Overrides, Error> {
    let remaps = Remap::rules(&node, &arguments.remaps);
    let mut overrides = Overrides::new(node).with_remaps(remaps);
    for given in &arguments.overrides {
        match given {
            ParameterArgument::File(path) => overrides.add_file(path)?,
            ParameterArgument::Assignment { node, name, value } => overrides.assign(node.as_deref(), name, value)?,
        }
    }
    Ok(overrides)
}

/// The node's name and namespace after remapping.
pub(crate) fn node_name(node: &Node) -> Result<NodeName, Error> {
    let unnamed = |source| Error::Node { name: DEFAULT_NAME.to_owned(), source };
    Ok(NodeName::new(&node.namespace().map_err(unnamed)?, &node.name().map_err(unnamed)?)?)
}

struct Builder {
    node: Node,
    policy: Arc<PolicySpec>,
    shape: PolicyShape,
    parameters: vla_runtime::parameters::Parameters,
    logging: Logging,
}

impl Builder {
    /// Creates every endpoint, then the threads and tasks.
    fn build(self, arguments: &Arguments, mut records: Records) -> Result<Running, Error> {
        let Self { mut node, policy, shape, parameters, logging } = self;
        let settings = parameters.settings().clone();
        let clock = RosClock::of(&mut node, settings.use_sim_time)?;
        let inputs = Inputs::new(settings.inputs.clone());
        let names = Names::new(node_name(&node)?, &arguments.remaps);
        let enable = EnableTopic::create(&mut node, &names, &settings)?;
        let inputs = Arc::new(if enable.is_some() { inputs.with_enable_switch() } else { inputs });
        inputs.set_instruction(&settings.instruction);
        let subscriptions = Subscriptions::create(&mut node, inputs.topics(), &names, &settings)?;
        let description = DescriptionTopic::create(&mut node, &settings)?;
        let mut intake = Intake::default();
        let services = Services::create(&mut node, &mut intake)?;
        let lifecycle_services = LifecycleServices::create(&mut node, &mut intake)?;
        let endpoints = TaskEndpoints::create(&mut node, &mut intake)?;
        let parameter_services = ParameterServices::create(&mut node, &mut intake)?;
        let diagnostics = Diagnostics::create(&mut node)?;
        let rosout = if arguments.rosout_logs { Some(Rosout::create(&mut node)?) } else { None };
        let autostart = settings.autostart;
        let settings = Arc::new(Latest::new(settings));
        let control = Arc::new(Latest::new(None));
        let peers = Peers { control: control.clone(), settings: settings.clone(), clock: clock.clone() };
        let recording = NodeRecorder::start(&settings.get(), inputs.topics(), &names)?;
        let (recorder, chunk_recorder, motion_recorder, recorder_thread) = match recording {
            Some(NodeRecorder { recorder, chunks, motion, thread }) => {
                (Some(recorder), Some(chunks), Some(motion), Some(thread))
            }
            None => (None, None, None, None),
        };
        let (outputs, output_tasks) = Outputs::create(&mut node, peers, motion_recorder)?;
        let publishers = Publishers::create(&mut node, outputs.clone(), chunk_recorder)?;
        let stream = Stream::create(&mut node, control.clone(), settings.clone(), clock.clone())?;
        let operator = Operator::new(control.clone(), settings.clone(), clock.clone(), outputs.clone());
        let operator = Arc::new(operator);
        let brake = Arc::new(ShutdownBrake {
            control: control.clone(),
            settings: settings.clone(),
            clock: clock.clone(),
            outputs: outputs.clone(),
        });
        let gate = MotionGate::new(control.clone(), operator.clone(), brake.clone(), clock.clone());
        let gate = Arc::new(gate);
        let lifecycle = Arc::new(Lifecycle::create(&mut node, clock.clone(), gate.clone())?);
        let requests = Arc::new(Requests::default());
        let effects = Effects {
            settings: settings.clone(),
            inputs: inputs.clone(),
            logging: logging.clone(),
            requests: requests.clone(),
        };
        let parameters = ParameterServer::create(&mut node, parameters, effects, clock.clone())?;
        let (layouts, found) = (Arc::new(Layouts::default()), Found::default());
        let fixed = settings.get();
        let with_qos = |topic: String| (fixed.qos_of(&topic), topic);
        let switch = fixed.enable_topic.as_ref().map(|topic| with_qos(names.resolve(topic)));
        let (commands, joints) = (command_topics(&fixed), fixed.joint_names());
        let graph = Graph::new(names, &commands, inputs.specs(), &fixed.qos, joints, layouts.clone(), found.clone());
        let graph = graph.with_enable(switch);
        let shared = Shared {
            settings: settings.clone(),
            inputs: inputs.clone(),
            requests: requests.clone(),
            phase: Arc::new(Latest::new(if autostart { Phase::Planning } else { Phase::Unloaded })),
            report: Arc::new(Latest::new(Report::default())),
            control: control.clone(),
            operator: operator.clone(),
            gate: gate.clone(),
            lifecycle: lifecycle.clone(),
            clock: clock.clone(),
            found: found.clone(),
        };
        let watch = WatchdogThread {
            control: control.clone(),
            settings: settings.clone(),
            inputs: inputs.clone(),
            clock: clock.clone(),
            outputs: outputs.clone(),
            poll_gap: Arc::new(PollGap::default()),
        };
        let tasks = TaskServer {
            endpoints,
            settings: settings.clone(),
            inputs: inputs.clone(),
            shape: shape.clone(),
            lifecycle: lifecycle.clone(),
            phase: shared.phase.clone(),
            report: shared.report.clone(),
            control: control.clone(),
            gate: gate.clone(),
            requests: requests.clone(),
            clock: clock.clone(),
            current: Arc::default(),
        };
        tasks.prepare();
        let current_task = tasks.current.clone();
        let manager = Manager::new(lifecycle.clone(), gate.clone(), requests.clone(), shared.phase.clone());
        let fault = Arc::new(ShutdownReason::default());
        let sources = diagnostics::Sources {
            clock: clock.clone(),
            phase: shared.phase.clone(),
            settings: settings.clone(),
            inputs: inputs.clone(),
            report: shared.report.clone(),
            control: control.clone(),
            operator: operator.clone(),
            logging: logging.clone(),
            policy: policy.clone(),
            fault: fault.clone(),
            poll_gap: watch.poll_gap.clone(),
            found: found.clone(),
            outputs,
            lifecycle: lifecycle.clone(),
            task: current_task.clone(),
            recorder: recorder.clone(),
        };
        tracing::info!("node {} runs policy {}", node.fully_qualified_name().unwrap_or_default(), policy.dir.display());

        // Nothing below needs the node itself.
        let (ends, ended) = ThreadEnds::channel();
        let spin = Spin::start(node, intake, graph, &ends)?;
        let parameters = Arc::new(parameters);
        parameters.announce();
        let server = tokio::spawn(tasks.run());
        let mut tasks = subscriptions.drain_into(&inputs, &clock, &layouts, recorder.as_ref());
        tasks.push(server);
        tasks.extend(services.serve(&requests, &shared.phase, &operator, &lifecycle, &manager.reloads()));
        tasks.extend(manager.serve(lifecycle_services, autostart));
        tasks.extend(parameter_services.serve(&parameters));
        tasks.extend(enable.map(|enable| tokio::spawn(enable.run(inputs.clone(), clock.clone()))));
        tasks.push(tokio::spawn(diagnostics.run(sources)));
        tasks.extend(output_tasks.start());
        tasks.push(tokio::spawn(policy_files::watch(shared.report.clone())));
        tasks.push(tokio::spawn(async move {
            match rosout {
                Some(rosout) => rosout.run(&mut records).await,
                None => while records.recv().await.is_some() {},
            }
        }));
        if let Some(description) = description {
            tasks.push(tokio::spawn(description.run(parameters.clone())));
        }
        let watch = StoppableThread::start("watchdog", &ends, move |stop| watch.run(stop))?;
        let stream = StoppableThread::start("stream", &ends, move |stop| stream.run(stop))?;
        let inference = Inference::start(policy.dir.clone(), shape, shared, publishers, &ends)?;
        let tasks = tasks.into_iter().collect();
        Ok(Running {
            spin,
            inference,
            watch,
            stream,
            ends: ended,
            brake,
            tasks,
            requests,
            logging,
            fault,
            gate,
            current_task,
            recorder: recorder_thread,
        })
    }
}
