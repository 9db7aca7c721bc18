//! Whole inferences: vision, language, fusion where there is one, context and the denoising steps, chained by name.

use std::collections::BTreeMap;

use vla_base::tensor::DType;
use vla_cuda::launch::{TensorTile, Tile};
use vla_cuda::plan::{Plan, WeightLayout};
use vla_cuda::tactics::Split;
use vla_engines::Symbols;
use vla_export::Family;
use vla_export::family::{N1D6, N1D7};

use super::demo::{Policy, sizes};
use super::run::{Network, Random, Tensors};

const STEPS: usize = 2;

type Named = BTreeMap<String, Vec<f64>>;

/// Runs one stage on what there is, and adds its outputs.
fn stage(network: &Network, named: &mut Named, run: &impl Fn(&Network, &Tensors) -> Tensors) {
    let name = |value: &usize| network.program.values[*value].name.clone();
    let inputs = network.program.inputs.iter().map(|input| named[&name(input)].clone()).collect();
    let outputs = run(network, &inputs);
    named.extend(network.program.outputs.iter().map(name).zip(outputs));
}

/// The actions of a whole inference.
fn infer(policy: &Policy, host: &Named, run: &impl Fn(&Network, &Tensors) -> Tensors) -> Vec<f64> {
    let mut named = host.clone();
    for (name, network) in &policy.stages {
        for _ in 0..if *name == "step" { STEPS } else { 1 } {
            stage(network, &mut named, run);
            if let Some(next) = named.remove("next_actions") {
                named.insert("actions".to_owned(), next);
            }
        }
    }
    named.remove("actions").unwrap()
}

/// Random values of everything that no stage makes.
fn host(policy: &Policy, symbols: &Symbols, random: &mut Random) -> Named {
    let mut host = Named::new();
    for (_, network) in &policy.stages {
        let inputs = network.inputs(symbols, random);
        for (input, values) in network.program.inputs.iter().zip(inputs) {
            host.entry(network.program.values[*input].name.clone()).or_insert(values);
        }
    }
    host
}

/// Compares the actions of inferences of two lengths.
fn check(family: &'static Family, dtype: DType) {
    let (policy, mut random) = (Policy::new(family, dtype), Random(2));
    // In two parts where a norm adds them; in single precision the library's all the same.
    let tile = Tile::Tensor(TensorTile { outputs: 48, cluster: 2, stages: 8 });
    let own = Split { tile: Some(tile), ..Split::parts(2, false) };
    if dtype != DType::F32 {
        let (_, step) = policy.stages.last().unwrap();
        let plan = Plan::new(&step.program, &WeightLayout::new(&step.program), &sizes(21, 83), &own).unwrap();
        assert!(plan.tilings(1 << 20).values().any(Option::is_some), "no weight of the step lies in tiles");
    }
    for (text, rows, split) in [(21, 83, own), (38, 99, Split::parts(4, false))] {
        let symbols = sizes(text, rows);
        let host = host(&policy, &symbols, &mut random);
        let found = infer(&policy, &host, &|network, inputs| network.emulated(&symbols, inputs, split));
        let expected = infer(&policy, &host, &|network, inputs| network.expected(&symbols, inputs));
        let (_, step) = policy.stages.last().unwrap();
        let change = |to: &[f64]| to.iter().zip(&host["actions"]).map(|(to, from)| to - from).collect::<Vec<_>>();
        let what = format!("{}, {text} of {rows} rows, {split:?}", policy.name);
        step.compare(&change(&found), &change(&expected), &what);
    }
}

#[test]
fn inferences_of_n1d6_in_single_precision() {
    check(&N1D6, DType::F32);
}

#[test]
fn inferences_of_n1d6_in_half_precision() {
    check(&N1D6, DType::F16);
}

#[test]
fn inferences_of_n1d7_in_half_precision() {
    check(&N1D7, DType::F16);
}
