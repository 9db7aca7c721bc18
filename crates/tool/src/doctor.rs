//! Checks a machine, a policy on it, and a robot's parameters for it, before anything is loaded. Each finding has a remedy.
//!
//! Files are read below a [`Root`](crate::root::Root); everything else (CUDA, libraries that are opened, the environment, topics) is a plain value
//! in [`Machine`], so that tests lay out a whole robot in a folder.

use std::path::{Path, PathBuf};

use serde::Serialize;

mod clocks;
mod engines;
mod gpu;
mod machine;
mod memory;
mod robot;
mod ros;

pub use clocks::PowerModes;
pub use machine::{Gpu, Machine, Unknown};
pub use memory::{desktop_programs, swaps};
pub use robot::Robot;
use vla_runtime::check::worst;
pub use vla_runtime::check::{Finding, Severity};

/// Version of the JSON form.
pub const FORMAT: u32 = 1;

/// All findings, ordered by dependency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The worst of the findings.
    pub severity: Severity,
    /// The checked policy.
    pub policy: Option<PathBuf>,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// Checks a machine, a policy on it, and a robot's parameters for that policy. Reads every engine of the policy once; loads nothing.
pub fn examine(machine: &Machine, policy: Option<&Path>, robot: Option<&Robot>) -> Report {
    let mut findings = gpu::examine(machine);
    findings.extend(clocks::examine(machine));
    findings.extend(memory::examine(machine));
    findings.push(onnx_runtime(machine));
    findings.extend(ros::examine(machine));
    match policy {
        Some(dir) => {
            findings.extend(engines::examine(machine, dir));
            findings.extend(robot.into_iter().flat_map(|robot| robot::examine(machine, dir, robot)));
        }
        None => {
            findings.push(Finding::info("policy", "none given, no engine was checked").todo("vla-trt doctor POLICY"));
        }
    }
    Report { format: FORMAT, severity: worst(&findings), policy: policy.map(Path::to_owned), findings }
}

fn onnx_runtime(machine: &Machine) -> Finding {
    match &machine.onnx_runtime {
        Ok(library) => Finding::ok("onnx runtime", format!("opens: {library}")),
        Err(unknown) => {
            Finding::warning("onnx runtime", format!("not usable: {}", unknown.reason)).todo(&unknown.remedy)
        }
    }
}
