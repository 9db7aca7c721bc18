//! The node's parts, and what they share.

use std::sync::Arc;

use super::endpoints::Endpoints;
use super::node_name;
use crate::args::Arguments;
use crate::clock::RosClock;
use crate::diagnostics;
use crate::error::Error;
use crate::graph::{Found, Graph, Layouts, Names};
use crate::inference::{Inference, Shared};
use crate::latest::Latest;
use crate::lifecycle::{Lifecycle, Manager, MotionGate};
use crate::logging::{Logging, Records};
use crate::operator::Operator;
use crate::outputs::{Outputs, Peers, command_topics};
use crate::parameters::{Effects, ParameterServer};
use crate::phase::Phase;
use crate::policy_files;
use crate::publishers::Publishers;
use crate::recording::NodeRecorder;
use crate::report::Report;
use crate::requests::Requests;
use crate::shutdown::Running;
use crate::shutdown_brake::ShutdownBrake;
use crate::shutdown_reason::ShutdownReason;
use crate::spin::Spin;
use crate::stream::Stream;
use crate::task::{TaskEndpoints, TaskServer};
use crate::threads::{StoppableThread, ThreadEnds};
use crate::watchdog::{PollGap, WatchdogThread};
use r2r::Node;
use vla_policy::PolicySpec;
use vla_policy::observation::Inputs;
use vla_runtime::parameters::{Parameters, PolicyShape, Settings};

/// A node without endpoints, and what it runs.
pub(super) struct Builder {
    pub(super) node: Node,
    pub(super) policy: Arc<PolicySpec>,
    pub(super) shape: PolicyShape,
    pub(super) parameters: Parameters,
    pub(super) logging: Logging,
}

impl Builder {
    /// Creates every endpoint, then the threads and tasks.
    ///
    /// # Errors
    /// The first endpoint that cannot be created, or thread that cannot be started.
    pub(super) fn build(self, arguments: &Arguments, mut records: Records) -> Result<Running, Error> {
        let Self { mut node, policy, shape, parameters, logging } = self;
        let settings = parameters.settings().clone();
        let clock = RosClock::of(&mut node, settings.use_sim_time)?;
        let names = Names::new(node_name(&node)?, &arguments.remaps);
        let (endpoints, inputs) = Endpoints::create(&mut node, &names, &settings, arguments.rosout_logs)?;
        let autostart = settings.autostart;
        let settings = Arc::new(Latest::new(settings));
        let (recorder, chunk_recorder, motion_recorder, recorder_thread) =
            match NodeRecorder::start(&settings.get(), inputs.topics(), &names)? {
                Some(NodeRecorder { recorder, chunks, motion, thread }) => {
                    (Some(recorder), Some(chunks), Some(motion), Some(thread))
                }
                None => (None, None, None, None),
            };
        let control = Arc::new(Latest::new(None));
        let peers = Peers { control, settings, clock };
        let (outputs, output_tasks) = Outputs::create(&mut node, peers.clone(), motion_recorder)?;
        let publishers = Publishers::create(&mut node, outputs.clone(), chunk_recorder)?;
        let Peers { control, settings, clock } = peers.clone();
        let stream = Stream::create(&mut node, control, settings, clock)?;
        let (shared, brake) = shared(&mut node, peers, inputs, &outputs, autostart)?;
        let effects = effects(&shared, logging.clone());
        let parameters = ParameterServer::create(&mut node, parameters, effects, shared.clock.clone())?;
        let layouts = Arc::new(Layouts::default());
        let graph = graph(names, &shared, &layouts);
        let watch = watchdog(&shared, outputs.clone());
        let tasks = task_server(&shared, endpoints.task, shape.clone());
        tasks.prepare();
        let current_task = tasks.current.clone();
        let Shared { lifecycle, gate, requests, phase, .. } = shared.clone();
        let manager = Manager::new(lifecycle, gate.clone(), requests.clone(), phase);
        let fault = Arc::new(ShutdownReason::default());
        let sources = diagnostics::Sources {
            logging: logging.clone(),
            policy: policy.clone(),
            fault: fault.clone(),
            poll_gap: watch.poll_gap.clone(),
            outputs,
            task: current_task.clone(),
            recorder: recorder.clone(),
            shared: shared.clone(),
        };
        tracing::info!("node {} runs policy {}", node.fully_qualified_name().unwrap_or_default(), policy.dir.display());

        // Nothing below needs the node itself.
        let (ends, ended) = ThreadEnds::channel();
        let spin = Spin::start(node, endpoints.intake, graph, &ends)?;
        let parameters = Arc::new(parameters);
        parameters.announce();
        let server = tokio::spawn(tasks.run());
        let Shared { inputs, clock, phase, operator, lifecycle, report, .. } = shared.clone();
        let mut tasks = endpoints.subscriptions.drain_into(&inputs, &clock, &layouts, recorder.as_ref());
        tasks.push(server);
        tasks.extend(endpoints.services.serve(&requests, &phase, &operator, &lifecycle, &manager.reloads()));
        tasks.extend(manager.serve(endpoints.lifecycle, autostart));
        tasks.extend(endpoints.parameters.serve(&parameters));
        tasks.extend(endpoints.enable.map(|enable| tokio::spawn(enable.run(inputs, clock))));
        tasks.push(tokio::spawn(endpoints.diagnostics.run(sources)));
        tasks.extend(output_tasks.start());
        tasks.push(tokio::spawn(policy_files::watch(report)));
        let rosout = endpoints.rosout;
        tasks.push(tokio::spawn(async move {
            match rosout {
                Some(rosout) => rosout.run(&mut records).await,
                None => while records.recv().await.is_some() {},
            }
        }));
        tasks.extend(endpoints.description.map(|description| tokio::spawn(description.run(parameters.clone()))));
        let watch = StoppableThread::start("watchdog", &ends, move |stop| watch.run(stop))?;
        let stream = StoppableThread::start("stream", &ends, move |stop| stream.run(stop))?;
        let inference = Inference::start(policy.dir.clone(), shape, shared, publishers, &ends)?;
        Ok(Running {
            spin,
            inference,
            watch,
            stream,
            ends: ended,
            brake,
            tasks: tasks.into_iter().collect(),
            requests,
            logging,
            fault,
            gate,
            current_task,
            recorder: recorder_thread,
        })
    }
}

