//! The `backbone-dit` layout: `backbone`, `fusion` where the model has such layers, `state_encoder`, then N times `action_encoder`, `dit`, `action_decoder`.
//!
//! Names, shapes and ids at the edges are the vendor's, with a batch of 1, so that a `backbone_model.onnx` or a
//! `dit_model.onnx` made elsewhere fits. Ids, masks and time buckets are INT32: TensorRT 8 reads no INT64, and BOOL is
//! no type of a network's edge everywhere.
//!
//! [`HEAD`] writes the layers around the two; the user of the policy provides `backbone` and `dit`.

use super::layers::actions::{self, Euler};
use super::layers::language::{self, Sequence};
use super::layers::step_constants::ActionFold;
use super::layers::vision::{ViewGroup, deepstack, vision};
use super::layers::{Net, dit, fixed, fusion};
use super::layout::{
    Layout, Network, STEPS, StageOptions, SuppliedNetwork, Writer, ids, named, rows, sequence, spec, stacked,
    write_steps,
};
use super::model::{Fusion, Head};
use super::onnx::Value;
use super::{Error, Model};
use vla_base::tensor::DType;

/// All stages.
pub const LAYOUT: Layout = Layout {
    name: "backbone-dit",
    stages: &["backbone", "fusion", "state_encoder", "action_encoder", "dit", "action_decoder"],
    stacked: true,
    cuts: false,
    backbone: true,
    embedding: false,
    operations: false,
    constants: STEPS,
    reads: |_| true,
    write: |writer, network| write(writer, network, false),
};

/// Everything but `backbone` and `dit`.
pub const HEAD: Layout = Layout {
    name: "head",
    backbone: false,
    reads: |weight| weight.starts_with("action_head.") && !weight.starts_with("action_head.model."),
    write: |writer, network| write(writer, network, true),
    ..LAYOUT
};

/// File and description of a backbone that the user supplies.
const BACKBONE: (&str, &str) =
    ("backbone_model.onnx", "vision tower and language model, up to what the head reads, from an export of your own");
/// Those of a DiT.
const DIT: (&str, &str) = (
    "dit_model.onnx",
    "the DiT, as NVIDIA's export_onnx_n1d6.py or export_onnx_n1d7.py writes it (--export_mode dit_only) or from an export of your own",
);

fn write(writer: &mut Writer<'_>, network: &Network<'_>, head_only: bool) -> Result<(), Error> {
    let model = network.model;
    let head = &model.head;
    let group = stacked(model, network.views, "pixel_values")?;
    let range = sequence(writer.options, group.rows(&model.vision));
    if head_only {
        writer.edges("backbone", &["backbone_features"]);
        writer.edges("dit", &["sa_embs", "vl_embs", "output"]);
    }
    let place = StageOptions { part: "backbone", rename: &[("pixel_values", "pixels")], ..StageOptions::default() };
    if head_only {
        let supplied = supplied_backbone(writer, model, &group);
        writer.supplied(place, vec![range.clone()], supplied);
    } else {
        writer.stage(place, vec![range.clone()], |net| backbone(net, network, &group))?;
    }
    let once = |part| StageOptions { part, ..StageOptions::default() };
    if let Some(layers) = &head.fusion {
        let images = group.rows(&model.vision);
        writer.stage(once("fusion"), vec![range.clone()], |net| whole_fusion(net, model, layers, images))?;
    }
    let read = if head.fusion.is_some() { vec![] } else { vec![range.clone()] };
    writer.stage(once("state_encoder"), read, |net| state_encoder(net, model))?;
    let step = |part| StageOptions { part, repeat: true, ..StageOptions::default() };
    writer.stage(step("action_encoder"), vec![], |net| action_encoder(net, head))?;
    if head_only {
        let supplied = supplied_dit(writer, model, DIT);
        writer.supplied(step("dit"), vec![range], supplied);
    } else {
        writer.stage(step("dit"), vec![range], |net| whole_dit(net, model))?;
    }
    writer.stage(step("action_decoder"), vec![], |net| action_decoder(net, head))?;
    write_steps(head, writer.options, writer.dir)
}

