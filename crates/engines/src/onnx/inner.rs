//! Tensors inside a network, and the same network with some of them among its outputs, for a comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::products::whole;
use super::proto::{
    self, DimensionProto, GraphProto, ModelProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::quantization::Graph;
use super::shapes::Shapes;
use super::{Error, Network};
use vla_base::sys::map;
use vla_base::tensor::{Dim, TensorSpec};

/// Operators whose results, if one input is a weight, locate the first deviation between two runs of a network.
const TELLING: [&str; 4] = ["Conv", "Gemm", "LayerNormalization", "MatMul"];
/// Two sizes of each symbolic dimension, far apart: a dimension of a tensor is a symbol when it has the symbol's size
/// with both. Primes, so that no product of others is taken for one.
const PROBES: [[usize; 8]; 2] =
    [[1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049], [2003, 2011, 2017, 2027, 2029, 2039, 2053, 2063]];

/// The result of a product or a norm with a weight. The weight says which one it is in every export of a checkpoint;
/// names of results are numbered, and the number depends on what else an export has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inner {
    /// Name of the weight.
    pub weight: String,
    /// The result.
    pub tensor: TensorSpec,
}

impl Network {
    /// Floating results of products and norms with a weight, in their order, with dimensions that are fixed or those of
    /// an input. Of a weight that is used several times the first; left out are outputs and results of other dimensions.
    /// A weight behind QuantizeLinear or DequantizeLinear counts as the one that a float network has in its place.
    pub fn inner(&self) -> Vec<Inner> {
        let weights: BTreeSet<&str> = self.weights.iter().map(|weight| weight.name.as_str()).collect();
        let outputs: BTreeSet<&str> = self.outputs.iter().map(|output| output.name.as_str()).collect();
        let graph = Graph::of(&self.graph);
        let known = self.described();
        let (mut found, mut used) = (Vec::new(), BTreeSet::new());
        for node in self.graph.node.iter().filter(|node| TELLING.contains(&node.op_type())) {
            let mut read = node.input.iter().take(2).filter_map(|input| graph.source(input)).map(|source| source.name);
            let (Some(weight), Some(name)) = (read.find(|name| weights.contains(name)), node.output.first()) else {
                continue;
            };
            let name = whole(name).filter(|whole| known.contains_key(*whole)).unwrap_or(name);
            let Some(tensor) = known.get(name).filter(|_| !outputs.contains(name)) else { continue };
            if used.insert(weight) {
                found.push(Inner { weight: weight.to_owned(), tensor: tensor.clone() });
            }
        }
        found
    }

    /// Those of the named tensors that nodes make, floating and with dimensions that are fixed or those of an input; by name.
    pub fn made(&self, names: &BTreeSet<&str>) -> BTreeMap<String, TensorSpec> {
        let mut known = self.described();
        known.retain(|name, _| names.contains(name.as_str()));
        known
    }

    /// Every floating result of a node whose dimensions are fixed or those of an input.
    fn described(&self) -> BTreeMap<String, TensorSpec> {
        let symbols = symbols(&self.graph);
        if symbols.len() > PROBES[0].len() {
            return BTreeMap::new();
        }
        let sizes = PROBES
            .map(|probe| symbols.iter().map(|symbol| (*symbol).to_owned()).zip(probe).collect::<BTreeMap<_, usize>>());
        let [mut small, mut large] = [Shapes::new(&self.graph, &sizes[0]), Shapes::new(&self.graph, &sizes[1])];
        let mut described = BTreeMap::new();
        for node in &self.graph.node {
            small.follow(node);
            large.follow(node);
            for name in &node.output {
                let (Some(a), Some(b)) = (small.get(name), large.get(name)) else { continue };
                let dims = a.dims.iter().zip(&b.dims).map(|(&a, &b)| dim(a, b, &sizes));
                let dims = dims.collect::<Option<Vec<Dim>>>().filter(|_| a.dims.len() == b.dims.len());
                let dtype = proto::dtype(a.data_type).filter(|_| proto::is_float(a.data_type));
                if let (Some(dims), Some(dtype)) = (dims, dtype) {
                    described.insert(name.clone(), TensorSpec { name: name.clone(), dtype, dims });
                }
            }
        }
        described
    }

    /// Writes the network with `tensors` among its outputs to `folder`, under its own name; returns the file. Weights
    /// beside the model are linked, not copied.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_showing(&self, tensors: &[&TensorSpec], folder: &Path) -> Result<PathBuf, Error> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| Error::Io { path, source }
        };
        let target = folder.join(self.path.file_name().unwrap_or_default());
        fs::create_dir_all(folder).map_err(fail(folder))?;
        let model = map::map(&self.path).map_err(fail(&self.path))?;
        // A repeated message field is merged, so that fields unknown to our schema are preserved.
        let graph =
            GraphProto { output: tensors.iter().map(|tensor| described(tensor)).collect(), ..GraphProto::default() };
        let more = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
        let written = fs::File::create(&target).and_then(|mut file| {
            io::Write::write_all(&mut file, &model)?;
            io::Write::write_all(&mut file, &more)
        });
        written.map_err(fail(&target))?;
        let here = self.path.parent().unwrap_or(Path::new(""));
        for file in &self.data_files {
            let link = folder.join(file.strip_prefix(here).unwrap_or(file));
            fs::create_dir_all(link.parent().unwrap_or(folder)).map_err(fail(&link))?;
            linked(file, &link).map_err(fail(&link))?;
        }
        Ok(target)
    }
}

/// ONNX Runtime reads no weights through a link that leaves the model's folder, where a hard link can be had.
fn linked(file: &Path, link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs::canonicalize(file)?;
    fs::hard_link(&file, link).or_else(|_| std::os::unix::fs::symlink(&file, link))
}

/// Names of the inputs' open dimensions; the empty one for those without a name.
fn symbols(graph: &GraphProto) -> BTreeSet<&str> {
    let types = graph.input.iter().filter_map(|input| input.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref());
    types.flat_map(|shape| &shape.dim).filter(|dim| dim.dim_value.is_none()).map(DimensionProto::dim_param).collect()
}

/// The named dimension with these sizes in the two probes; `None` if there is none.
fn dim(a: usize, b: usize, sizes: &[BTreeMap<String, usize>; 2]) -> Option<Dim> {
    if a == b {
        return Some(Dim::Fixed(a));
    }
    let symbol = sizes[0].iter().find(|(symbol, size)| **size == a && sizes[1].get(*symbol) == Some(&b));
    symbol.filter(|(symbol, _)| !symbol.is_empty()).map(|(symbol, _)| Dim::Symbol(symbol.clone()))
}

fn described(tensor: &TensorSpec) -> ValueInfoProto {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(n) => DimensionProto { dim_value: i64::try_from(*n).ok(), dim_param: None },
        Dim::Symbol(symbol) => DimensionProto { dim_value: None, dim_param: Some(symbol.clone()) },
    };
    let shape = TensorShapeProto { dim: tensor.dims.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(proto::element_type(tensor.dtype)), shape: Some(shape) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor_type) });
    ValueInfoProto { name: Some(tensor.name.clone()), r#type }
}
