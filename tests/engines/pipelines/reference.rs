//! The policy's networks on ONNX Runtime, one after the other by hand: what a pipeline must come to, without its joining of
//! tensors, its loop and its constants.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use vla_base::tensor::{DType, Dim, HostTensor};
use vla_engines::onnx_runtime::{Onnx, OnnxEngine};
use vla_engines::{Backend as _, BufferSpec, ProvenanceStatus, Stage};

use super::bench::Bench;
use super::given::{Given, RESULT, floats};

type Named = BTreeMap<String, HostTensor>;

pub(super) struct Reference {
    device: Onnx,
    /// In run order.
    networks: Vec<(Stage, OnnxEngine)>,
}

impl Reference {
    pub(super) fn of(bench: &Bench) -> Self {
        let mut device = Onnx::new(1).expect("ONNX Runtime");
        let mut load = |stage: Stage| {
            let network =
                device.load(&stage, &ProvenanceStatus::NotApplicable).unwrap_or_else(|error| panic!("{error}"));
            (stage, network)
        };
        let networks = bench.spec().stages.into_iter().map(&mut load).collect();
        Self { device, networks }
    }

    /// The denoised actions `[horizon, dims]`.
    pub(super) fn run(&mut self, given: &Given) -> Vec<f32> {
        let last = format!("{RESULT}[{}]", given.steps - 1);
        floats(&self.inspect(given)[&last])
    }

    /// Every output, and the constants of every step.
    pub(super) fn inspect(&mut self, given: &Given) -> Named {
        let mut known: Named = given.tensors().into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let mut made = Named::new();
        let repeats: Vec<bool> = self.networks.iter().map(|(stage, _)| stage.repeat).collect();
        assert_eq!(repeats, [false, false, false, true], "the demo policy's stages");
        for at in 0..3 {
            for (name, tensor) in self.network(at, given, &known) {
                known.insert(name.clone(), tensor.clone());
                made.insert(name, tensor);
            }
        }
        for step in 0..given.steps as usize {
            for input in self.networks[3].0.inputs.iter().filter(|input| input.constants.is_some()) {
                let row = constants(input.constants.as_deref().expect("a table"), &input.name, given.steps, step);
                known.insert(input.name.clone(), row.clone());
                made.insert(format!("{}[{step}]", input.name), row);
            }
            for (name, tensor) in self.network(3, given, &known) {
                assert_eq!(name, RESULT);
                known.insert("actions".into(), tensor.clone());
                made.insert(format!("{name}[{step}]"), tensor);
            }
        }
        made
    }

    /// Outputs of one network for the inputs among `known`.
    fn network(&mut self, at: usize, given: &Given, known: &Named) -> Vec<(String, HostTensor)> {
        let Self { device, networks } = self;
        let (stage, network) = &mut networks[at];
        let symbols = given.symbols();
        let size = |dim: &Dim| match dim {
            Dim::Fixed(n) => *n,
            Dim::Symbol(name) => symbols[name],
        };
        let inputs: Vec<(&str, &HostTensor)> =
            stage.inputs.iter().map(|input| (input.tensor.as_str(), &known[&input.name])).collect();
        let outputs: Vec<(String, DType, Vec<usize>)> = device
            .outputs(network)
            .iter()
            .map(|output| (output.name.clone(), output.dtype, output.dims.iter().map(size).collect()))
            .collect();
        let place = |dtype, dims: &[usize]| BufferSpec { dtype, dims: dims.to_vec(), upload: true, download: true };
        let buffers: Vec<BufferSpec> = inputs
            .iter()
            .map(|(_, tensor)| place(tensor.dtype(), tensor.dims()))
            .chain(outputs.iter().map(|(_, dtype, dims)| place(*dtype, dims)))
            .collect();
        let mut workspace = device.workspace(&buffers, 0).expect("memory");
        for (index, (_, tensor)) in inputs.iter().enumerate() {
            device.write(&mut workspace, index, tensor).expect("the same size");
        }
        let read: Vec<(String, usize)> = (0..).zip(&inputs).map(|(at, (name, _))| ((*name).to_owned(), at)).collect();
        let made: Vec<(String, usize)> =
            (inputs.len()..).zip(&outputs).map(|(at, (name, ..))| (name.clone(), at)).collect();
        let mut bound = device.bind(network, &mut workspace, &read, &made).expect("its own tensors");
        device.run(network, &mut bound, &mut workspace).unwrap_or_else(|error| panic!("{}: {error}", stage.name));
        let mut found = Vec::new();
        for ((name, index), (_, dtype, dims)) in made.into_iter().zip(outputs) {
            let mut tensor = HostTensor::zeros(dtype, &dims).expect("small");
            device.read(&workspace, index, &mut tensor).expect("the same size");
            found.push((name, tensor));
        }
        found
    }
}

/// Row `step` of the table of `steps` steps.
fn constants(file: &Path, name: &str, steps: u32, step: usize) -> HostTensor {
    let bytes = std::fs::read(file).expect("the table's file");
    let tables = SafeTensors::deserialize(&bytes).expect("safetensors");
    let table = tables.tensor(&format!("{name}.{steps}")).expect("the table");
    let dims = &table.shape()[1..];
    let row = dims.iter().product::<usize>().max(1) * 4;
    let values = table.data()[step * row..][..row].chunks_exact(4);
    let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    HostTensor::from_f32(dims, values).expect("whole")
}