/// What the threads and tasks share, and the brake for the end of the node.
fn shared(
    node: &mut Node,
    peers: Peers,
    inputs: Arc<Inputs>,
    outputs: &Outputs,
    autostart: bool,
) -> Result<(Shared, Arc<ShutdownBrake>), Error> {
    let Peers { control, settings, clock } = peers;
    let operator = Operator::new(control.clone(), settings.clone(), clock.clone(), outputs.clone());
    let operator = Arc::new(operator);
    let brake = Arc::new(ShutdownBrake {
        control: control.clone(),
        settings: settings.clone(),
        clock: clock.clone(),
        outputs: outputs.clone(),
    });
    let gate = Arc::new(MotionGate::new(control.clone(), operator.clone(), brake.clone(), clock.clone()));
    let lifecycle = Arc::new(Lifecycle::create(node, clock.clone(), gate.clone())?);
    let shared = Shared {
        settings,
        inputs,
        requests: Arc::new(Requests::default()),
        phase: Arc::new(Latest::new(if autostart { Phase::Planning } else { Phase::Unloaded })),
        report: Arc::new(Latest::new(Report::default())),
        control,
        operator,
        gate,
        lifecycle,
        clock,
        found: Found::default(),
    };
    Ok((shared, brake))
}

/// What a change of parameters acts on.
fn effects(shared: &Shared, logging: Logging) -> Effects {
    let Shared { settings, inputs, requests, .. } = shared.clone();
    Effects { settings, inputs, logging, requests }
}

/// Looks at the graph of the topics that the settings name.
fn graph(names: Names, shared: &Shared, layouts: &Arc<Layouts>) -> Graph {
    let fixed: Arc<Settings> = shared.settings.get();
    let with_qos = |topic: String| (fixed.qos_of(&topic), topic);
    let switch = fixed.enable_topic.as_ref().map(|topic| with_qos(names.resolve(topic)));
    let (commands, joints) = (command_topics(&fixed), fixed.joint_names());
    let (layouts, found) = (layouts.clone(), shared.found.clone());
    Graph::new(names, &commands, shared.inputs.specs(), &fixed.qos, joints, layouts, found).with_enable(switch)
}

fn watchdog(shared: &Shared, outputs: Outputs) -> WatchdogThread {
    let Shared { control, settings, inputs, clock, .. } = shared.clone();
    WatchdogThread { control, settings, inputs, clock, outputs, poll_gap: Arc::new(PollGap::default()) }
}

fn task_server(shared: &Shared, endpoints: TaskEndpoints, shape: PolicyShape) -> TaskServer {
    let Shared { settings, inputs, requests, phase, report, control, gate, lifecycle, clock, .. } = shared.clone();
    TaskServer {
        endpoints,
        settings,
        inputs,
        shape,
        lifecycle,
        phase,
        report,
        control,
        gate,
        requests,
        clock,
        current: Arc::default(),
    }
}
