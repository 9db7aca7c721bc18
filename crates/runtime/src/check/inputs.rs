//! The inputs of a policy as they arrive, compared with what the parameters expect.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::joints::JointsSeen;
use super::{Finding, Severity, joints};
use crate::parameters::{DeliveryQos, Reliability, Settings};
use vla_base::time::{Span, Stamp};
use vla_messages::JointStateView;
use vla_policy::observation::{
    Fault, FrameCheck, InputKind, InputRule, InputSpec, InputStatistics, InputTopic, Inputs, StampSource, Transport,
};

const CHECK: &str = "input";
/// Messages that Fast DDS's default shared memory does not hold.
const LARGE: usize = 512 * 1024;
/// Topics of the right type that a remedy lists at most.
const LISTED: usize = 6;
/// Names the profile of Fast DDS.
const PROFILES: &str = "FASTRTPS_DEFAULT_PROFILES_FILE";
/// Why large images get lost.
const PROFILE: &str =
    "export FASTRTPS_DEFAULT_PROFILES_FILE=<vla_trt>/config/fastdds_shm.xml for the camera's driver and the node";

/// Where the messages come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageSource {
    /// The topics of a running ROS graph.
    Graph {
        /// ROS time at the end.
        now: Stamp,
        /// How long was listened.
        listened: Span,
    },
    /// A recorded bag.
    Bag,
}

/// A publisher of a topic. A bag has one for each message type of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputPublisher {
    /// Its node with namespace; `None` in a bag.
    pub node: Option<String>,
    /// Its message type.
    pub type_name: String,
    /// Its QoS; `None` in a bag.
    pub offered: Option<DeliveryQos>,
}

/// The topic of an input, as the graph or the bag has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicPublishers {
    /// Its full name.
    pub name: String,
    /// Its publishers; empty when there is no such topic.
    pub publishers: Vec<InputPublisher>,
    /// Other topics of the input's message type.
    pub others: Vec<String>,
}

/// Listens to the inputs of a policy and judges what arrived.
pub struct InputCheck {
    inputs: Inputs,
    arrivals: Vec<Mutex<Arrivals>>,
}

/// What arrived on one topic.
#[derive(Default)]
struct Arrivals {
    messages: u64,
    /// Bytes of the largest message.
    largest: usize,
    /// Receive times of the first and the last message.
    span: Option<(Stamp, Stamp)>,
    /// Names in joint states.
    joints: BTreeSet<String>,
}

impl Arrivals {
    /// Mean time between messages; `None` for fewer than two.
    fn period(&self) -> Option<Span> {
        let (first, last) = self.span?;
        let gaps = i64::try_from(self.messages.checked_sub(1)?).ok().filter(|gaps| *gaps > 0)?;
        Some(Span::from_nanos((last - first).nanos() / gaps)).filter(|period| *period > Span::ZERO)
    }
}

impl InputCheck {
    /// For a node with these settings whose policy takes frames that `frames` accepts.
    pub fn new(settings: &Settings, frames: Arc<FrameCheck>) -> Self {
        let inputs = Inputs::new(settings.inputs.clone());
        inputs.set_frame_check(frames);
        let arrivals = inputs.topics().iter().map(|_| Mutex::default()).collect();
        Self { inputs, arrivals }
    }

    /// The topics of the inputs, each once: the order of [`InputCheck::offer`] and [`InputCheck::judge`].
    pub fn topics(&self) -> &[InputTopic] {
        self.inputs.topics()
    }

    /// Takes one serialized message of the topic `index` of [`InputCheck::topics`] that was received at `received`.
    pub fn offer(&self, index: usize, bytes: Bytes, received: Stamp) {
        let Some(mut arrivals) = self.arrivals.get(index).map(lock) else { return };
        arrivals.messages += 1;
        arrivals.largest = arrivals.largest.max(bytes.len());
        let first = arrivals.span.map_or(received, |(first, _)| first);
        arrivals.span = Some((first, received));
        let is_joints = self.topics().get(index).is_some_and(|topic| topic.kind == InputKind::Joints);
        if let (true, Ok(view)) = (is_joints, JointStateView::parse(&bytes)) {
            for name in view.names() {
                if !arrivals.joints.contains(name) {
                    arrivals.joints.insert(name.to_owned());
                }
            }
        }
        drop(arrivals);
        // A refused message is counted with its reason: see `judge`.
        self.inputs.offer(index, bytes, received).ok();
    }

