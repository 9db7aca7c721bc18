//! From a recipe to the nodes of the new network.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use vla_engines::onnx::proto::NodeProto;
use vla_engines::onnx::{Inferred, Network, PRODUCT_SUFFIX};

use super::check;
use super::draft::{Draft, Form, Made, Weight, int};
use super::names::Names;
use super::opset;
use super::wire;
use crate::Error;
use crate::carrier::Carrier;
use crate::float::Float;
use crate::graph::Index;
use crate::integers::BLOCK;
use crate::product::Product;
use crate::recipe::{Recipe, Target, WeightType};

/// What distinguishes one form of a weight from another: the type, and the tensors whose factors are in rows and columns.
type Variant<'a> = (&'a str, Option<WeightType>, Option<&'a str>, Option<&'a str>, bool);

/// The new network's nodes and initializers.
pub(crate) struct Plan<'r> {
    /// Them.
    pub draft: Draft<'r>,
    /// Operator set that they need.
    pub opset: i64,
}

struct Planner<'a> {
    network: &'a Network,
    index: Index<'a>,
    products: &'a [Product],
    recipe: &'a Recipe,
    target: Target,
    draft: Draft<'a>,
    places: HashMap<&'a str, usize>,
    types: BTreeMap<String, Inferred>,
    /// By a node's output and place among its inputs: a vector, and the tensor whose factors divide it.
    vectors: HashMap<(String, usize), (String, String)>,
    /// By a product's name: the tensor whose factors divide its output channels.
    columns: HashMap<String, String>,
    activations: HashMap<&'a str, String>,
    variants: BTreeMap<Variant<'a>, String>,
    opsets: (i64, i64),
}

/// Plans the new network; `raw` are the bytes of each node.
///
/// # Errors
/// See [`super::rewrite`].
pub(crate) fn plan<'a>(
    network: &'a Network,
    products: &'a [Product],
    raw: &[Bytes],
    recipe: &'a Recipe,
    target: Target,
) -> Result<Plan<'a>, Error> {
    let index = Index::new(network);
    let carriers = check::recipe(network, &index, products, recipe, target)?;
    let opsets = opsets(network, &index, products, recipe, target)?;
    let places = network.graph().initializer.iter().enumerate().map(|(place, tensor)| (tensor.name(), place));
    let mut planner = Planner {
        network,
        products,
        recipe,
        target,
        draft: Draft::new(Names::of(network)),
        places: places.collect(),
        types: if target == Target::Trt8 { network.inferred(&BTreeMap::new()) } else { BTreeMap::new() },
        vectors: HashMap::new(),
        columns: HashMap::new(),
        activations: HashMap::new(),
        variants: BTreeMap::new(),
        index,
        opsets,
    };
    planner.carry(carriers);
    for (node, raw) in network.graph().node.iter().zip(raw) {
        planner.node(node, raw)?;
    }
    planner.keep();
    Ok(Plan { draft: planner.draft, opset: opsets.1 })
}

/// Operator sets of the old and the new network.
fn opsets(
    network: &Network,
    index: &Index<'_>,
    products: &[Product],
    recipe: &Recipe,
    target: Target,
) -> Result<(i64, i64), Error> {
    let found = network.opsets.iter().find(|(domain, _)| domain.is_empty() || domain == "ai.onnx");
    let found = found.map_or(0, |(_, version)| *version);
    if found < opset::OLDEST {
        let reason = format!("expected opset {} or later, found {found}; export the network again", opset::OLDEST);
        return Err(Error::Unsupported { path: network.path.clone(), reason });
    }
    let needed = |product: &Product| {
        let float = index.initializer(&product.weight).map_or(Float::F32, Float::of_tensor);
        match recipe.products.get(&product.node) {
            Some(WeightType::Int4) => opset::BLOCKS,
            Some(WeightType::Int8) if target == Target::Trt10 && float != Float::F32 => opset::HALF_SCALES,
            _ => found,
        }
    };
    Ok((found, products.iter().map(needed).fold(found, i64::max)))
}

