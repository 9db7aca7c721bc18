//! Checks of a policy on this machine: networks, verdict on each engine, memory.

use std::path::Path;

use super::{Finding, Machine, memory};
use vla_engines::memory::mib;
use vla_engines::onnx::Network;
use vla_engines::provenance;
use vla_engines::provenance::{Difference, Provenance, ProvenanceStatus, Reason, Rejection};
use vla_engines::{EngineKind, Stage, pipeline};
use vla_policy::PolicySpec;
use vla_runtime::remedies;
use vla_runtime::remedies::command;

pub(super) fn examine(machine: &Machine, dir: &Path) -> Vec<Finding> {
    let spec = match PolicySpec::load(dir) {
        Ok(spec) => spec,
        Err(error) => {
            let remedy = "mend what it names, or name another folder; vla-trt export writes a whole one";
            return vec![Finding::error("policy", error.to_string()).todo(remedy)];
        }
    };
    let stages = spec.engine_stages();
    let mut findings = vec![Finding::ok("policy", format!("{}: {} stages", spec.name, stages.len()))];
    for stage in &stages {
        findings.extend(network(&spec, stage));
        findings.extend(quantized(machine, stage));
        findings.push(engine(machine, dir, stage));
        findings.extend(operations(&spec.stage_for(stage, EngineKind::Cuda), false));
    }
    findings.extend(machine.is_unified().then(|| fits(machine, dir, &stages)));
    findings
}

/// An invalid network, or one whose external data is missing or cut.
fn network(spec: &PolicySpec, stage: &Stage) -> Option<Finding> {
    let remedy = match spec.supplied.get(&stage.name) {
        Some(what) => format!("put {what} at {}", stage.onnx.display()),
        None => "export the policy again, or copy the whole folder".to_owned(),
    };
    let finding = match Network::open(&stage.onnx) {
        Err(error) => Finding::error("network", error.to_string()),
        Ok(network) => {
            let problems: Vec<String> = network.data_problems().iter().map(ToString::to_string).collect();
            if problems.is_empty() {
                return None;
            }
            Finding::error("network", problems.join("; "))
        }
    };
    Some(finding.of(&stage.name).todo(remedy))
}

/// Whether the TensorRT of this machine builds a network that quantises itself.
fn quantized(machine: &Machine, stage: &Stage) -> Option<Finding> {
    const CHECK: &str = "quantized";
    let network = Network::open(&stage.onnx).ok().filter(|network| network.is_quantized())?;
    let weights = network.product_weights();
    let share = format!("{:.0} % of the weights of products are quantised", 100.0 * weights.quantized_share());
    let finding = match &machine.tensorrt {
        Err(_) => Finding::info(CHECK, format!("{share}; which TensorRT will build it is not known here")),
        Ok(version) => match vla_engines::quantized::check(&network, version).as_slice() {
            [] => Finding::ok(CHECK, format!("{share}, in a form that TensorRT {version} builds")),
            unfit => {
                let text = unfit.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let worst = unfit.iter().find(|unfit| unfit.is_refused());
                let todo = vla_builder::quantized::remedy(worst.unwrap_or(&unfit[0]));
                if worst.is_some() { Finding::error(CHECK, text) } else { Finding::warning(CHECK, text) }.todo(todo)
            }
        },
    };
    Some(finding.of(&stage.name))
}

/// Whether the list of operations beside the network can be run (engine kind cuda). Without `required`, a policy may have none.
pub(super) fn operations(stage: &Stage, required: bool) -> Option<Finding> {
    const CHECK: &str = "operations";
    if !required && !stage.file.is_file() {
        return None;
    }
    let finding = match provenance::operations(stage) {
        Ok((program, _)) => {
            let count = program.operations.len();
            let quantized = match provenance::eight_bit_weights(stage, &program).len() {
                0 if stage.precision.contains("int8") => ", none with weights for int8".to_owned(),
                0 => String::new(),
                weights => format!(", {weights} weights in 8 bits"),
            };
            Finding::ok(CHECK, format!("{}: {count} operations, of this network{quantized}", stage.file.display()))
        }
        Err(error) => {
            let (text, todo) = match &error {
                vla_engines::Error::Provenance { rejections } => rejections
                    .first()
                    .map_or_else(Default::default, |found| (found.problem(), remedies::rejection(found))),
                other => (other.to_string(), "export the policy again, or copy the whole folder".to_owned()),
            };
            // The policy may be meant for another engine kind.
            if required { Finding::error(CHECK, text) } else { Finding::warning(CHECK, text) }.todo(todo)
        }
    };
    Some(finding.of(&stage.name))
}

