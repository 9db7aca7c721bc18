//! Networks as NVIDIA's exporter leaves them, made of this crate's layers: the vendor's names, INT64 ids, BOOL masks,
//! named dimensions where its files have them, and the weights of all embodiments.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message as _;
use vla_base::tensor::{DType, Dim};
use vla_export::layers::{Net, dit, language, step_constants, vision};
use vla_export::layout::stacked;
use vla_export::onnx::proto::{DimensionProto, ModelProto, ValueInfoProto};
use vla_export::onnx::{Graph, Value};
use vla_export::weights::{Weight, Weights};
use vla_export::{Error, Model, Options, View};

/// The files of the full pipeline.
pub const FILES: [&str; 6] = [
    "vit_bf16.onnx",
    "llm_bf16.onnx",
    "state_encoder.onnx",
    "action_encoder.onnx",
    "dit_bf16.onnx",
    "action_decoder.onnx",
];

/// What the files are made of.
#[derive(Clone, Copy)]
pub struct Vendor<'a> {
    pub weights: &'a dyn Weights,
    pub model: &'a Model,
    pub options: &'a Options,
    pub views: &'a [View],
    /// Element type of the edges.
    pub edge: DType,
}

/// Axes with a name in the vendor's files, by tensor.
type Names = &'static [(&'static str, &'static [Option<&'static str>])];

const BATCH: Option<&str> = Some("batch_size");

fn fixed<const N: usize>(sizes: [usize; N]) -> [Dim; N] {
    sizes.map(Dim::Fixed)
}

fn sequence() -> Dim {
    Dim::Symbol("S".to_owned())
}

