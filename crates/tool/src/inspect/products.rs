//! Products with weights of networks: how much of the weights is quantised, and which products are not.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::FORMAT;
use vla_engines::onnx;
use vla_engines::onnx::{Network, ProductWeights};
use vla_policy::PolicySpec;

/// Products (MatMul, Gemm) with weight matrices of a network, or of all networks of a policy.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Products {
    /// Number of products.
    pub products: usize,
    /// Elements of their weights by type; a weight that several products read counts once.
    pub weights: ProductWeights,
    /// Share of the elements that is 8-bit, 0 to 1.
    pub int8_share: f64,
    /// Share of the elements that is 4-bit, 0 to 1.
    pub int4_share: f64,
    /// Products whose weights stay floating, the largest first.
    pub floating: Vec<FloatingProduct>,
}

/// A product that is not quantised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FloatingProduct {
    /// Name of the node.
    pub node: String,
    /// Name of its weight.
    pub weight: String,
    /// Number of the weight's elements.
    pub elements: u64,
}

/// The networks of a policy.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PolicyReport {
    /// [`FORMAT`].
    pub format: u32,
    /// The policy's folder.
    pub policy: PathBuf,
    /// Name of the model.
    pub name: String,
    /// Fingerprint of the bundle.
    pub fingerprint: String,
    /// Whether the weights are random: a demo, which knows nothing.
    pub random_weights: bool,
    /// Cameras, in the policy's order.
    pub cameras: Vec<String>,
    /// State keys with their widths.
    pub state: Vec<(String, usize)>,
    /// Action keys with their widths.
    pub action: Vec<(String, usize)>,
    /// Rows of a chunk.
    pub rows: usize,
    /// Time from row to row, s.
    pub step_s: f64,
    /// Denoising steps that it can be run with.
    pub denoise_steps: Vec<u32>,
    /// Those that it is run with unless a parameter says otherwise.
    pub default_steps: u32,
    /// Its stages in run order.
    pub stages: Vec<StageProducts>,
    /// All of them together; products that stay floating are listed by stage.
    pub all: Products,
}

/// One stage of a policy.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StageProducts {
    /// Name.
    pub stage: String,
    /// The network.
    pub file: PathBuf,
    /// Whether it has QuantizeLinear or DequantizeLinear nodes.
    pub quantized: bool,
    /// Its products.
    pub products: Products,
}

impl Products {
    pub(super) fn of(network: &Network) -> Self {
        let products = network.products();
        let floating = products.iter().filter(|product| product.bits.is_none()).map(|product| FloatingProduct {
            node: product.node.clone(),
            weight: product.weight.clone(),
            elements: product.elements,
        });
        let mut floating: Vec<FloatingProduct> = floating.collect();
        floating.sort_by_key(|product| std::cmp::Reverse(product.elements));
        Self::with(products.len(), ProductWeights::of(&products), floating)
    }

    fn with(products: usize, weights: ProductWeights, floating: Vec<FloatingProduct>) -> Self {
        let share = |part: u64| if part == 0 { 0.0 } else { part as f64 / weights.elements() as f64 };
        Self { products, weights, int8_share: share(weights.int8), int4_share: share(weights.int4), floating }
    }

    fn plus(self, other: &Self) -> Self {
        Self::with(self.products + other.products, self.weights.plus(other.weights), self.floating)
    }
}

/// The networks of the policy in `folder`.
///
/// # Errors
/// A policy or a network that cannot be read.
pub(super) fn policy(folder: &Path) -> Result<PolicyReport, super::Error> {
    let spec = PolicySpec::load(folder).map_err(|error| super::Error::Policy(error.into()))?;
    let stage = |stage: &vla_engines::Stage| {
        let network = Network::open(&stage.onnx)?;
        Ok(StageProducts {
            stage: stage.name.clone(),
            file: stage.onnx.clone(),
            quantized: network.is_quantized(),
            products: Products::of(&network),
        })
    };
    let stages = spec.stages.iter().map(stage).collect::<Result<Vec<_>, onnx::Error>>();
    let stages = stages.map_err(|error| super::Error::Policy(error.into()))?;
    let all = stages.iter().fold(Products::default(), |all, stage| all.plus(&stage.products));
    Ok(PolicyReport {
        format: FORMAT,
        policy: folder.to_owned(),
        name: spec.name,
        fingerprint: spec.fingerprint,
        random_weights: spec.random_weights,
        cameras: spec.cameras,
        state: spec.state,
        action: spec.action.keys,
        rows: spec.action.rows,
        step_s: spec.action.step.seconds(),
        denoise_steps: spec.denoise.steps,
        default_steps: spec.denoise.default,
        stages,
        all,
    })
}
