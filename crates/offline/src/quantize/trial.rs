//! Runs of the policy with a choice of products quantised.

use std::fs;
use std::path::PathBuf;

use super::analysis::Analysis;
use super::budget::{Limits, Outcome};
use super::calibration::Calibration;
use super::groups::{Group, Nodes};
use super::{Effect, Options};
use crate::Error;
use crate::verify::Networks;
use vla_quantize::Fit;
use vla_quantize::recipe::{Recipe, Target, WeightType};
use vla_quantize::rewrite;

/// Makes networks and runs them.
pub(super) struct Trials<'t> {
    calibration: &'t dyn Calibration,
    analyses: &'t [Analysis],
    options: &'t Options,
    /// What the file of each stage holds.
    written: Vec<Option<Recipe>>,
}

impl<'t> Trials<'t> {
    pub(super) fn new(calibration: &'t dyn Calibration, analyses: &'t [Analysis], options: &'t Options) -> Self {
        Self { calibration, analyses, options, written: vec![None; analyses.len()] }
    }

    /// What a group alone does to the actions.
    pub(super) fn effect(&mut self, group: &Group) -> Result<Effect, Error> {
        let outcome = self.outcome(&Nodes::from([(group.stage, group.nodes.clone())]), &Limits::NONE)?;
        let whole = outcome.refused == 0;
        Ok(Effect { action: outcome.action.filter(|_| whole), relative: outcome.relative.filter(|_| whole) })
    }

    /// A choice compared with the limits.
    pub(super) fn outcome(&mut self, nodes: &Nodes, limits: &Limits) -> Result<Outcome, Error> {
        let mut networks = self.networks(nodes)?;
        self.calibration.compare(&mut networks, &self.changed(nodes), limits)
    }

    /// A choice on ONNX Runtime's integer kernels, compared with the policy as it is.
    pub(super) fn fused(&mut self, nodes: &Nodes) -> Result<Option<Effect>, Error> {
        if nodes.is_empty() {
            return Ok(None);
        }
        let mut networks = self.networks(nodes)?.with_integer_kernels();
        let outcome = self.calibration.compare(&mut networks, &self.changed(nodes), &Limits::NONE)?;
        Ok(Some(Effect { action: outcome.action, relative: outcome.relative }))
    }

    fn changed(&self, nodes: &Nodes) -> Vec<&'t str> {
        nodes.keys().map(|stage| self.analyses[*stage].stage.as_str()).collect()
    }

    /// The policy's networks with these products quantised.
    fn networks(&mut self, nodes: &Nodes) -> Result<Networks, Error> {
        let mut networks = self.calibration.networks();
        for (stage, nodes) in nodes {
            let analysis = &self.analyses[*stage];
            let recipe = recipe(analysis, nodes, self.options.weights);
            let Some(before) = networks.file(&analysis.stage) else { continue };
            let file = self.file(&analysis.stage)?;
            if self.written[*stage].as_ref() != Some(&recipe) {
                self.written[*stage] = None;
                rewrite(&before, &recipe, Target::Trt10, &file)?;
                self.written[*stage] = Some(recipe);
            }
            networks.replace(&analysis.stage, file);
        }
        Ok(networks)
    }

    fn file(&self, stage: &str) -> Result<PathBuf, Error> {
        let folder = self.options.scratch.join("trial").join(stage);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(folder.join(format!("{stage}.onnx")))
    }
}

/// What is done to a stage where these nodes are quantised.
pub(super) fn recipe(analysis: &Analysis, nodes: &[String], weights: WeightType) -> Recipe {
    let mut recipe = Recipe::default();
    for each in analysis.products.iter().filter(|each| nodes.contains(&each.product.node)) {
        let Some(Fit { factors, scale, .. }) = analysis.tensors.get(&each.product.input) else { continue };
        recipe.products.insert(each.product.node.clone(), weights);
        if weights == WeightType::Int8 {
            recipe.activations.insert(each.product.input.clone(), *scale);
        }
        if !factors.is_empty() {
            recipe.smoothing.insert(each.product.input.clone(), factors.clone());
        }
    }
    recipe
}