/// `pixel_values`, `input_ids`, `attention_mask` to `backbone_features` `[1, S, channels]`.
fn backbone(net: &mut Net<'_>, network: &Network<'_>, group: &ViewGroup) -> Result<Vec<(String, Value)>, Error> {
    let model = network.model;
    let rows = vision(net, model, std::slice::from_ref(group), 0..model.vision.layers)?;
    for (name, rows) in &rows {
        net.tap(name, rows)?;
    }
    let of = |name: &str| rows.iter().find(|(found, _)| found == name).map(|(_, rows)| rows.clone());
    let Some(image_rows) = of("image_rows") else { return Ok(Vec::new()) };
    let taps = language::taps(model, &(0..model.language.layers));
    let deepstack: Vec<(usize, Value)> = taps.filter_map(|tap| Some((tap, of(&deepstack(tap))?))).collect();
    let input_ids = net.graph.input("input_ids", DType::I32, &ids())?;
    let attention_mask = net.graph.input("attention_mask", DType::I32, &ids())?;
    let (input_ids, attended) = (net.unbatched(&input_ids)?, net.unbatched(&attention_mask)?);
    let most = net.options.text[2] + group.rows(&model.vision);
    let embeds =
        net.part("embeddings", |net| language::embed(net, model, &input_ids, &image_rows, network.image_token, most))?;
    net.tap("inputs_embeds", &embeds)?;
    let grids: Vec<(usize, usize)> = group.cells(&model.vision).collect();
    let (counted, attended) = (&input_ids, Some(&attended));
    let sequence = Sequence { counted, most, attended, grids: &grids, deepstack: &deepstack };
    let features = language::decoder(net, model, &embeds, sequence, 0..model.language.layers)?;
    Ok(named([("backbone_features", net.batched(&features)?)]))
}

/// `backbone_features` to `vl_embs`, both `[1, S, channels]`.
fn whole_fusion(
    net: &mut Net<'_>,
    model: &Model,
    layers: &Fusion,
    images: usize,
) -> Result<Vec<(String, Value)>, Error> {
    let features = net.float_input("backbone_features", &rows(model.language.width))?;
    let x = net.unbatched(&features)?;
    let x = fusion::normed(net, model, &x)?;
    let vl_embs = fusion::encode(net, model, layers, &x, images, 0..layers.layers)?;
    Ok(named([("vl_embs", net.batched(&vl_embs)?)]))
}

/// `state` `[1, 1, dims]` to `state_features` `[1, 1, width]`, and `backbone_features` to `vl_embs` where no fusion stage makes them.
fn state_encoder(net: &mut Net<'_>, model: &Model) -> Result<Vec<(String, Value)>, Error> {
    let state = net.float_input("state", &fixed([1, 1, model.head.state_dims]))?;
    if model.head.fusion.is_some() {
        let state = net.unbatched(&state)?;
        let state = actions::encode_state(net, &model.head, &state)?;
        return Ok(named([("state_features", net.batched(&state)?)]));
    }
    let features = net.float_input("backbone_features", &rows(model.language.width))?;
    let (state, features) = (net.unbatched(&state)?, net.unbatched(&features)?);
    let state = actions::encode_state(net, &model.head, &state)?;
    let vl_embs = language::vlln(net, model, &features)?;
    Ok(named([("state_features", net.batched(&state)?), ("vl_embs", net.batched(&vl_embs)?)]))
}

/// `actions` `[1, horizon, dims]`, `timestep` `[1]` and `state_features` to `sa_embs` `[1, 1 + horizon, width]`.
fn action_encoder(net: &mut Net<'_>, head: &Head) -> Result<Vec<(String, Value)>, Error> {
    let noisy = net.graph.input("actions", DType::F32, &fixed([1, head.horizon, head.action_dims]))?;
    let timestep = net.graph.input("timestep", DType::I32, &fixed([1]))?;
    let state = net.float_input("state_features", &fixed([1, 1, head.width]))?;
    let (noisy, state) = (net.unbatched(&noisy)?, net.unbatched(&state)?);
    let tokens = net.part("action_encoder", |net| {
        let fold = ActionFold::compute(net.weights, head, net.options.embodiment)?;
        let shift = |net: &mut Net<'_>| actions::time_shift(net, head, &fold, &timestep);
        actions::encode_actions(net, head, &noisy, &fold, shift)
    })?;
    let all = net.graph.concat(&[&state, &tokens], 0)?;
    Ok(named([("sa_embs", net.batched(&all)?)]))
}