    /// Bytes of the largest raw camera frame.
    pub fn largest_raw_frame(&self) -> usize {
        let raw = |topic: &InputTopic| topic.kind == InputKind::Camera { transport: Transport::Raw };
        let of_raw = self.topics().iter().zip(&self.arrivals).filter(|(topic, _)| raw(topic));
        of_raw.map(|(_, arrivals)| lock(arrivals).largest).max().unwrap_or(0)
    }

    /// Findings about every input, in their order, then about the joints. `topics` has one entry for each
    /// of [`InputCheck::topics`].
    pub fn judge(&self, settings: &Settings, topics: &[TopicPublishers], source: MessageSource) -> Vec<Finding> {
        let last = self.arrivals.iter().filter_map(|arrivals| lock(arrivals).span).map(|(_, last)| last).max();
        let now = match source {
            MessageSource::Graph { now, .. } => now,
            MessageSource::Bag => last.unwrap_or_default(),
        };
        let statistics = self.inputs.statistics(now);
        let mut findings = Vec::new();
        let mut joints_seen = JointsSeen::default();
        for ((inputs_topic, topic), arrivals) in self.topics().iter().zip(topics).zip(&self.arrivals) {
            let of_first = inputs_topic.inputs.first().and_then(|&index| {
                Some((settings.inputs.get(index)?, statistics.get(index)?, settings.rules.of(index)))
            });
            let Some((input, statistics, rule)) = of_first else { continue };
            let arrivals = lock(arrivals);
            if let Some(at) = input.topics.iter().position(|name| *name == *inputs_topic.name) {
                joints_seen.add(input, at, arrivals.joints.iter());
            }
            let is_static = inputs_topic.is_static;
            let look = Look { input, topic, is_static, arrivals: &arrivals, statistics, rule, source, settings };
            findings.extend(look.findings().into_iter().map(|finding| finding.of(&input.name)));
        }
        findings.extend(self.chains(settings, now));
        findings.extend(joints::judge(settings, &joints_seen));
        findings
    }
}

impl InputCheck {
    /// Poses whose frames are not in the tree of transforms, or not joined in it.
    fn chains(&self, settings: &Settings, now: Stamp) -> Vec<Finding> {
        let is_transform =
            |name: &str| settings.inputs.iter().any(|input| input.kind == InputKind::Transform && input.name == name);
        let broken = self.inputs.faults(now, &settings.rules).into_iter().filter(|(breach, _)| {
            matches!(breach.fault, Fault::Missing | Fault::Disconnected) && is_transform(&breach.input)
        });
        let remedy = "set frame_id and child_frame_id of the pose, or start the publisher of the missing transform";
        broken.map(|(breach, _)| Finding::error(CHECK, breach.to_string()).todo(remedy).of(&breach.input)).collect()
    }
}

/// One input with everything that is known of it.
struct Look<'a> {
    input: &'a InputSpec,
    topic: &'a TopicPublishers,
    /// Its transforms are static: they come once, and need not come.
    is_static: bool,
    arrivals: &'a Arrivals,
    statistics: &'a InputStatistics,
    rule: InputRule,
    source: MessageSource,
    settings: &'a Settings,
}

