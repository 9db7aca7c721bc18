//! Whether a recipe fits a network.

use std::collections::BTreeMap;

use crate::Error;
use crate::carrier::{self, Carrier};
use crate::float::Float;
use crate::graph::Index;
use crate::integers::BLOCK;
use crate::product::Product;
use crate::recipe::{Recipe, Target, WeightType};
use vla_engines::onnx::Network;

/// Why a product cannot have 4-bit weights; `None` when it can.
pub fn int4_problem(product: &Product) -> Option<String> {
    let whole = product.rows.is_multiple_of(BLOCK);
    (!whole).then(|| format!("expected a multiple of {BLOCK} input channels, found {}; leave it at int8", product.rows))
}

/// Carriers of the tensors that are smoothed, when everything in the recipe is something that the network has.
///
/// # Errors
/// The first that is not.
pub(crate) fn recipe(
    network: &Network,
    index: &Index<'_>,
    products: &[Product],
    recipe: &Recipe,
    target: Target,
) -> Result<BTreeMap<String, Carrier>, Error> {
    let tensors = network.tensor_names();
    if let Some(tensor) =
        recipe.activations.keys().chain(recipe.smoothing.keys()).find(|name| !tensors.contains(name.as_str()))
    {
        return Err(Error::UnknownTensor { path: network.path.clone(), tensor: tensor.clone() });
    }
    let by_name: BTreeMap<&str, &Product> = products.iter().map(|product| (product.node.as_str(), product)).collect();
    for (node, wanted) in &recipe.products {
        let product = by_name.get(node.as_str());
        let product =
            product.ok_or_else(|| Error::UnknownProduct { path: network.path.clone(), node: node.clone() })?;
        let problem = match (wanted, target) {
            (WeightType::Int8, _) => None,
            (WeightType::Int4, Target::Trt8) => {
                Some("TensorRT 8.6 has no 4-bit weights; write the network for trt10, or take int8".to_owned())
            }
            (WeightType::Int4, Target::Trt10) => int4_problem(product),
        };
        if let Some(reason) = problem {
            return Err(Error::Refused { node: node.clone(), wanted: *wanted, target, reason });
        }
        if *wanted == WeightType::Int8 {
            scale(index, product, recipe)?;
        }
    }
    recipe
        .smoothing
        .iter()
        .map(|(tensor, factors)| {
            let no_carrier = || Error::NoCarrier { tensor: tensor.clone() };
            let carrier = carrier::of(index, products, tensor).ok_or_else(no_carrier)?;
            let reader = products.iter().find(|product| product.input == *tensor).ok_or_else(no_carrier)?;
            if factors.len() != reader.rows {
                return Err(Error::Factors { tensor: tensor.clone(), expected: reader.rows, found: factors.len() });
            }
            let bad = factors.iter().position(|factor| !(factor.is_finite() && *factor > 0.0));
            match bad {
                Some(channel) => Err(Error::Factor { tensor: tensor.clone(), channel, found: factors[channel] }),
                None => Ok((tensor.clone(), carrier)),
            }
        })
        .collect()
}

/// The scale of an 8-bit product's input, as its network's type holds it.
///
/// # Errors
/// [`Error::MissingScale`], [`Error::Scale`].
pub(crate) fn scale(index: &Index<'_>, product: &Product, recipe: &Recipe) -> Result<f32, Error> {
    let Some(found) = recipe.activations.get(&product.input).copied() else {
        return Err(Error::MissingScale { node: product.node.clone(), tensor: product.input.clone() });
    };
    let float = index.initializer(&product.weight).map_or(Float::F32, Float::of_tensor);
    let scale = if found > 0.0 { float.round_up(found) } else { found };
    let fits = scale > 0.0 && float.nearest(scale * 127.0).is_finite();
    if fits { Ok(scale) } else { Err(Error::Scale { tensor: product.input.clone(), dtype: float.name(), found }) }
}