impl<'a> Planner<'a> {
    /// Notes which vectors and products are divided.
    fn carry(&mut self, carriers: BTreeMap<String, Carrier>) {
        for (tensor, carrier) in carriers {
            for vector in carrier.vectors {
                self.vectors.insert((vector.output, vector.input), (vector.tensor, tensor.clone()));
            }
            self.columns.extend(carrier.product.map(|product| (product, tensor)));
        }
    }

    fn factors(&self, tensor: &str) -> Option<(&'a str, &'a [f32])> {
        self.recipe.smoothing.get_key_value(tensor).map(|(name, factors)| (name.as_str(), factors.as_slice()))
    }

    fn wanted(&self, product: &Product) -> Option<WeightType> {
        self.recipe.products.get(&product.node).copied()
    }

    /// Whether a product has another weight in the new network.
    fn is_rewritten(&self, product: &Product) -> bool {
        self.wanted(product).is_some()
            || self.recipe.smoothing.contains_key(&product.input)
            || self.columns.contains_key(&product.node)
    }

    fn node(&mut self, node: &'a NodeProto, raw: &Bytes) -> Result<(), Error> {
        let mut inputs: Vec<(usize, String)> = Vec::new();
        for input in 0..node.input.len() {
            if let Some(name) = self.divided(node, input) {
                inputs.push((input, name));
            }
        }
        let products = self.products;
        let product = products.iter().find(|product| node.output.first() == Some(&product.output));
        if let Some(product) = product.filter(|product| self.is_rewritten(product)) {
            let weight = self.weight(product);
            if self.wanted(product).is_some() {
                let bias = inputs.pop().map(|(_, name)| name);
                return self.quantized(node, product, &weight, bias);
            }
            inputs.push((1, weight));
        }
        if self.target == Target::Trt8 && node.op_type() == "Relu" && !self.recipe.products.is_empty() {
            return self.relu(node);
        }
        let unsupported = |reason| Error::Unsupported { path: self.network.path.clone(), reason };
        let raised = opset::raise(&mut self.draft, node, raw, self.opsets).map_err(unsupported)?;
        let raised = if inputs.is_empty() { raised } else { rewired(&raised, &inputs).map_err(unsupported)? };
        self.draft.nodes.push(raised);
        Ok(())
    }

    /// The divided form of a node's input, when it is a vector that carries a tensor's factors.
    fn divided(&mut self, node: &NodeProto, input: usize) -> Option<String> {
        let output = node.output.first()?;
        let (vector, tensor) = self.vectors.get(&(output.clone(), input))?;
        let (by, place) = (self.factors(tensor)?.1, *self.places.get(vector.as_str())?);
        let name = self.draft.names.take(format!("{vector}.smoothed"), output);
        self.draft.made.push(Made::Divided { tensor: place, name: name.clone(), by });
        Some(name)
    }

    /// Name of a product's weight in the new network, as the product reads it.
    fn weight(&mut self, product: &'a Product) -> String {
        let wanted = self.wanted(product);
        let rows = self.factors(&product.input);
        let columns = self.columns.get(&product.node).and_then(|tensor| self.factors(tensor));
        let variant = (
            product.weight.as_str(),
            wanted,
            rows.map(|rows| rows.0),
            columns.map(|columns| columns.0),
            product.transposed,
        );
        if let Some(name) = self.variants.get(&variant) {
            return name.clone();
        }
        let name = self.weight_name(product, columns.is_some());
        let scale = |draft: &mut Draft<'_>| draft.names.take(format!("{name}.scale"), &product.node);
        let form = match (wanted, self.target) {
            (None, _) => Form::Float,
            (Some(WeightType::Int8), Target::Trt10) => Form::Int8(scale(&mut self.draft)),
            (Some(WeightType::Int8), Target::Trt8) => Form::Folded(scale(&mut self.draft)),
            (Some(WeightType::Int4), _) => Form::Int4(scale(&mut self.draft)),
        };
        let read = self.dequantized(&name, &form, product);
        self.draft.made.push(Made::Weight(Weight {
            tensor: self.places.get(product.weight.as_str()).copied().unwrap_or(usize::MAX),
            name,
            transposed: product.transposed,
            rows: rows.map(|rows| rows.1),
            columns: columns.map(|columns| columns.1),
            form,
        }));
        self.variants.insert(variant, read.clone());
        read
    }

