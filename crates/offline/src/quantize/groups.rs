//! Products that are quantised, or not, together.

use std::collections::BTreeMap;

use super::analysis::{Analysis, Analyzed};
use vla_quantize::Kind;
use vla_quantize::recipe::Target;

/// Weights of products up to which each product is a group. Beyond, running the policy once for each takes days.
const BY_PRODUCT: u64 = 64 << 20;
/// Ranges of blocks of a large policy.
const RANGES: usize = 4;

/// The quantised nodes of each stage, by its place among the analyses.
pub(super) type Nodes = BTreeMap<usize, Vec<String>>;

/// Products of one stage.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Group {
    /// What it is called in tables.
    pub(super) label: String,
    /// The stage, by its place among the analyses.
    pub(super) stage: usize,
    pub(super) nodes: Vec<String>,
    /// Weights of all.
    pub(super) elements: u64,
}

/// The groups of all stages, in their order. For TensorRT 8.6 a stage is a group, since what is not quantised in a partly quantised
/// network stays in single precision there, and a stage with a product that cannot be quantised is left out.
pub(super) fn of(analyses: &[Analysis], target: Target) -> Vec<Group> {
    let total: u64 = analyses.iter().flat_map(|each| &each.products).map(|each| each.product.elements).sum();
    let mut groups: Vec<Group> = Vec::new();
    for (stage, analysis) in analyses.iter().enumerate() {
        if target == Target::Trt8 && analysis.products.iter().any(|each| each.unfit.is_some()) {
            continue;
        }
        let blocks = analysis.products.iter().filter_map(|each| each.product.block).max().map_or(0, |last| last + 1);
        for each in analysis.products.iter().filter(|each| each.unfit.is_none()) {
            let label = label(analysis, each, blocks, target, total);
            match groups.iter_mut().find(|group| group.label == label) {
                Some(group) => {
                    group.nodes.push(each.product.node.clone());
                    group.elements += each.product.elements;
                }
                None => groups.push(Group {
                    label,
                    stage,
                    nodes: vec![each.product.node.clone()],
                    elements: each.product.elements,
                }),
            }
        }
    }
    groups
}

fn label(analysis: &Analysis, each: &Analyzed, blocks: usize, target: Target, total: u64) -> String {
    let stage = &analysis.stage;
    if target == Target::Trt8 {
        return stage.clone();
    }
    if total <= BY_PRODUCT {
        return format!("{stage}: {}", each.product.node);
    }
    match (each.product.kind, each.product.block) {
        (Kind::Edge, _) | (_, None) => format!("{stage}: {}", each.product.node),
        (kind, Some(block)) => {
            let range = block * RANGES / blocks.max(1);
            let bound = |range: usize| (range * blocks).div_ceil(RANGES);
            format!("{stage}: {kind} of blocks {} to {}", bound(range), bound(range + 1).max(1) - 1)
        }
    }
}

/// The nodes of the chosen groups.
pub(super) fn nodes(groups: &[Group], chosen: &[bool]) -> Nodes {
    let mut nodes = Nodes::new();
    for (group, _) in groups.iter().zip(chosen).filter(|(_, chosen)| **chosen) {
        nodes.entry(group.stage).or_default().extend(group.nodes.iter().cloned());
    }
    nodes.values_mut().for_each(|nodes| nodes.sort());
    nodes
}
