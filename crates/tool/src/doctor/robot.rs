//! Checks of a robot's parameters against its policy and a recording of its topics.

use std::path::{Path, PathBuf};

use super::ros::{PROFILES, uses_fast_dds};
use super::{Finding, Machine};
use vla_bags::BagReader;
use vla_engines::EngineKind;
use vla_policy::observation::{InputKind, InputSpec, Transport};
use vla_policy::{FrameSizes, PolicySpec};
use vla_runtime::check;
use vla_runtime::check::{InputCheck, InputPublisher, MessageSource, TopicPublishers};
use vla_runtime::parameters::{NodeName, Overrides, Parameters, PolicyShape, Problems, Settings, Value};

/// Size of Fast DDS's default shared memory segment.
const DEFAULT_SEGMENT: usize = 512 * 1024;

/// Input of the robot's checks.
#[derive(Clone, Debug)]
pub struct Robot {
    /// The robot's parameters.
    pub params: PathBuf,
    /// A recording of the robot's topics.
    pub bag: Option<PathBuf>,
}

pub(super) fn examine(machine: &Machine, policy: &Path, robot: &Robot) -> Vec<Finding> {
    const CHECK: &str = "parameters";
    // Without a policy there is nothing to compare, and the policy has its own finding.
    let Ok(spec) = PolicySpec::load(policy) else { return Vec::new() };
    let file = robot.params.display().to_string();
    let mut findings = Vec::new();
    let loaded =
        match load(&spec, &robot.params, &mut findings) {
            Ok(loaded) => loaded,
            Err(error) => {
                findings.extend(refusals(&error).into_iter().map(|refusal| {
                    Finding::error(CHECK, refusal).todo(format!("correct {file} (docs/parameters.md)"))
                }));
                return findings;
            }
        };
    let settings = loaded.settings();
    findings.push(Finding::ok(CHECK, format!("{file} fits the policy")));
    findings.extend(check::settings(settings));
    findings.extend(engine_kind(machine, settings));
    if settings.engine.kind == EngineKind::Cuda {
        let stages = spec.stages.iter().map(|stage| spec.stage_for(stage, EngineKind::Cuda));
        findings.extend(stages.filter_map(|stage| super::engines::operations(&stage, true)));
    }
    let recording = robot.bag.as_ref().map(|bag| listen(bag, &spec, settings));
    let largest = match &recording {
        Some(Ok((_, largest))) => Some(*largest),
        _ => None,
    };
    findings.extend(profile(machine, &settings.inputs, largest));
    match recording {
        None => {}
        Some(Ok((judged, _))) => findings.extend(judged),
        Some(Err(error)) => {
            findings.push(Finding::error("bag", format!("{error:#}")).todo("name a recording of the robot"))
        }
    }
    findings
}

fn load(spec: &PolicySpec, params: &Path, findings: &mut Vec<Finding>) -> anyhow::Result<Parameters> {
    let mut overrides = Overrides::new(NodeName::new("/", "vla_trt")?);
    overrides.add_file(params)?;
    findings.extend(
        overrides
            .warnings()
            .iter()
            .map(|warning| Finding::warning("parameters", warning).todo("correct the section's name")),
    );
    overrides.set("policy", Value::String(spec.dir.to_string_lossy().into_owned()));
    let mut parameters = Parameters::new(PolicyShape::load(spec)?, &overrides)?;
    findings.extend(parameters.ignored().map(|ignored| Finding::info("parameters", ignored.to_string())));
    parameters.read_limits_file()?;
    Ok(parameters)
}

/// One text per problem.
fn refusals(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.iter().map(ToString::to_string).collect(),
        None => vec![format!("{error:#}")],
    }
}

/// Whether the library of `engine.kind` can be opened.
fn engine_kind(machine: &Machine, settings: &Settings) -> Option<Finding> {
    let (word, library) = match settings.engine.kind {
        EngineKind::Tensorrt => ("tensorrt", machine.tensorrt.as_ref()),
        EngineKind::Cuda => ("cuda", machine.cuda_engines.as_ref()),
        EngineKind::Onnx => ("onnx", machine.onnx_runtime.as_ref()),
    };
    let unknown = library.err()?;
    Some(Finding::error("engine.kind", format!("{word}: {}", unknown.reason)).todo(&unknown.remedy))
}

/// Whether Fast DDS can transport raw frames. `largest`: size of the largest one in the bag, in bytes.
fn profile(machine: &Machine, inputs: &[InputSpec], largest: Option<usize>) -> Option<Finding> {
    const CHECK: &str = "fast dds profile";
    let raw = |input: &&InputSpec| input.kind == InputKind::Camera { transport: Transport::Raw };
    let cameras: Vec<&str> = inputs.iter().filter(raw).map(|input| input.name.as_str()).collect();
    // A missing profile is a finding of the middleware's check.
    if cameras.is_empty() || !uses_fast_dds(machine) || machine.variable(PROFILES).is_some() {
        return None;
    }
    let size = match largest {
        Some(bytes) if bytes < DEFAULT_SEGMENT => return None,
        Some(bytes) => format!("raw frames of {} KiB", bytes / 1024),
        None => "raw frames above 512 KiB".to_owned(),
    };
    let what = format!("{PROFILES} is not set: {size} get lost between processes ({})", cameras.join(", "));
    let remedy = format!("export {PROFILES}=<vla_trt>/config/fastdds_shm.xml for the node and the cameras' drivers");
    Some(Finding::warning(CHECK, what).todo(remedy))
}

/// Findings of the bag, and the size of its largest raw frame in bytes.
fn listen(bag: &Path, spec: &PolicySpec, settings: &Settings) -> anyhow::Result<(Vec<Finding>, usize)> {
    let reader = BagReader::open(bag)?;
    let node = NodeName::new("/", "vla_trt")?;
    let check = InputCheck::new(settings, FrameSizes::load(spec)?.into_check());
    let topics: Vec<TopicPublishers> =
        check.topics().iter().map(|input| topic(&reader, node.expand(&input.name), input.kind.type_name())).collect();
    // The bag's topic of each subscribed topic, if it has the input's type.
    let readable: Vec<(usize, usize)> = check
        .topics()
        .iter()
        .zip(&topics)
        .enumerate()
        .filter_map(|(index, (input, topic))| {
            let found = reader.find(&topic.name)?;
            (reader.topics().get(found)?.type_name == input.kind.type_name()).then_some((found, index))
        })
        .collect();
    let wanted: Vec<usize> = readable.iter().map(|(found, _)| *found).collect();
    for message in reader.messages(&wanted)? {
        let message = message?;
        for (_, index) in readable.iter().filter(|(found, _)| *found == message.topic) {
            check.offer(*index, message.data.clone(), message.log_time);
        }
    }
    Ok((check.judge(settings, &topics, MessageSource::Bag), check.largest_raw_frame()))
}

fn topic(bag: &BagReader, name: String, type_name: &str) -> TopicPublishers {
    let of_type = bag.topics().iter().filter(|topic| topic.type_name == type_name);
    let others = of_type.map(|topic| topic.name.clone()).filter(|other| *other != name).collect();
    let found = bag.topics().iter().filter(|topic| topic.name == name);
    let publisher =
        |topic: &vla_bags::Topic| InputPublisher { node: None, type_name: topic.type_name.clone(), offered: None };
    TopicPublishers { publishers: found.map(publisher).collect(), name, others }
}
