//! Runs of the policy with a choice of products quantised.

use std::path::PathBuf;

use super::analysis::Analysis;
use super::budget::{Limits, Outcome};
use super::groups::{Group, Nodes};
use super::{Effect, Options};
use crate::Error;
use crate::verify;
use crate::verify::{Networks, ReferenceRun};
use vla_quantize::Fit;
use vla_quantize::recipe::{Recipe, Target};
use vla_quantize::rewrite;

/// Makes networks and runs them.
pub(super) struct Trials<'t> {
    captured: &'t ReferenceRun,
    analyses: &'t [Analysis],
    options: &'t Options,
    threads: usize,
    /// What the file of each stage holds.
    written: Vec<Option<Recipe>>,
}

impl<'t> Trials<'t> {
    pub(super) fn new(
        captured: &'t ReferenceRun,
        analyses: &'t [Analysis],
        options: &'t Options,
        threads: usize,
    ) -> Self {
        Self { captured, analyses, options, threads, written: vec![None; analyses.len()] }
    }

    /// What a group alone does to the actions.
    pub(super) fn effect(&mut self, group: &Group) -> Result<Effect, Error> {
        let nodes = Nodes::from([(group.stage, group.nodes.clone())]);
        let mut networks = self.networks(&nodes)?;
        let report = verify::actions(self.captured, &mut networks, &mut |_| {})?;
        let none = Limits { action: None, relative: None, cosine: None, stages: false };
        let found = Outcome::of(&report, &none);
        let whole = found.refused == 0;
        Ok(Effect { action: found.action.filter(|_| whole), relative: found.relative.filter(|_| whole) })
    }

    /// A choice compared with the limits.
    pub(super) fn outcome(&mut self, nodes: &Nodes, limits: &Limits) -> Result<Outcome, Error> {
        let mut networks = self.networks(nodes)?;
        let report = verify::actions(self.captured, &mut networks, &mut |_| {})?;
        let outcome = Outcome::of(&report, limits);
        if !outcome.within || !limits.stages {
            return Ok(outcome);
        }
        let each = nodes
            .keys()
            .map(|stage| verify::stage(self.captured, &self.analyses[*stage].stage, &mut networks, &mut |_| {}));
        Ok(outcome.with(&each.collect::<Result<Vec<_>, _>>()?))
    }

    /// A choice on ONNX Runtime's integer kernels, compared with the same networks in floating point.
    pub(super) fn fused(&mut self, nodes: &Nodes) -> Result<Option<Effect>, Error> {
        if nodes.is_empty() {
            return Ok(None);
        }
        let mut networks = self.networks(nodes)?.with_integer_kernels();
        let report = verify::actions(self.captured, &mut networks, &mut |_| {})?;
        let none = Limits { action: None, relative: None, cosine: None, stages: false };
        let found = Outcome::of(&report, &none);
        Ok(Some(Effect { action: found.action, relative: found.relative }))
    }

    /// The policy's networks with these products quantised.
    fn networks(&mut self, nodes: &Nodes) -> Result<Networks, Error> {
        let spec = self.captured.spec();
        let mut networks = Networks::of(spec, self.threads).with_paths(self.captured.settings());
        for (stage, nodes) in nodes {
            let analysis = &self.analyses[*stage];
            let recipe = recipe(analysis, nodes, self.options.weights);
            let before = networks.file(&analysis.stage);
            let Some(before) = before else { continue };
            let file = self.file(&analysis.stage);
            if self.written[*stage].as_ref() != Some(&recipe) {
                self.written[*stage] = None;
                rewrite(&before, &recipe, Target::Trt10, &file)?;
                self.written[*stage] = Some(recipe);
            }
            networks.replace(&analysis.stage, file);
        }
        Ok(networks)
    }

    fn file(&self, stage: &str) -> PathBuf {
        self.options.scratch.join("trial").join(stage).join(format!("{stage}.onnx"))
    }
}

/// What is done to a stage where these nodes are quantised.
pub(super) fn recipe(analysis: &Analysis, nodes: &[String], weights: vla_quantize::recipe::WeightType) -> Recipe {
    let mut recipe = Recipe::default();
    for each in analysis.products.iter().filter(|each| nodes.contains(&each.product.node)) {
        let Some(Fit { factors, scale, .. }) = analysis.tensors.get(&each.product.input) else { continue };
        recipe.products.insert(each.product.node.clone(), weights);
        if weights == vla_quantize::recipe::WeightType::Int8 {
            recipe.activations.insert(each.product.input.clone(), *scale);
        }
        if !factors.is_empty() {
            recipe.smoothing.insert(each.product.input.clone(), factors.clone());
        }
    }
    recipe
}
