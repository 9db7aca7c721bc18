//! The `vendor` layout: the six engines of NVIDIA's full pipeline, and what its code does between them as stages.
//!
//! `vit`, `llm`, `state_encoder`, `action_encoder`, `dit` and `action_decoder` are the vendor's files; the policy expects
//! them from whoever uses it. Written are `embeddings` (pixel unshuffle, `mlp1`, image rows into the text), `vlln`, `tokens`
//! (position rows, state token) and `euler`. The vendor exports the six in bf16: the element type of one of them is that
//! of its edges here.

use super::backbone_dit::supplied_dit;
use super::layers::actions::{self, Euler};
use super::layers::vision::ViewGroup;
use super::layers::{Net, fixed, language};
use super::layout::{
    Layout, Network, STEPS, StageOptions, SuppliedNetwork, Writer, ids, named, rows, sequence, spec, stacked,
    write_steps,
};
use super::model::Head;
use super::onnx::Value;
use super::{Error, Model};
use vla_base::tensor::{DType, Dim};

/// All stages.
pub const LAYOUT: Layout = Layout {
    name: "vendor",
    stages: &[
        "vit",
        "embeddings",
        "llm",
        "vlln",
        "state_encoder",
        "action_encoder",
        "tokens",
        "dit",
        "action_decoder",
        "euler",
    ],
    stacked: true,
    cuts: false,
    backbone: false,
    embedding: true,
    operations: false,
    constants: STEPS,
    reads,
    write,
};

fn reads(weight: &str) -> bool {
    const READ: [&str; 4] =
        ["backbone.model.mlp1.", "embed_tokens.weight", "action_head.vlln.", "action_head.position_embedding."];
    READ.iter().any(|part| weight.contains(part))
}

const VIT: &str = "vit_bf16.onnx of NVIDIA's export_onnx_n1d6.py (--export_mode full_pipeline)";
const LLM: &str = "llm_bf16.onnx of NVIDIA's export_onnx_n1d6.py (--export_mode full_pipeline)";
const STATE_ENCODER: &str = "state_encoder.onnx of NVIDIA's export_onnx_n1d6.py (--export_mode full_pipeline)";
const ACTION_ENCODER: &str = "action_encoder.onnx of NVIDIA's export_onnx_n1d6.py (--export_mode full_pipeline)";
const DIT: (&str, &str) =
    ("dit_bf16.onnx", "dit_bf16.onnx of NVIDIA's export_onnx_n1d6.py (--export_mode full_pipeline)");
const ACTION_DECODER: &str = "action_decoder.onnx of NVIDIA's export_onnx_n1d6.py (--export_mode full_pipeline)";

fn write(writer: &mut Writer<'_>, network: &Network<'_>) -> Result<(), Error> {
    let model = network.model;
    let group = stacked(model, network.views, "vit_out")?;
    writer.edges("vit", &["vit_out"]);
    writer.edges("llm", &["inputs_embeds", "backbone_features"]);
    writer.edges("state_encoder", &["state_features"]);
    writer.edges("action_encoder", &["noisy_actions", "action_features"]);
    writer.edges("dit", &["sa_embs", "vl_embs", "output"]);
    writer.edges("action_decoder", &["decoder_out"]);
    tokens_to_features(writer, model, &group)?;
    state(writer, model);
    denoise(writer, model, sequence(writer.options, group.rows(&model.vision)))?;
    write_steps(&model.head, writer.options, writer.dir)
}

/// Images and text to `vl_embs`.
fn tokens_to_features(writer: &mut Writer<'_>, model: &Model, group: &ViewGroup) -> Result<(), Error> {
    let channels = model.language.width;
    let images = group.rows(&model.vision);
    let (text, all) = (("T".to_owned(), writer.options.text), sequence(writer.options, images));
    let patches = [group.views, group.patches(&model.vision) / group.views.max(1), model.vision.width];
    let vit = SuppliedNetwork {
        file: "vit_bf16.onnx",
        what: VIT,
        inputs: vec![spec("pixels", DType::F32, &fixed([group.views, 3, group.height, group.width]))],
        outputs: vec![writer.between("vit_out", fixed(patches).to_vec())],
    };
    let rename: &[_] = &[("pixel_values", "pixels"), ("vit_embeds", "vit_out")];
    writer.supplied(StageOptions { part: "vit", rename, ..StageOptions::default() }, vec![], vit);
    let place = StageOptions { part: "embeddings", ..StageOptions::default() };
    writer.stage(place, vec![text, all.clone()], |net| embeddings(net, model, group, patches))?;
    let llm = SuppliedNetwork {
        file: "llm_bf16.onnx",
        what: LLM,
        inputs: vec![
            writer.between("inputs_embeds", rows(channels).to_vec()),
            spec("attention_mask", DType::I32, &ids()),
        ],
        outputs: vec![writer.between("backbone_features", rows(channels).to_vec())],
    };
    let rename: &[_] = &[("embeddings", "backbone_features")];
    writer.supplied(StageOptions { part: "llm", rename, ..StageOptions::default() }, vec![all.clone()], llm);
    writer.stage(StageOptions { part: "vlln", ..StageOptions::default() }, vec![all], |net| {
        let features = net.float_input("backbone_features", &rows(channels))?;
        let features = net.unbatched(&features)?;
        let vl_embs = language::vlln(net, model, &features)?;
        Ok(named([("vl_embs", net.batched(&vl_embs)?)]))
    })
}