impl Look<'_> {
    fn findings(&self) -> Vec<Finding> {
        let expected = self.input.kind.type_name();
        let (usable, other): (Vec<&InputPublisher>, Vec<&InputPublisher>) =
            self.topic.publishers.iter().partition(|publisher| publisher.type_name == expected);
        let mut findings = Vec::new();
        if !other.is_empty() {
            findings.push(self.other_type(&other));
        }
        if usable.is_empty() {
            findings.extend(other.is_empty().then(|| self.no_publisher()));
            return findings;
        }
        let unheard = self.incompatible(&usable);
        let explained = unheard.is_some();
        findings.extend(unheard);
        if self.is_static {
            findings.extend(self.refused());
            findings.extend(findings.is_empty().then(|| self.arrives(&usable)));
            return findings;
        }
        if self.input.kind == InputKind::Instruction {
            findings.extend(findings.is_empty().then(|| self.arrives(&usable)));
            return findings;
        }
        if usable.len() > 1 && !self.input.kind.is_merged() {
            let what = format!("{} has {} publishers ({})", self.topic.name, usable.len(), nodes(&usable));
            findings.push(Finding::warning(CHECK, what).todo("stop all but one: their messages are mixed"));
        }
        if self.arrivals.messages == 0 {
            findings.extend((!explained).then(|| self.silent(&usable)));
            return findings;
        }
        findings.extend(self.stamped_by_arrival());
        findings.extend(self.refused());
        findings.extend(self.rate());
        findings.extend(self.age());
        findings.extend(self.large_frames());
        let bad = findings.iter().any(|finding| finding.severity > Severity::Info);
        findings.extend((!bad).then(|| self.arrives(&usable)));
        findings
    }

    fn arrives(&self, publishers: &[&InputPublisher]) -> Finding {
        let mut text = format!("{}: {}{}", self.topic.name, self.input.kind.type_name(), from(publishers));
        if let Some(period) = self.arrivals.period().filter(|_| self.input.kind != InputKind::Instruction) {
            text += &format!(", {:.1} Hz", 1.0 / period.seconds());
        }
        if self.arrivals.largest >= LARGE / 8 {
            text += &format!(", {} KiB a message", self.arrivals.largest / 1024);
        }
        Finding::ok(CHECK, text)
    }

    fn no_publisher(&self) -> Finding {
        let (name, expected, parameter) = (&self.topic.name, self.input.kind.type_name(), self.input.topic_parameter());
        let what = match self.source {
            MessageSource::Graph { .. } => format!("{name} ({expected}) has no publisher"),
            MessageSource::Bag => format!("{name} ({expected}) is not in the bag"),
        };
        if self.is_static {
            return Finding::ok(CHECK, format!("{name} ({expected}) has no publisher: no transform is static"));
        }
        if self.input.kind == InputKind::Instruction {
            return if self.settings.instruction.trim().is_empty() {
                Finding::warning(CHECK, format!("{what}, and the parameter 'instruction' is empty"))
                    .todo("set the parameter 'instruction', or publish on the topic: inference waits for one of both")
            } else {
                Finding::ok(CHECK, format!("'{}' (parameter 'instruction')", self.settings.instruction))
            };
        }
        let others: Vec<&str> = self.topic.others.iter().map(String::as_str).take(LISTED).collect();
        let others = match others.as_slice() {
            [] => "no topic has this type".to_owned(),
            names => format!("topics of this type: {}", names.join(", ")),
        };
        let start = if self.source == MessageSource::Bag { "" } else { "start its driver, or " };
        Finding::error(CHECK, what).todo(format!("{start}set {parameter}; {others}"))
    }

    fn other_type(&self, publishers: &[&InputPublisher]) -> Finding {
        let types: BTreeSet<&str> = publishers.iter().map(|publisher| publisher.type_name.as_str()).collect();
        let types: Vec<&str> = types.into_iter().collect();
        let (name, expected, parameter) = (&self.topic.name, self.input.kind.type_name(), self.input.parameter());
        let what = format!("{name}: expected {expected}, found {}{}", types.join(", "), from(publishers));
        let other = match self.input.kind {
            InputKind::Camera { transport: Transport::Raw } => Some((Transport::Compressed, "compressed")),
            InputKind::Camera { transport: Transport::Compressed } => Some((Transport::Raw, "raw")),
            _ => None,
        };
        let fits = |(transport, _): &(Transport, &str)| {
            types.contains(&InputKind::Camera { transport: *transport }.type_name())
        };
        let remedy = match other.filter(fits) {
            Some((_, word)) => format!("set {parameter}.transport: {word}, or {parameter}.topic"),
            None => format!("set {} to a topic of the expected type", self.input.topic_parameter()),
        };
        Finding::error(CHECK, what).todo(remedy)
    }

    /// Publishers that the middleware does not connect with the node's subscription.
    fn incompatible(&self, publishers: &[&InputPublisher]) -> Option<Finding> {
        let requested = self.settings.qos.get(&self.topic.name)?.required(self.input.kind);
        let unheard = publishers.iter().filter_map(|publisher| {
            let offered = publisher.offered.filter(|offered| !requested.accepts(*offered))?;
            Some(format!("{} (offered: {offered})", publisher.node.as_deref().unwrap_or_default()))
        });
        let unheard: Vec<String> = unheard.collect();
        let name = &self.topic.name;
        let what = format!("{name} is not received from {}: the node requests {requested}", unheard.join(", "));
        let remedy =
            format!("publish with these policies, or set qos_overrides.{name}.subscription to what is offered");
        (!unheard.is_empty()).then(|| Finding::error(CHECK, what).todo(remedy))
    }

    fn silent(&self, publishers: &[&InputPublisher]) -> Finding {
        let name = &self.topic.name;
        match self.source {
            MessageSource::Bag => Finding::error(CHECK, format!("{name} has no message in the bag"))
                .todo(format!("record it again, or set {}", self.input.topic_parameter())),
            MessageSource::Graph { listened, .. } => {
                let what = format!("no message on {name} in {:.0} s{}", listened.seconds(), from(publishers));
                Finding::error(CHECK, what).todo(match self.input.kind {
                    InputKind::Camera { transport: Transport::Raw } => PROFILE,
                    _ => "check that its publisher runs (ros2 topic hz)",
                })
            }
        }
    }

    /// Ages then start too late.
    fn stamped_by_arrival(&self) -> Option<Finding> {
        (self.input.stamp_from == StampSource::Arrival).then(|| {
            let (name, parameter) = (&self.topic.name, self.input.parameter());
            Finding::info(
                CHECK,
                format!(
                    "{name}: ages count from arrival ({parameter}.stamp); the time from capture to arrival is not seen"
                ),
            )
        })
    }

    fn refused(&self) -> Option<Finding> {
        let (refused, all) = (self.statistics.refused, self.statistics.received);
        let reason = self.statistics.last_refusal.as_deref().filter(|_| refused > 0)?;
        let what = format!("{refused} of {all} messages on {} are refused: {reason}", self.topic.name);
        let finding = if refused == all { Finding::error(CHECK, what) } else { Finding::warning(CHECK, what) };
        Some(finding.todo("correct the messages at their source, or the parameters of the input"))
    }

    fn rate(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let name = &self.topic.name;
        let is_camera = matches!(self.input.kind, InputKind::Camera { .. });
        if let Some(rate) = self.statistics.rate.filter(|rate| rate.is_losing() && is_camera) {
            let what = format!("{name}: {:.1} of {:.1} Hz arrive", rate.arrival_hz, rate.source_hz);
            findings.push(Finding::warning(CHECK, what).todo(PROFILE));
        }
        if let Some(period) = self.arrivals.period().filter(|period| *period > self.rule.max_age) {
            let (period, allowed) = (period.seconds() * 1e3, self.rule.max_age.seconds() * 1e3);
            let what = format!("{name}: a message every {period:.0} ms, and older than {allowed:.0} ms is too old");
            let remedy = format!("set {}.max_age_ms to about {:.0}", self.input.parameter(), 2.0 * period);
            findings.push(Finding::warning(CHECK, what).todo(remedy));
        }
        findings
    }

    /// In a graph: raw frames that Fast DDS's default shared memory does not hold, and no profile is set. Listening alone rarely loses
    /// one; a node that also infers does.
    fn large_frames(&self) -> Option<Finding> {
        let raw = self.input.kind == InputKind::Camera { transport: Transport::Raw };
        let in_graph = matches!(self.source, MessageSource::Graph { .. });
        let large = raw && in_graph && self.arrivals.largest >= LARGE && std::env::var_os(PROFILES).is_none();
        large.then(|| {
            let size = self.arrivals.largest / 1024;
            let what = format!("{}: frames of {size} KiB, and {PROFILES} is not set", self.topic.name);
            Finding::warning(CHECK, what).todo(PROFILE)
        })
    }

    /// In a graph: whether the newest stamp is one of now.
    fn age(&self) -> Option<Finding> {
        let MessageSource::Graph { now, .. } = self.source else { return None };
        let (name, parameter) = (&self.topic.name, self.input.parameter());
        if self.statistics.future > 0 {
            let what = format!("{name}: {} stamps are ahead of this machine's clock", self.statistics.future);
            return Some(Finding::warning(CHECK, what).todo("synchronise the clocks (chrony), or set use_sim_time"));
        }
        let age = self.statistics.age_at(now).filter(|age| *age > self.rule.max_age)?;
        let what = format!(
            "{name}: the newest sample is {:.0} ms old by its stamp, allowed are {:.0} ms",
            age.seconds() * 1e3,
            self.rule.max_age.seconds() * 1e3
        );
        let zero = self.statistics.last_stamp == Some(Stamp::default()) && self.input.stamp_from == StampSource::Header;
        Some(Finding::error(CHECK, what).todo(if zero {
            format!("the driver sets no stamp: set {parameter}.stamp: arrival")
        } else {
            format!("check that its source still runs and that the clocks agree, or raise {parameter}.max_age_ms")
        }))
    }
}

fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// ` from /camera (best effort)`, or nothing for a bag.
fn from(publishers: &[&InputPublisher]) -> String {
    let nodes = nodes(publishers);
    if nodes.is_empty() { nodes } else { format!(" from {nodes}") }
}

fn nodes(publishers: &[&InputPublisher]) -> String {
    let one = |publisher: &&InputPublisher| {
        let node = publisher.node.as_ref()?;
        Some(match publisher.offered.map(|offered| offered.reliability) {
            Some(Reliability::Reliable) => format!("{node} (reliable)"),
            Some(Reliability::BestEffort) => format!("{node} (best effort)"),
            Some(Reliability::SystemDefault) | None => node.clone(),
        })
    };
    publishers.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}
