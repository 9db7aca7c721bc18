//! What scales come from, and what a choice is compared on: the policy on a recording, or recorded inputs of its stages alone.

use std::path::Path;

use super::budget::{Limits, Outcome};
use crate::Error;
use crate::verify;
use crate::verify::candidate::INNER;
use crate::verify::{Networks, ReferenceRun, actions_from, observe};
use vla_base::tensor::HostTensor;
use vla_engines::Stage;
use vla_policy::PolicySpec;

/// Receives the tensors of one run of a stage, by their names in the network.
pub(super) type See<'s> = &'s mut dyn FnMut(&str, &HostTensor);

/// Samples of a policy's stages.
pub(super) trait Calibration {
    /// The policy.
    fn spec(&self) -> &PolicySpec;

    /// The file or folder.
    fn path(&self) -> &Path;

    /// Its hash.
    fn sha256(&self) -> &str;

    /// Hash of the very tensors that the stages are given, which settings change as well.
    fn tensors_sha256(&self) -> Result<String, Error>;

    /// Observations, or samples of a stage.
    fn observations(&self) -> usize;

    /// Whether there are decoded actions to compare.
    fn decodes(&self) -> bool;

    /// The policy's own networks.
    fn networks(&self) -> Networks;

    /// Runs `described`, which is `stage` with more outputs, on every sample and passes inputs and outputs on. `progress` receives the
    /// runs behind it, and their number.
    fn record(
        &self,
        stage: &Stage,
        described: &Stage,
        progress: &mut dyn FnMut(usize, usize),
        see: See<'_>,
    ) -> Result<(), Error>;

    /// Compares the policy with these networks with the policy as it is. `changed`: stages with another network.
    fn compare(&self, networks: &mut Networks, changed: &[&str], limits: &Limits) -> Result<Outcome, Error>;
}

/// The network's own name of an output, which is the pipeline's `name`.
pub(super) fn network_name<'s>(described: &'s Stage, name: &'s str) -> Option<&'s str> {
    let output = || described.outputs.iter().find(|output| output.name == name).map(|output| output.tensor.as_str());
    name.strip_prefix(INNER).or_else(output)
}

/// The policy on a bag or a data set.
pub(super) struct Recording {
    pub(super) captured: ReferenceRun,
    pub(super) threads: usize,
}

impl Calibration for Recording {
    fn spec(&self) -> &PolicySpec {
        self.captured.spec()
    }

    fn path(&self) -> &Path {
        self.captured.bag()
    }

    fn sha256(&self) -> &str {
        self.captured.bag_sha256()
    }

    fn tensors_sha256(&self) -> Result<String, Error> {
        self.captured.tensors_sha256()
    }

    fn observations(&self) -> usize {
        self.captured.observations()
    }

    fn decodes(&self) -> bool {
        true
    }

    fn networks(&self) -> Networks {
        Networks::of(self.captured.spec(), self.threads)
    }

    fn record(
        &self,
        stage: &Stage,
        described: &Stage,
        progress: &mut dyn FnMut(usize, usize),
        see: See<'_>,
    ) -> Result<(), Error> {
        for run in self.captured.runs(stage) {
            for input in &stage.inputs {
                see(&input.tensor, &self.captured.input(run, &input.name)?);
            }
        }
        observe(&self.captured, &stage.name, described, &mut self.networks(), progress, &mut |name, tensor| {
            if let Some(name) = network_name(described, name) {
                see(name, tensor);
            }
        })
    }

    fn compare(&self, networks: &mut Networks, changed: &[&str], limits: &Limits) -> Result<Outcome, Error> {
        let report = actions_from(&self.captured, networks, changed.first().copied())?;
        let outcome = Outcome::of(&report, limits);
        if !outcome.within || !limits.stages {
            return Ok(outcome);
        }
        let each = changed.iter().map(|stage| verify::stage(&self.captured, stage, networks, &mut |_| {}));
        Ok(outcome.with(&each.collect::<Result<Vec<_>, _>>()?))
    }
}
