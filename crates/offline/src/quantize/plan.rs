//! What is quantised of a policy, and why: the record that lies in the bundle, and the table.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, Analyzed};
use super::budget::{Limits, USED};
use super::bundle::fingerprint_of;
use super::calibration::Calibration;
use super::groups::{self, Group};
use super::search::Choice;
use super::trial::recipe;
use super::{Effect, Options, Outcome};
use crate::Error;
use vla_engines::provenance::figures::{show, show_cosine};
use vla_quantize::recipe::{Recipe, Target, WeightType};
use vla_quantize::{Clip, Kind};

/// Version of the file's form.
const FORMAT: u32 = 1;
/// Name of the file in a bundle.
pub const PLAN_FILE: &str = "quantization.json";

/// A policy's quantisation. The recipes hold for every target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this form: 1.
    pub format: u32,
    /// Fingerprint of the policy before.
    pub fingerprint: String,
    /// The recording with the calibration observations.
    pub source: PathBuf,
    /// Its hash, as `vla-trt verify` gives it.
    pub source_sha256: String,
    /// Observations that were used.
    pub observations: usize,
    /// Type of quantised weights.
    pub weights: WeightType,
    /// Each stage that was looked at.
    pub stages: Vec<StagePlan>,
    /// The whole choice compared with the policy before, on the calibration observations; `None`: nothing is quantised, or the choice was
    /// changed for another target and not run since.
    pub outcome: Option<Outcome>,
    /// The same on ONNX Runtime's integer kernels, which saturate on some CPUs: largest difference of a decoded action, and L2 error of the
    /// predicted actions over their L2 norm.
    pub integer_kernels: Option<(Option<f64>, Option<f64>)>,
    /// Choices that the search ran.
    pub tried: usize,
}

/// One stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StagePlan {
    /// Its name.
    pub stage: String,
    /// Its products in the network's order.
    pub products: Vec<ProductPlan>,
    /// What is done to its network.
    pub recipe: Recipe,
}

/// One product.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProductPlan {
    /// The node.
    pub node: String,
    /// Its weight.
    pub weight: String,
    /// What it is for.
    pub kind: Kind,
    /// The transformer block that it is in.
    pub block: Option<usize>,
    /// Elements of the weight.
    pub elements: u64,
    /// Whether it is quantised.
    pub quantized: bool,
    /// L2 error of its own output over the output's L2 norm, once it is quantised.
    pub error: Option<f64>,
    /// Largest difference of a decoded action when its group alone is quantised, rad (m where it is a position).
    pub action: Option<f64>,
    /// The same as L2 error of the predicted actions over their L2 norm.
    pub relative: Option<f64>,
    /// Strength of smoothing.
    pub alpha: Option<f32>,
    /// Where its input is clipped.
    pub clip: Option<Clip>,
    /// Scale of its input.
    pub scale: Option<f32>,
    /// Why it is not quantised.
    pub reason: Option<String>,
}

impl Plan {
    /// Elements of quantised weights, and of all weights of products.
    pub fn elements(&self) -> (u64, u64) {
        let all = self.stages.iter().flat_map(|stage| &stage.products);
        all.fold((0, 0), |(some, total), each| {
            (some + if each.quantized { each.elements } else { 0 }, total + each.elements)
        })
    }

    /// Reads quantization.json.
    ///
    /// # Errors
    /// [`Error::NoPlan`].
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let fail = |reason: String| Error::NoPlan { file: file.to_owned(), reason };
        let plan: Self = serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        if plan.format == FORMAT {
            Ok(plan)
        } else {
            Err(fail(format!("found form {}, expected {FORMAT}", plan.format)))
        }
    }

    /// The part of it that `target` can run: TensorRT 8.6 keeps what is not quantised of a stage in FP32, so a stage that is quantised in part
    /// stays floating there; the figures of the whole choice are then left out. The second: the stages' names.
    pub fn for_target(mut self, target: Target) -> (Self, Vec<String>) {
        let mut parts = Vec::new();
        for stage in self.stages.iter_mut().filter(|_| target == Target::Trt8) {
            let count = stage.products.iter().filter(|each| each.quantized).count();
            if count == 0 || count == stage.products.len() {
                continue;
            }
            parts.push(stage.stage.clone());
            stage.recipe = Recipe::default();
            for each in &mut stage.products {
                each.quantized = false;
                each.reason.get_or_insert_with(|| {
                    "its stage is quantised in part, which TensorRT 8.6 does not run well".into()
                });
            }
        }
        if !parts.is_empty() {
            // Figures of the choice before would be those of another policy.
            (self.outcome, self.integer_kernels) = (None, None);
        }
        (self, parts)
    }

    /// As JSON, with line breaks.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// What the search chooses from.
#[derive(Clone, Copy)]
pub(super) struct Candidates<'c> {
    pub(super) calibration: &'c dyn Calibration,
    pub(super) analyses: &'c [Analysis],
    pub(super) groups: &'c [Group],
    /// Of each group alone.
    pub(super) effects: &'c [Effect],
    pub(super) limits: &'c Limits,
}