    /// The old name where nothing else has it and the product's result is the same tensor.
    fn weight_name(&mut self, product: &Product, is_divided: bool) -> String {
        if is_divided {
            return self.draft.names.take(format!("{}.smoothed", product.weight), &product.node);
        }
        let place = self.places.get(product.weight.as_str()).copied().unwrap_or(usize::MAX);
        let rewritten =
            |output: &str| self.products.iter().any(|product| product.output == output && self.is_rewritten(product));
        let is_needed = self.index.is_kept(&product.weight)
            || self.index.readers(&product.weight).iter().any(|(reader, at)| {
                let output = self.index.graph.node[*reader].output.first();
                *at != 1 || !output.is_some_and(|output| rewritten(output))
            });
        if is_needed || !self.draft.dropped.insert(place) {
            return self.draft.names.take(format!("{}@{}", product.weight, product.node), &product.node);
        }
        product.weight.clone()
    }

    /// Appends the nodes between a weight and its product; returns what the product reads.
    fn dequantized(&mut self, name: &str, form: &Form, product: &Product) -> String {
        let (scale, attributes) = match form {
            Form::Float => return name.to_owned(),
            Form::Int8(scale) | Form::Folded(scale) => (scale, vec![int("axis", 1)]),
            Form::Int4(scale) => (scale, vec![int("axis", 0), int("block_size", BLOCK as i64)]),
        };
        let read = self.draft.names.take(format!("{name}.dequantized"), &product.node);
        if let Form::Int4(_) = form {
            self.draft.node("DequantizeLinear", &[name, scale], &read, None, attributes);
            return read;
        }
        let zero = self.draft.zero(Some(product.columns));
        let mut integers = name.to_owned();
        if let Form::Folded(_) = form {
            integers = self.draft.names.take(format!("{name}.int8"), &product.node);
            self.draft.node("QuantizeLinear", &[name, scale, &zero], &integers, None, attributes.clone());
        }
        self.draft.node("DequantizeLinear", &[&integers, scale, &zero], &read, None, attributes);
        read
    }

    /// Appends a quantised product: a MatMul, with a Gemm's bias behind it.
    fn quantized(
        &mut self,
        node: &NodeProto,
        product: &'a Product,
        weight: &str,
        bias: Option<String>,
    ) -> Result<(), Error> {
        let float = self.float(product);
        let is_island = self.target == Target::Trt8 && float != Float::F32;
        let x = match self.wanted(product) {
            Some(WeightType::Int8) => self.activation(product, float, is_island)?,
            _ => product.input.clone(),
        };
        let bias = bias.or_else(|| node.input.get(2).filter(|name| !name.is_empty()).cloned());
        let output = product.output.as_str();
        let mut made = output.to_owned();
        if is_island || bias.is_some() {
            made = self.draft.names.take(format!("{output}{PRODUCT_SUFFIX}"), &product.node);
        }
        self.draft.node("MatMul", &[&x, weight], &made, Some(&product.node), Vec::new());
        if is_island {
            let rounded = match bias {
                Some(_) => self.draft.names.take(format!("{output}.rounded"), &product.node),
                None => output.to_owned(),
            };
            let name = format!("{}.rounded", product.node);
            self.draft.node("Cast", &[&made], &rounded, Some(&name), vec![int("to", i64::from(float.code()))]);
            made = rounded;
        }
        if let Some(bias) = bias {
            let name = format!("{}.bias", product.node);
            self.draft.node("Add", &[&made, &bias], output, Some(&name), Vec::new());
        }
        Ok(())
    }

