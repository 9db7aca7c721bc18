//! Runs a network on ONNX Runtime and reads tensors inside of it.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;
use vla_base::tensor::{Data, Dim, HostTensor, TensorSpec};
use vla_engines::onnx::{Network, proto};
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Backend as _, BufferSpec, ProvenanceStatus, Stage};

/// Numbers in `-1..1`, the same in every run.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Inputs of a network: seeded numbers, and the whole numbers from 0 for integers.
pub(crate) fn feeds(network: &Network, symbols: &BTreeMap<String, usize>) -> Vec<(String, HostTensor)> {
    let inferred = network.inferred(symbols);
    let feed = |(seed, spec): (usize, &TensorSpec)| {
        let dims = &inferred[&spec.name].dims;
        let mut tensor = HostTensor::zeros(spec.dtype, dims).expect("small");
        let count = dims.iter().product();
        match tensor.data_mut() {
            Data::F32(values) => *values = numbers(count, seed as u32 + 1),
            Data::F16(values) => {
                *values = numbers(count, seed as u32 + 1).iter().map(|value| half::f16::from_f32(*value)).collect()
            }
            Data::I32(values) => *values = (0..).take(count).collect(),
            other => panic!("{}: {other:?}", spec.name),
        }
        (spec.name.clone(), tensor)
    };
    network.inputs.iter().enumerate().map(feed).collect()
}

/// The tensors `wanted` of the network in `file`, in single precision.
pub(crate) fn run(
    file: &Path,
    symbols: &BTreeMap<String, usize>,
    feeds: &[(String, HostTensor)],
    wanted: &[&str],
) -> BTreeMap<String, Vec<f32>> {
    let network = Network::open(file).expect("a network");
    let inferred = network.inferred(symbols);
    let outputs: Vec<&str> = network.outputs.iter().map(|output| output.name.as_str()).collect();
    let spec = |name: &&str| {
        let known = inferred.get(*name).unwrap_or_else(|| panic!("{name} is of unknown size"));
        let dims = known.dims.iter().enumerate().map(|(at, _)| Dim::Symbol(format!("{name}.{at}"))).collect();
        TensorSpec { name: (*name).to_owned(), dtype: proto::dtype(known.data_type).expect("a number"), dims }
    };
    let shown: Vec<TensorSpec> = wanted.iter().filter(|name| !outputs.contains(*name)).map(spec).collect();
    let folder = TempDir::new().expect("scratch");
    let file = network.write_showing(&shown.iter().collect::<Vec<_>>(), folder.path()).expect("written");
    let stage = Stage {
        name: "rewritten".to_owned(),
        file: file.clone(),
        onnx: file,
        repeat: false,
        inputs: Vec::new(),
        outputs: Vec::new(),
        precision: String::new(),
        profile: Vec::new(),
        allow_unverified: false,
        allow_inaccurate: false,
    };
    let mut device = Onnx::new(1).expect("ONNX Runtime");
    let mut engine = device.load(&stage, &ProvenanceStatus::NotApplicable).expect("loads");
    let made: Vec<TensorSpec> = device.outputs(&engine).to_vec();
    let input = |(_, tensor): &(String, HostTensor)| (tensor.dtype(), tensor.dims().to_vec());
    let output = |spec: &TensorSpec| (spec.dtype, inferred[&spec.name].dims.clone());
    let buffers: Vec<BufferSpec> = feeds
        .iter()
        .map(input)
        .chain(made.iter().map(output))
        .map(|(dtype, dims)| BufferSpec { dtype, dims, upload: true, download: true })
        .collect();
    let mut workspace = device.workspace(&buffers, 0).expect("memory");
    for (index, (_, tensor)) in feeds.iter().enumerate() {
        device.write(&mut workspace, index, tensor).expect("the same size");
    }
    let inputs: Vec<_> = feeds.iter().map(|(name, _)| name.clone()).zip(0..).collect();
    let places: Vec<_> = made.iter().map(|spec| spec.name.clone()).zip(feeds.len()..).collect();
    let mut bound = device.bind(&mut engine, &mut workspace, &inputs, &places).expect("binds");
    device.run(&mut engine, &mut bound, &mut workspace).expect("runs");
    let read = |(spec, (name, index)): (&TensorSpec, &(String, usize))| {
        let mut tensor = HostTensor::zeros(spec.dtype, &inferred[name].dims).expect("small");
        device.read(&workspace, *index, &mut tensor).expect("the same size");
        let values = tensor.to_single().as_f32().map(<[f32]>::to_vec);
        values.map(|values| (name.clone(), values))
    };
    made.iter().zip(&places).filter_map(read).collect()
}

/// The largest difference over the largest magnitude.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    found
        .iter()
        .zip(expected)
        .fold(0.0_f32, |most, (a, b)| if (a - b).is_nan() { f32::INFINITY } else { most.max((a - b).abs()) })
        / largest
}