/// The verdict of loading the engine.
fn engine(machine: &Machine, dir: &Path, stage: &Stage) -> Finding {
    const CHECK: &str = "engine";
    let verdict = match &machine.identity {
        Some(device) => provenance::verify(stage, device),
        None => provenance::verify_without_gpu(stage, machine.root.path()),
    };
    let finding = match verdict {
        Ok(ProvenanceStatus::Verified(record)) if machine.identity.is_some() => Finding::ok(
            CHECK,
            format!(
                "{} matches, {}, built {}; {}",
                stage.file.display(),
                record.precision,
                record.built_at,
                accuracy(&record)
            ),
        ),
        Ok(ProvenanceStatus::Verified(record)) => Finding::info(
            CHECK,
            format!(
                "{}: its files match; GPU, driver and TensorRT were not compared, they are not known here; {}",
                stage.file.display(),
                accuracy(&record)
            ),
        ),
        Ok(ProvenanceStatus::Unverified | ProvenanceStatus::NotApplicable) => {
            Finding::warning(CHECK, format!("{}: nothing says where it was built", stage.file.display()))
        }
        Err(rejection) => rejected(machine, dir, &rejection),
    };
    finding.of(&stage.name)
}

/// The recorded accuracy of the engine.
fn accuracy(record: &Provenance) -> String {
    match &record.verification {
        Some(found) => format!("accuracy: {}, {} observations, {}", found.summary, found.observations, found.at),
        None => "accuracy not verified (vla-trt verify)".to_owned(),
    }
}

fn rejected(machine: &Machine, dir: &Path, rejection: &Rejection) -> Finding {
    const CHECK: &str = "engine";
    let (engine, stage) = (rejection.stage.file.display(), &rejection.stage.name);
    let build = || command::build(&rejection.stage, rejection.record.as_deref());
    match &rejection.reason {
        Reason::NoEngine => {
            let here = machine.is_jetson() || machine.gpu.is_ok();
            let text = rejection.problem();
            if here { Finding::warning(CHECK, text) } else { Finding::info(CHECK, text) }
                .todo(format!("vla-trt build {} builds every engine that is missing", dir.display()))
        }
        Reason::Mismatch(differences) => {
            let each = differences
                .iter()
                .map(|Difference { what, built, here }| format!("{what} (engine: {built}, here: {here})"));
            let each = each.collect::<Vec<_>>().join(", ");
            Finding::error(CHECK, format!("{engine} does not match this device and these files: {each}")).todo(build())
        }
        Reason::Inaccurate => {
            let remedy = format!(
                "another precision in policy.yaml, or more calibration samples, then {}; or allow it by name: \
                 engines.{stage}.allow_inaccurate: true",
                build()
            );
            Finding::error(CHECK, format!("{engine} failed its accuracy gate: {}", rejection.figures())).todo(remedy)
        }
        Reason::NoRecord
        | Reason::BadRecord(_)
        | Reason::OtherModel { .. }
        | Reason::Operations(_)
        | Reason::NotVerified { .. }
        | Reason::NoKernels { .. } => Finding::error(CHECK, rejection.problem()).todo(remedies::rejection(rejection)),
    }
}

/// Compares the memory plan of all engines with the free memory.
fn fits(machine: &Machine, dir: &Path, stages: &[Stage]) -> Finding {
    const CHECK: &str = "fits";
    let tensorrt = machine.tensorrt.as_deref().ok();
    let plan = match pipeline::plan(EngineKind::Tensorrt, stages, None, true, tensorrt) {
        Ok(plan) => plan,
        Err(error) => return Finding::info(CHECK, format!("not planned: {error}")).todo("mend the findings above"),
    };
    let (needed, free) = (plan.smallest_budget(), memory::available(&machine.root));
    let text = format!("all engines need {:.0} MiB, {:.0} MiB are free", mib(needed), mib(free));
    if needed > free {
        Finding::error(CHECK, text)
            .todo(format!("vla-trt plan {} says who takes what and what would help", dir.display()))
    } else {
        Finding::ok(CHECK, text)
    }
}