    fn float(&self, product: &Product) -> Float {
        self.index.initializer(&product.weight).map_or(Float::F32, Float::of_tensor)
    }

    /// The 8-bit form of a product's input, made once for all that read it.
    fn activation(&mut self, product: &'a Product, float: Float, is_island: bool) -> Result<String, Error> {
        if let Some(name) = self.activations.get(product.input.as_str()) {
            return Ok(name.clone());
        }
        let scale = check::scale(&self.index, product, self.recipe)?;
        let x = &product.input;
        let stored = if is_island { Float::F32 } else { float };
        let (code, bytes) = (stored.code(), stored.bytes(&[scale]));
        let scale = self.draft.small(format!("{x}.scale"), &product.node, code, &[], bytes);
        let zero = self.draft.zero(None);
        let mut take = |end: &str| self.draft.names.take(format!("{x}.{end}"), &product.node);
        let (integers, read) = (take("int8"), take("dequantized"));
        let mut source = x.clone();
        if is_island {
            source = take("single");
            self.draft.node("Cast", &[x], &source, None, vec![int("to", i64::from(Float::F32.code()))]);
        }
        self.draft.node("QuantizeLinear", &[&source, &scale, &zero], &integers, None, Vec::new());
        self.draft.node("DequantizeLinear", &[&integers, &scale, &zero], &read, None, Vec::new());
        self.activations.insert(&product.input, read.clone());
        Ok(read)
    }

    /// `max(x, 0)`: TensorRT 8.6.0 leaves a Relu behind an 8-bit product of few rows out.
    fn relu(&mut self, node: &NodeProto) -> Result<(), Error> {
        let (Some(x), Some(output)) = (node.input.first(), node.output.first()) else { return Ok(()) };
        let float = self.types.get(x).and_then(|known| Float::of(known.data_type)).ok_or_else(|| Error::Unsupported {
            path: self.network.path.clone(),
            reason: format!(
                "the element type of '{x}' in front of the Relu '{}' cannot be inferred, and TensorRT 8.6 needs another form of it; \
                 export the network with the types of its tensors (value_info)",
                node.name()
            ),
        })?;
        let zero = self.draft.float_zero(float);
        self.draft.node("Max", &[x, &zero], output, Some(node.name()), Vec::new());
        Ok(())
    }

    /// Keeps the initializers that something still reads, in front of the new ones.
    fn keep(&mut self) {
        let mut read: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        for node in &self.draft.nodes {
            let fields = wire::fields(node).unwrap_or_default();
            let inputs = fields.iter().filter(|field| field.tag == 1);
            read.extend(inputs.map(|field| String::from_utf8_lossy(&field.value).into_owned()));
        }
        let mut kept = Vec::new();
        for (place, tensor) in self.network.graph().initializer.iter().enumerate() {
            // An initializer that nothing read before stays as well.
            let was_read = !self.index.readers(tensor.name()).is_empty() && !self.index.is_kept(tensor.name());
            if self.draft.dropped.contains(&place) || (was_read && !read.contains(tensor.name())) {
                self.draft.dropped.insert(place);
            } else {
                kept.push(Made::Kept(place));
            }
        }
        kept.append(&mut self.draft.made);
        self.draft.made = kept;
    }
}

/// A node with other inputs.
fn rewired(raw: &Bytes, inputs: &[(usize, String)]) -> Result<Bytes, String> {
    let mut at = 0;
    let mut parts = Vec::new();
    for field in wire::fields(raw)? {
        let mut part = field.raw;
        if field.tag == 1 {
            if let Some((_, name)) = inputs.iter().find(|(place, _)| *place == at) {
                part = wire::field(1, name.as_bytes());
            }
            at += 1;
        }
        parts.push(part);
    }
    Ok(parts.concat().into())
}