/// The record of a choice. `fused`: the same on integer kernels.
pub(super) fn of(
    candidates: Candidates<'_>,
    options: &Options,
    choice: Choice,
    fused: Option<Effect>,
) -> Result<Plan, Error> {
    let Candidates { calibration, analyses, groups: all, effects, limits } = candidates;
    let fingerprint = fingerprint_of(calibration.spec(), &calibration.spec().dir)?;
    let nodes = groups::nodes(all, &choice.chosen);
    let stages = analyses.iter().enumerate().map(|(at, analysis)| {
        let chosen = nodes.get(&at).map(Vec::as_slice).unwrap_or_default();
        let products = analysis.products.iter().map(|each| {
            let group = all.iter().position(|group| group.stage == at && group.nodes.contains(&each.product.node));
            product(analysis, each, chosen, group.map(|group| &effects[group]), limits)
        });
        StagePlan {
            stage: analysis.stage.clone(),
            products: products.collect(),
            recipe: recipe(analysis, chosen, options.weights),
        }
    });
    Ok(Plan {
        format: FORMAT,
        fingerprint,
        source: calibration.path().to_owned(),
        source_sha256: calibration.sha256().to_owned(),
        observations: calibration.observations(),
        weights: options.weights,
        stages: stages.collect(),
        outcome: choice.outcome,
        integer_kernels: fused.map(|effect| (effect.action, effect.relative)),
        tried: choice.tried,
    })
}

fn product(
    analysis: &Analysis,
    each: &Analyzed,
    chosen: &[String],
    effect: Option<&Effect>,
    limits: &Limits,
) -> ProductPlan {
    let quantized = chosen.contains(&each.product.node);
    let fit = analysis.tensors.get(&each.product.input);
    let left = || match effect {
        None => "its stage cannot be quantised as a whole for this target".to_owned(),
        Some(effect) if limits.forbid(effect) => {
            format!("its effect alone is beyond {USED} of the limit")
        }
        Some(_) => "the others together take all of the limit, or enough is quantised".to_owned(),
    };
    ProductPlan {
        node: each.product.node.clone(),
        weight: each.product.weight.clone(),
        kind: each.product.kind,
        block: each.product.block,
        elements: each.product.elements,
        quantized,
        error: each.error,
        action: effect.and_then(|effect| effect.action),
        relative: effect.and_then(|effect| effect.relative),
        alpha: fit.and_then(|fit| fit.alpha),
        clip: fit.map(|fit| fit.clip),
        scale: fit.map(|fit| fit.scale),
        reason: each.unfit.clone().or_else(|| (!quantized).then(left)),
    }
}

/// What is chosen by stage, what is not and why, and what it does to the actions.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:10} {:>9} {:>9} {:>8} {:>7}", "stage", "products", "quantised", "weights", "share")?;
        let percent = |some: u64, all: u64| 100.0 * some as f64 / all.max(1) as f64;
        for stage in &self.stages {
            let quantized = stage.products.iter().filter(|each| each.quantized);
            let (count, some) = quantized.fold((0, 0), |(count, sum), each| (count + 1, sum + each.elements));
            let all: u64 = stage.products.iter().map(|each| each.elements).sum();
            let millions = format!("{:.2} M", all as f64 / 1e6);
            let share = percent(some, all);
            writeln!(f, "{:10} {:>9} {count:>9} {millions:>8} {share:>6.1}%", stage.stage, stage.products.len())?;
        }
        let (some, all) = self.elements();
        writeln!(f, "{:.1} % of the weights of products are quantised", percent(some, all))?;
        f.write_str(&self.floating())?;
        let largest = |action: Option<f64>| action.map(|action| format!("max {} rad, ", show(Some(action))));
        if let Some(Outcome { action, cosine, relative, .. }) = &self.outcome {
            let what = if action.is_some() { "actions" } else { "outputs of stages" };
            let (action, cosine) = (largest(*action).unwrap_or_default(), show_cosine(*cosine));
            let count = self.observations;
            writeln!(f, "{what} on {count} samples: {action}cosine {cosine}, relative L2 {}", show(*relative))?;
        }
        if let Some((action, relative)) = self.integer_kernels {
            let action = largest(action).unwrap_or_default();
            writeln!(f, "on ONNX Runtime's integer kernels: {action}relative L2 {}", show(relative))?;
        }
        Ok(())
    }
}

impl Plan {
    /// Every product that stays floating: its effect and the reason.
    fn floating(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            for each in stage.products.iter().filter(|each| !each.quantized) {
                let ProductPlan { node, elements, action, .. } = each;
                let reason = each.reason.as_deref().unwrap_or_default();
                let words = match action {
                    Some(action) => format!("alone max {} rad; {reason}", show(Some(*action))),
                    None => reason.to_owned(),
                };
                // Writing to a string does not fail.
                _ = writeln!(text, "  floating: {node} ({elements} weights): {words}");
            }
        }
        text
    }
}