impl Vendor<'_> {
    /// Writes all six.
    pub fn write_all(&self, dir: &Path) {
        let parts: [fn(&Self, &Path); 6] =
            [Self::vit, Self::llm, Self::state_encoder, Self::action_encoder, Self::dit, Self::action_decoder];
        parts.iter().zip(FILES).for_each(|(write, file)| write(self, &dir.join(file)));
    }

    fn file(
        &self,
        path: &Path,
        names: Names,
        edges: &[&str],
        build: impl FnOnce(&mut Net<'_>) -> Result<(&'static str, Value), Error>,
    ) {
        let edges: BTreeMap<String, DType> = edges.iter().map(|name| ((*name).to_owned(), self.edge)).collect();
        let mut graph = Graph::new("vendor", path);
        let mut net = Net { graph: &mut graph, weights: self.weights, options: self.options, edges: &edges };
        let (name, value) = build(&mut net).expect("builds");
        let value = net.graph.cast(&value, self.edge);
        net.graph.output(name, &value).expect("an output");
        graph.finish().expect("written");
        name_dimensions(path, names);
    }

    pub fn vit(&self, path: &Path) {
        let group = stacked(self.model, self.views, "pixel_values").expect("one size");
        let vision = &self.model.vision;
        let patches = group.patches(vision) / group.views;
        let names: Names = &[("pixel_values", &[BATCH]), ("vit_embeds", &[BATCH])];
        self.file(path, names, &["pixel_values"], |net| {
            let encoded = vision::tower(net, self.model, std::slice::from_ref(&group), 0..vision.layers)?;
            let encoded = net.graph.reshape(&encoded[0], &fixed([group.views, patches, vision.width]))?;
            Ok(("vit_embeds", encoded))
        });
    }

    pub fn llm(&self, path: &Path) {
        let model = &self.model;
        let language = &model.language;
        const ROWS: &[Option<&str>] = &[BATCH, Some("sequence_length")];
        let names: Names = &[("inputs_embeds", ROWS), ("attention_mask", ROWS), ("embeddings", ROWS)];
        self.file(path, names, &["inputs_embeds"], |net| {
            let dims = [Dim::Fixed(1), sequence(), Dim::Fixed(language.width)];
            let embeds = net.float_input("inputs_embeds", &dims)?;
            let mask = net.graph.input("attention_mask", DType::I64, &[Dim::Fixed(1), sequence()])?;
            let mask = net.graph.cast(&mask, DType::I32);
            let (embeds, mask) = (net.unbatched(&embeds)?, net.unbatched(&mask)?);
            let length =
                language::Sequence { counted: &mask, most: 1000, attended: Some(&mask), grids: &[], deepstack: &[] };
            let features = language::decoder(net, model, &embeds, length, 0..language.layers)?;
            Ok(("embeddings", net.batched(&features)?))
        });
    }

    pub fn state_encoder(&self, path: &Path) {
        let head = &self.model.head;
        self.file(path, &[], &["state"], |net| {
            let state = net.float_input("state", &fixed([1, 1, head.state_dims]))?;
            let id = embodiment(net)?;
            let state = net.unbatched(&state)?;
            let name = "action_head.state_encoder";
            let inner = self.linear(net, &state, &id, &format!("{name}.layer1"), head.state_dims, head.hidden)?;
            let inner = net.graph.relu(&inner);
            let out = self.linear(net, &inner, &id, &format!("{name}.layer2"), head.hidden, head.width)?;
            Ok(("output", net.batched(&out)?))
        });
    }

    pub fn action_encoder(&self, path: &Path) {
        let head = &self.model.head;
        self.file(path, &[], &["actions"], |net| {
            let actions = net.float_input("actions", &fixed([1, head.horizon, head.action_dims]))?;
            let time = net.graph.input("timesteps", DType::I64, &fixed([1]))?;
            let time = net.graph.cast(&time, DType::I32);
            let id = embodiment(net)?;
            let actions = net.unbatched(&actions)?;
            let table = step_constants::action_times(head.width, head.timestep_buckets);
            let table = net.place(&Weight::computed("times", &[head.timestep_buckets, head.width], &table))?;
            let time = net.graph.gather(&table, &time)?;
            let time = net.graph.expand(&time, &fixed([head.horizon, head.width]))?;
            let name = "action_head.action_encoder";
            let first = self.linear(net, &actions, &id, &format!("{name}.W1"), head.action_dims, head.width)?;
            let both = net.graph.concat(&[&first, &time], 1)?;
            let second = self.linear(net, &both, &id, &format!("{name}.W2"), 2 * head.width, head.width)?;
            let second = net.graph.silu(&second)?;
            let out = self.linear(net, &second, &id, &format!("{name}.W3"), head.width, head.width)?;
            Ok(("output", net.batched(&out)?))
        });
    }

    pub fn dit(&self, path: &Path) {
        let (head, channels) = (&self.model.head, self.model.language.width);
        const MASK: &[Option<&str>] = &[BATCH, Some("vl_seq_len")];
        const TOKENS: &[Option<&str>] = &[BATCH, Some("sa_seq_len")];
        let names: Names = &[
            ("sa_embs", TOKENS),
            ("vl_embs", MASK),
            ("timestep", &[BATCH]),
            ("image_mask", MASK),
            ("backbone_attention_mask", MASK),
            ("output", TOKENS),
        ];
        self.file(path, names, &["sa_embs", "vl_embs"], |net| {
            let tokens = net.float_input("sa_embs", &fixed([1, 1 + head.horizon, head.width]))?;
            let vl_embs = net.float_input("vl_embs", &[Dim::Fixed(1), sequence(), Dim::Fixed(channels)])?;
            let timestep = net.graph.input("timestep", DType::I64, &fixed([1]))?;
            let timestep = net.graph.cast(&timestep, DType::I32);
            let mask = |net: &mut Net<'_>, name: &str| {
                let mask = net.graph.input(name, DType::Bool, &[Dim::Fixed(1), sequence()])?;
                let mask = net.graph.cast(&mask, DType::I32);
                net.unbatched(&mask)
            };
            let (image_mask, attention_mask) = (mask(net, "image_mask")?, mask(net, "backbone_attention_mask")?);
            let (tokens, vl_embs) = (net.unbatched(&tokens)?, net.unbatched(&vl_embs)?);
            let inputs = dit::Inputs { tokens, vl_embs, timestep, image_mask, attention_mask };
            let output = dit::dit(net, self.model, &inputs)?;
            Ok(("output", net.batched(&output)?))
        });
    }

    pub fn action_decoder(&self, path: &Path) {
        let head = &self.model.head;
        self.file(path, &[], &["model_output"], |net| {
            let output = net.float_input("model_output", &fixed([1, 1 + head.horizon, head.output]))?;
            let id = embodiment(net)?;
            let output = net.unbatched(&output)?;
            let name = "action_head.action_decoder";
            let inner = self.linear(net, &output, &id, &format!("{name}.layer1"), head.output, head.hidden)?;
            let inner = net.graph.relu(&inner);
            let out = self.linear(net, &inner, &id, &format!("{name}.layer2"), head.hidden, head.action_dims)?;
            Ok(("output", net.batched(&out)?))
        });
    }

    /// `CategorySpecificLinear` with the weights of all embodiments.
    fn linear(
        &self,
        net: &mut Net<'_>,
        x: &Value,
        id: &Value,
        name: &str,
        from: usize,
        to: usize,
    ) -> Result<Value, Error> {
        let all = self.model.head.embodiments;
        let weights = net.weight(&format!("{name}.W"), &[all, from, to])?;
        let biases = net.weight(&format!("{name}.b"), &[all, to])?;
        let weight = net.graph.gather(&weights, id)?;
        let weight = net.unbatched(&weight)?;
        let bias = net.graph.gather(&biases, id)?;
        net.graph.gemm(x, &weight, Some(&bias), false)
    }
}

fn embodiment(net: &mut Net<'_>) -> Result<Value, Error> {
    let id = net.graph.input("embodiment_id", DType::I64, &fixed([1]))?;
    Ok(net.graph.cast(&id, DType::I32))
}

/// Replaces sizes of the model's edges by names.
fn name_dimensions(path: &Path, names: Names) {
    let mut model = ModelProto::decode(fs::read(path).expect("model").as_slice()).expect("protobuf");
    let graph = model.graph.as_mut().expect("a graph");
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let named = names.iter().find(|(tensor, _)| info.name.as_deref() == Some(*tensor));
        for (axis, name) in named.map_or(&[][..], |(_, axes)| axes).iter().enumerate() {
            if let Some(name) = name {
                dimensions(info)[axis] = DimensionProto { dim_value: None, dim_param: Some((*name).to_owned()) };
            }
        }
    }
    fs::write(path, model.encode_to_vec()).expect("written");
}

fn dimensions(info: &mut ValueInfoProto) -> &mut Vec<DimensionProto> {
    let tensor = info.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()).expect("a tensor");
    &mut tensor.shape.as_mut().expect("a shape").dim
}
