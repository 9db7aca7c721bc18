//! The recording pass: what the inputs of a stage's products are like, and how they are put into 8 bits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::resume::Store;
use super::{Options, Progress};
use crate::Error;
use crate::verify::Candidate as _;
use crate::verify::candidate::inner_output;
use vla_engines::Stage;
use vla_engines::onnx::Network;
use vla_quantize::recipe::WeightType;
use vla_quantize::{Fit, Float, Product, Statistics, carrier, fit, fit_blocks, int4_problem, products, read_weight};

/// Error of a product's own output beyond which it is left floating: its result would have no digit that is right.
const HOPELESS: f64 = 0.3;

/// What was found about the products of a stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Analysis {
    pub(super) stage: String,
    pub(super) products: Vec<Analyzed>,
    /// Of each input of products that can be quantised.
    pub(super) tensors: BTreeMap<String, Fit>,
}

/// A product, and the error of its own output once it is quantised alone, or why it cannot be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Analyzed {
    pub(super) product: Product,
    pub(super) error: Option<f64>,
    pub(super) unfit: Option<String>,
}

/// Analyses the stages that `options` names.
pub(super) fn all(
    calibration: &dyn Calibration,
    options: &Options,
    store: &Store,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Analysis>, Error> {
    let networks = calibration.networks();
    let stages = networks.stages();
    let wanted = |stage: &&Stage| options.stages.as_ref().is_none_or(|names| names.contains(&stage.name));
    let each = stages.iter().filter(wanted);
    each.map(|stage| store.analysis(stage, || one(calibration, stage, options, progress))).collect()
}

fn one(
    calibration: &dyn Calibration,
    stage: &Stage,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Analysis, Error> {
    let network = Network::open(&stage.file)?;
    let products = products(&network);
    let statistics = record(calibration, stage, &network, &products, options, progress)?;
    let floats = floats(&network, &products);
    let mut analysis = Analysis { stage: stage.name.clone(), products: Vec::new(), tensors: BTreeMap::new() };
    let mut found: BTreeMap<&str, Result<f64, String>> = BTreeMap::new();
    let inputs: BTreeSet<&str> = products.iter().map(|product| product.input.as_str()).collect();
    for (done, input) in inputs.iter().enumerate() {
        progress(Progress::Scales { stage: stage.name.clone(), done, total: inputs.len() });
        let readers: Vec<&Product> = products.iter().filter(|product| product.input == *input).collect();
        let float = floats.get(*input).copied().unwrap_or(Float::F32);
        let activation = Activation { name: input, statistics: statistics.get(*input), float };
        let results = tensor(&network, &activation, &readers, options.weights, &mut analysis.tensors)?;
        found.extend(readers.iter().map(|product| product.node.as_str()).zip(results));
    }
    analysis.products = products
        .iter()
        .map(|product| {
            let (error, unfit) = match found.remove(product.node.as_str()) {
                Some(Ok(error)) => (Some(error), None),
                Some(Err(reason)) => (None, Some(reason)),
                None => (None, Some("it was not looked at".to_owned())),
            };
            Analyzed { product: product.clone(), error, unfit }
        })
        .collect();
    Ok(analysis)
}

/// Element types of the products' inputs.
fn floats(network: &Network, products: &[Product]) -> BTreeMap<String, Float> {
    let names: BTreeSet<&str> = products.iter().map(|product| product.input.as_str()).collect();
    let made = network.made(&names).into_iter().map(|(name, spec)| (name, spec.dtype));
    let inputs = network.inputs.iter().map(|input| (input.name.clone(), input.dtype));
    made.chain(inputs).map(|(name, dtype)| (name, Float::of_dtype(dtype))).collect()
}

/// An input of products.
struct Activation<'a> {
    name: &'a str,
    statistics: Option<&'a Statistics>,
    float: Float,
}

/// The fit of one tensor, kept in `fits`, and the error of each product that reads it.
fn tensor(
    network: &Network,
    activation: &Activation<'_>,
    readers: &[&Product],
    weights: WeightType,
    fits: &mut BTreeMap<String, Fit>,
) -> Result<Vec<Result<f64, String>>, Error> {
    let all = |reason: String| Ok(readers.iter().map(|_| Err(reason.clone())).collect());
    let Activation { name: input, statistics, float } = *activation;
    let Some(statistics) = statistics else {
        return all(format!("the dimensions of its input '{input}' are not known"));
    };
    let matrices =
        readers.iter().map(|product| read_weight(network, &product.weight)).collect::<Result<Vec<_>, _>>()?;
    let found = match weights {
        WeightType::Int8 => {
            fit(statistics, &matrices.iter().collect::<Vec<_>>(), carrier(network, input).is_some(), float)
        }
        WeightType::Int4 => fit_blocks(statistics, &matrices.iter().collect::<Vec<_>>(), float),
    };
    let found = match found {
        Ok(found) => found,
        Err(reason) => return all(format!("its input '{input}': {reason}")),
    };
    let of = |(error, product): (&f64, &&Product)| match weights {
        _ if *error > HOPELESS => Err(format!("its output is {:.0} % off with the best scale", error * 100.0)),
        WeightType::Int4 => int4_problem(product).map_or(Ok(*error), Err),
        WeightType::Int8 => Ok(*error),
    };
    let results: Vec<_> = found.errors.iter().zip(readers).map(of).collect();
    if results.iter().any(Result::is_ok) {
        fits.insert(input.to_owned(), found);
    }
    Ok(results)
}

/// Statistics of the products' inputs over every run of the stage, by tensor.
fn record(
    calibration: &dyn Calibration,
    stage: &Stage,
    network: &Network,
    products: &[Product],
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, Statistics>, Error> {
    let wanted: BTreeSet<&str> = products.iter().map(|product| product.input.as_str()).collect();
    let inside = network.made(&wanted);
    // Outputs of the network that are read inside it as well are there already.
    let shown: Vec<_> =
        inside.values().filter(|tensor| stage.outputs.iter().all(|output| output.tensor != tensor.name)).collect();
    let folder = options.scratch.join("recording").join(&stage.name);
    let file = network.write_showing(&shown, &folder)?;
    let mut described = Stage { onnx: file.clone(), file, ..stage.clone() };
    described.outputs.extend(shown.iter().map(|tensor| inner_output(&tensor.name, tensor)));
    let mut statistics: BTreeMap<String, Statistics> = BTreeMap::new();
    let mut say = |done, total| progress(Progress::Recording { stage: stage.name.clone(), done, total });
    calibration.record(stage, &described, &mut say, &mut |name, tensor| {
        let single = tensor.to_single();
        if let (Some(values), Some(channels), true) = (single.as_f32(), tensor.dims().last(), wanted.contains(name)) {
            statistics.entry(name.to_owned()).or_insert_with(|| Statistics::new(*channels)).add(values);
        }
    })?;
    Ok(statistics)
}
