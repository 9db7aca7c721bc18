//! The recording pass: what the inputs of a stage's products are like, and how they are put into 8 bits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::resume::Store;
use super::{Options, Progress};
use crate::Error;
use crate::verify::candidate::{INNER, inner_output};
use crate::verify::{Candidate, Networks, ReferenceRun, observe};
use vla_base::tensor::HostTensor;
use vla_engines::Stage;
use vla_engines::onnx::Network;
use vla_quantize::recipe::WeightType;
use vla_quantize::{BLOCK, Fit, Product, Statistics, carrier, fit, fit_blocks, products, read_weight};

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
    captured: &ReferenceRun,
    reference: &mut Networks,
    options: &Options,
    store: &Store,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Analysis>, Error> {
    let stages = reference.stages().to_vec();
    let wanted = |stage: &&Stage| options.stages.as_ref().is_none_or(|names| names.contains(&stage.name));
    let each = stages.iter().filter(wanted);
    each.map(|stage| store.analysis(stage, || one(captured, reference, stage, options, progress))).collect()
}

fn one(
    captured: &ReferenceRun,
    reference: &mut Networks,
    stage: &Stage,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Analysis, Error> {
    let network = Network::open(&stage.file)?;
    let products = products(&network);
    let statistics = record(captured, reference, stage, &network, &products, options, progress)?;
    let mut analysis = Analysis { stage: stage.name.clone(), products: Vec::new(), tensors: BTreeMap::new() };
    let mut found: BTreeMap<&str, Result<f64, String>> = BTreeMap::new();
    let inputs: BTreeSet<&str> = products.iter().map(|product| product.input.as_str()).collect();
    for (done, input) in inputs.iter().enumerate() {
        progress(Progress::Scales { stage: stage.name.clone(), done, total: inputs.len() });
        let readers: Vec<&Product> = products.iter().filter(|product| product.input == *input).collect();
        let results =
            tensor(&network, input, &readers, statistics.get(*input), options.weights, &mut analysis.tensors)?;
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

/// The fit of one tensor, kept in `fits`, and the error of each product that reads it.
fn tensor(
    network: &Network,
    input: &str,
    readers: &[&Product],
    statistics: Option<&Statistics>,
    weights: WeightType,
    fits: &mut BTreeMap<String, Fit>,
) -> Result<Vec<Result<f64, String>>, Error> {
    let all = |reason: String| Ok(readers.iter().map(|_| Err(reason.clone())).collect());
    let Some(statistics) = statistics else {
        return all(format!("the dimensions of its input '{input}' are not known"));
    };
    let matrices =
        readers.iter().map(|product| read_weight(network, &product.weight)).collect::<Result<Vec<_>, _>>()?;
    let found = match weights {
        WeightType::Int8 => fit(statistics, &matrices.iter().collect::<Vec<_>>(), carrier(network, input).is_some()),
        WeightType::Int4 => fit_blocks(statistics, &matrices.iter().collect::<Vec<_>>()),
    };
    let found = match found {
        Ok(found) => found,
        Err(reason) => return all(format!("its input '{input}': {reason}")),
    };
    let of = |(error, product): (&f64, &&Product)| match weights {
        _ if *error > HOPELESS => Err(format!("its output is {:.0} % off with the best scale", error * 100.0)),
        WeightType::Int4 if !product.rows.is_multiple_of(BLOCK) => {
            Err(format!("4-bit weights come in blocks of {BLOCK} input channels, and it has {}", product.rows))
        }
        WeightType::Int8 | WeightType::Int4 => Ok(*error),
    };
    let results: Vec<_> = found.errors.iter().zip(readers).map(of).collect();
    if results.iter().any(Result::is_ok) {
        fits.insert(input.to_owned(), found);
    }
    Ok(results)
}

/// Statistics of the products' inputs over every run of the stage, by tensor.
fn record(
    captured: &ReferenceRun,
    reference: &mut Networks,
    stage: &Stage,
    network: &Network,
    products: &[Product],
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<String, Statistics>, Error> {
    let wanted: BTreeSet<&str> = products.iter().map(|product| product.input.as_str()).collect();
    let inside = network.made(&wanted);
    let mut statistics: BTreeMap<String, Statistics> = BTreeMap::new();
    let mut add = |name: &str, tensor: &HostTensor| {
        let single = tensor.to_single();
        if let (Some(values), Some(channels)) = (single.as_f32(), tensor.dims().last()) {
            statistics.entry(name.to_owned()).or_insert_with(|| Statistics::new(*channels)).add(values);
        }
    };
    // Outputs of the network that are read inside it as well are there already.
    let outputs: BTreeSet<&str> = network.outputs.iter().map(|output| output.name.as_str()).collect();
    let shown: Vec<_> = inside.values().filter(|tensor| !outputs.contains(tensor.name.as_str())).collect();
    let folder = options.scratch.join("recording").join(&stage.name);
    let file = network.write_showing(&shown, &folder)?;
    let mut described = Stage { onnx: file.clone(), file, ..stage.clone() };
    described.outputs.extend(shown.iter().map(|tensor| inner_output(&tensor.name, tensor)));
    let own: BTreeMap<&str, &str> =
        stage.outputs.iter().map(|output| (output.name.as_str(), output.tensor.as_str())).collect();
    let runs = captured.runs(stage);
    for (input, run) in stage
        .inputs
        .iter()
        .filter(|input| wanted.contains(input.tensor.as_str()))
        .flat_map(|input| runs.iter().map(move |run| (input, *run)))
    {
        add(&input.tensor, &captured.input(run, &input.name)?);
    }
    let mut say = |done, total| progress(Progress::Recording { stage: stage.name.clone(), done, total });
    observe(captured, &stage.name, &described, reference, &mut say, &mut |name, tensor| {
        let tensor_name = name.strip_prefix(INNER).or_else(|| own.get(name).copied());
        if let Some(name) = tensor_name.filter(|name| wanted.contains(name)) {
            add(name, tensor);
        }
    })?;
    Ok(statistics)
}
