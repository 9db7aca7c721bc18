//! The demo's weights: random from a seed, and set by hand where the actions of an untrained policy would show nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{carry, used_columns};
use crate::inventory::inventory;
use crate::random_weights::{fill, values};
use crate::weights::{Weight, Weights};
use crate::{Error, Model};
use vla_base::tensor::DType;

/// Seeded weights for [`super::model`].
pub struct DemoWeights {
    seed: u64,
    pub(super) model: Model,
    /// Used action columns.
    pub(super) columns: usize,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl DemoWeights {
    /// Every weight is a function of `seed` and its name.
    pub fn new(seed: u64, model: Model) -> Self {
        Self::with_columns(seed, model, used_columns())
    }

    /// As [`Self::new`], for a robot with this many action columns.
    pub(crate) fn with_columns(seed: u64, model: Model, columns: usize) -> Self {
        Self { seed, shapes: inventory(&model).into_iter().collect(), model, columns }
    }
}

/// Gains of the head, beside the family's own, that let images, text and state show in the actions: a network at its usual start averages over tokens.
const GAINS: &[(&str, f64)] = &[
    ("attn1.to_q.weight", 2.0),
    ("attn1.to_k.weight", 2.0),
    ("attn1.to_out.0.weight", 1.5),
    ("norm1.linear.weight", 0.1),
];

impl Weights for DemoWeights {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let missing = || Error::MissingWeight { name: name.to_owned(), origin: "the demo's sizes".to_owned() };
        let dims = self.shapes.get(name).ok_or_else(missing)?;
        let gain = self
            .model
            .family
            .demo
            .gains
            .iter()
            .chain(GAINS)
            .find(|(suffix, _)| name.ends_with(suffix))
            .map_or(1.0, |(_, gain)| *gain);
        let mut numbers = values(self.seed, name, dims.iter().product(), fill(name, dims, gain));
        carry::arrange(self, name, dims, &mut numbers)?;
        let data = Cow::Owned(numbers.iter().flat_map(|v| v.to_le_bytes()).collect());
        Ok(Weight { name: name.to_owned(), dtype: DType::F32, dims: dims.clone(), data })
    }
}