/// `vit_out` `[views, patches, channels]`, `text_rows` `[T, channels]` and `positions` `[S]` to `inputs_embeds`.
fn embeddings(
    net: &mut Net<'_>,
    model: &Model,
    group: &ViewGroup,
    [views, patches, width]: [usize; 3],
) -> Result<Vec<(String, Value)>, Error> {
    let symbol = |name: &str| Dim::Symbol(name.to_owned());
    let encoded = net.float_input("vit_out", &fixed([views, patches, width]))?;
    let text = net.float_input("text_rows", &[symbol("T"), Dim::Fixed(model.language.width)])?;
    let positions = net.graph.input("positions", DType::I32, &[symbol("S")])?;
    let encoded = net.graph.reshape(&encoded, &fixed([views * patches, width]))?;
    let (part, project) = model.family.weights.tower.project;
    let image_rows = net.part(part, |net| project(net, model, group, &encoded))?;
    net.tap("image_rows", &image_rows)?;
    let all = net.graph.concat(&[&text, &image_rows], 0)?;
    let embeds = net.graph.gather(&all, &positions)?;
    Ok(named([("inputs_embeds", net.batched(&embeds)?)]))
}

fn state(writer: &mut Writer<'_>, model: &Model) {
    let head = &model.head;
    let encoder = SuppliedNetwork {
        file: "state_encoder.onnx",
        what: STATE_ENCODER,
        inputs: vec![
            spec("state", DType::F32, &fixed([1, 1, head.state_dims])),
            spec("embodiment_id", DType::I32, &fixed([1])),
        ],
        outputs: vec![writer.between("state_features", fixed([1, 1, head.width]).to_vec())],
    };
    let rename: &[_] = &[("output", "state_features")];
    writer.supplied(StageOptions { part: "state_encoder", rename, ..StageOptions::default() }, vec![], encoder);
}

fn denoise(writer: &mut Writer<'_>, model: &Model, range: (String, [usize; 3])) -> Result<(), Error> {
    let head = &model.head;
    let step = |part, rename| StageOptions { part, repeat: true, rename, ..StageOptions::default() };
    let chunk = fixed([1, head.horizon, head.action_dims]);
    // The actions themselves stay in single precision; another type is made of them at each step.
    let single = writer.dtype("action_encoder") == DType::F32;
    let (read, renamed) = if single { ("actions", "actions") } else { ("noisy_actions", "noisy_actions") };
    if !single {
        writer.stage(step("noisy_actions", &[]), vec![], |net| {
            Ok(named([("noisy_actions", net.graph.input("actions", DType::F32, &chunk)?)]))
        })?;
    }
    let encoder = SuppliedNetwork {
        file: "action_encoder.onnx",
        what: ACTION_ENCODER,
        inputs: vec![
            writer.between(read, chunk.to_vec()),
            spec("timestep", DType::I32, &fixed([1])),
            spec("embodiment_id", DType::I32, &fixed([1])),
        ],
        outputs: vec![writer.between("action_features", fixed([1, head.horizon, head.width]).to_vec())],
    };
    let rename = [("timesteps", "timestep"), ("output", "action_features"), ("actions", renamed)];
    let used = if single { &rename[..2] } else { &rename[..] };
    writer.supplied(step("action_encoder", used), vec![], encoder);
    writer.stage(step("tokens", &[]), vec![], |net| tokens(net, head))?;
    let dit = supplied_dit(writer, model, DIT);
    writer.supplied(step("dit", &[]), vec![range], dit);
    let decoder = SuppliedNetwork {
        file: "action_decoder.onnx",
        what: ACTION_DECODER,
        inputs: vec![
            writer.between("output", fixed([1, 1 + head.horizon, head.output]).to_vec()),
            spec("embodiment_id", DType::I32, &fixed([1])),
        ],
        outputs: vec![writer.between("decoder_out", fixed([1, 1 + head.horizon, head.action_dims]).to_vec())],
    };
    writer.supplied(step("action_decoder", &[("model_output", "output"), ("output", "decoder_out")]), vec![], decoder);
    writer.stage(step("euler", &[]), vec![], |net| euler(net, head))
}

/// `state_features` and `action_features` to `sa_embs` `[1, 1 + horizon, width]`: position rows, the state token first.
fn tokens(net: &mut Net<'_>, head: &Head) -> Result<Vec<(String, Value)>, Error> {
    let state = net.float_input("state_features", &fixed([1, 1, head.width]))?;
    let features = net.float_input("action_features", &fixed([1, head.horizon, head.width]))?;
    let (state, features) = (net.unbatched(&state)?, net.unbatched(&features)?);
    let placed = actions::add_positions(net, head, &features)?;
    let all = net.graph.concat(&[&state, &placed], 0)?;
    Ok(named([("sa_embs", net.batched(&all)?)]))
}

/// `decoder_out` `[1, 1 + horizon, dims]`, `actions`, `dt` and `strength` to `next_actions` `[1, horizon, dims]`.
fn euler(net: &mut Net<'_>, head: &Head) -> Result<Vec<(String, Value)>, Error> {
    let decoded = net.float_input("decoder_out", &fixed([1, 1 + head.horizon, head.action_dims]))?;
    let noisy = net.graph.input("actions", DType::F32, &fixed([1, head.horizon, head.action_dims]))?;
    let (decoded, noisy) = (net.unbatched(&decoded)?, net.unbatched(&noisy)?);
    let euler = Euler::inputs(net, head, noisy)?;
    let velocity = net.graph.slice(&decoded, 0, 1, 1 + head.horizon)?;
    let next = euler.update(net, head, &velocity)?;
    Ok(named([("next_actions", net.batched(&next)?)]))
}