/// `sa_embs`, `vl_embs`, `timestep`, `image_mask`, `backbone_attention_mask` to `output` `[1, 1 + horizon, output]`.
fn whole_dit(net: &mut Net<'_>, model: &Model) -> Result<Vec<(String, Value)>, Error> {
    let head = &model.head;
    let sa_embs = net.float_input("sa_embs", &fixed([1, 1 + head.horizon, head.width]))?;
    let vl_embs = net.float_input("vl_embs", &rows(model.language.width))?;
    let timestep = net.graph.input("timestep", DType::I32, &fixed([1]))?;
    let image_mask = net.graph.input("image_mask", DType::I32, &ids())?;
    let attention_mask = net.graph.input("backbone_attention_mask", DType::I32, &ids())?;
    let inputs = dit::Inputs {
        tokens: net.unbatched(&sa_embs)?,
        vl_embs: net.unbatched(&vl_embs)?,
        timestep,
        image_mask: net.unbatched(&image_mask)?,
        attention_mask: net.unbatched(&attention_mask)?,
    };
    let output = dit::dit(net, model, &inputs)?;
    Ok(named([("output", net.batched(&output)?)]))
}

/// `output`, `actions`, `dt` `[1]` and `strength` `[horizon]` to `next_actions` `[1, horizon, dims]`, the update in
/// single precision.
fn action_decoder(net: &mut Net<'_>, head: &Head) -> Result<Vec<(String, Value)>, Error> {
    let output = net.float_input("output", &fixed([1, 1 + head.horizon, head.output]))?;
    let noisy = net.graph.input("actions", DType::F32, &fixed([1, head.horizon, head.action_dims]))?;
    let (output, noisy) = (net.unbatched(&output)?, net.unbatched(&noisy)?);
    let euler = Euler::inputs(net, head, noisy)?;
    if net.options.debug_outputs {
        let decoded = actions::decode_actions(net, head, &output)?;
        net.tap("decoder_out", &decoded)?;
    }
    let output = net.graph.slice(&output, 0, 1, 1 + head.horizon)?;
    let velocity = actions::decode_actions(net, head, &output)?;
    let next = euler.update(net, head, &velocity)?;
    Ok(named([("next_actions", net.batched(&next)?)]))
}

fn supplied_backbone(writer: &Writer<'_>, model: &Model, group: &ViewGroup) -> SuppliedNetwork<'static> {
    let pixels = fixed([group.views, 3, group.height, group.width]);
    SuppliedNetwork {
        file: BACKBONE.0,
        what: BACKBONE.1,
        inputs: vec![
            spec("pixels", DType::F32, &pixels),
            spec("input_ids", DType::I32, &ids()),
            spec("attention_mask", DType::I32, &ids()),
        ],
        outputs: vec![writer.between("backbone_features", rows(model.language.width).to_vec())],
    }
}

/// The DiT with the vendor's edges, as `file`, which is `what`.
pub(crate) fn supplied_dit(
    writer: &Writer<'_>,
    model: &Model,
    (file, what): (&'static str, &'static str),
) -> SuppliedNetwork<'static> {
    let head = &model.head;
    SuppliedNetwork {
        file,
        what,
        inputs: vec![
            writer.between("sa_embs", fixed([1, 1 + head.horizon, head.width]).to_vec()),
            writer.between("vl_embs", rows(model.language.width).to_vec()),
            spec("timestep", DType::I32, &fixed([1])),
            spec("image_mask", DType::I32, &ids()),
            spec("backbone_attention_mask", DType::I32, &ids()),
        ],
        outputs: vec![writer.between("output", fixed([1, 1 + head.horizon, head.output]).to_vec())],
    }
}
