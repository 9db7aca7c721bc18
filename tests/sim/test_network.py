"""The networks that are trained here compute what the vendor's code computed, on the vendor's tiny seeded checkpoint."""

import gzip
import json
import os
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not there: docs/closed_loop.md has the environment that trains")

from safetensors.torch import load, load_file  # noqa: E402
from sim import network_n1d7  # noqa: E402

SHARED = pathlib.Path(os.environ.get("VLA_TRT_SHARED", pathlib.Path(__file__).resolve().parents[3] / "shared"))
TINY = SHARED / "oracle_n1d7" / "tiny"
#: Largest difference, as a share of the tensor's largest value.
TOLERANCE = 2e-5
IMAGE_TOKEN = 151655

pytestmark = pytest.mark.skipif(not TINY.is_dir(), reason=f"{TINY} is not there: the vendor's tensors are beside the repository")


@pytest.fixture(scope="module")
def weights():
    """Every tensor of the checkpoint."""
    found = {}
    for shard in sorted((TINY / "ckpt").glob("*.safetensors.gz")):
        found |= load(gzip.decompress(shard.read_bytes()))
    return found


def sizes(**others):
    """The tiny checkpoint's, with the vendor's keys read by hand: another way than sim/checkpoint.py writes them."""
    config = json.loads((TINY / "ckpt" / "config.json").read_text())
    backbone = json.loads((TINY / "backbone" / "config.json").read_text())
    text, vision, dit = backbone["text_config"], backbone["vision_config"], config["diffusion_model_cfg"]
    return network_n1d7.Sizes(
        vocab=text["vocab_size"], horizon=config["action_horizon"], image=(256, 256), vision=vision["hidden_size"],
        vision_mlp=vision["intermediate_size"], vision_layers=vision["depth"], vision_heads=vision["num_heads"],
        table=round(vision["num_position_embeddings"]**0.5), taps=tuple(vision["deepstack_visual_indexes"]),
        language=text["hidden_size"], language_mlp=text["intermediate_size"], language_layers=config["select_layer"],
        heads=text["num_attention_heads"], kv_heads=text["num_key_value_heads"], head_dim=text["head_dim"],
        rope_theta=text["rope_theta"], section=tuple(text["rope_scaling"]["mrope_section"]),
        fusion_layers=config["vl_self_attention_cfg"]["num_layers"],
        fusion_heads=config["vl_self_attention_cfg"]["num_attention_heads"], width=config["input_embedding_dim"],
        dit_heads=dit["num_attention_heads"], blocks=dit["num_layers"], dims=config["max_action_dim"], **others)


def run(weights, number, **others):
    """An observation of the oracle with square frames: its tensors, and what the network notes and gives."""
    wanted = load_file(TINY / f"obs{number}" / "tensors.safetensors")
    meta = json.loads((TINY / f"obs{number}" / "meta.json").read_text())
    from PIL import Image

    frames = np.stack([np.asarray(Image.open(TINY / f"obs{number}" / f"proc_{camera}_0.png")) for camera in meta["cameras"]])
    pixels = (torch.from_numpy(frames).float() - 127.5).div(127.5).permute(0, 3, 1, 2)
    notes = {}
    network = network_n1d7.Network(weights, sizes(**others), slot=int(wanted["embodiment_id"]), notes=notes)
    ids = wanted["input_ids"]
    with torch.no_grad():
        # A batch of two pictures is one observation's two views.
        seen = [rows.flatten(0, 1)[None] for rows in network.vision(pixels)]
        for name, rows in zip(("image_embeds", "deepstack_0", "deepstack_1", "deepstack_2"), seen):
            notes[name] = rows
        notes["vl_embs"] = network.language(ids, IMAGE_TOKEN, seen)
        notes["action_pred"] = network.flow(notes["vl_embs"], ids == IMAGE_TOKEN, wanted["state_normalized"], wanted["noise"][None])
    return wanted, {name: rows.flatten(0, 1) for name, rows in notes.items()}


def off(found, wanted):
    """The largest difference as a share of the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_every_tensor_of_an_n1d7_observation_is_the_vendors(weights):
    wanted, found = run(weights, 0, rope_exact=True)
    groups = wanted["patch_rowmajor_index"]
    views = len(found["vit_patch"]) // len(groups)
    order = torch.cat([groups + view * len(groups) for view in range(views)])
    compared = {}
    for name, tensor in wanted.items():
        if name not in found:
            continue
        mine = found[name]
        if name in ("vit_cos", "vit_sin"):  # a table of one picture, here
            mine = mine.repeat(views, 1)
        if name.startswith("vit_"):
            mine = mine[order]
        compared[name] = off(mine, tensor[1:] if name.endswith("dit_out") else tensor)
    assert len(compared) == 83, sorted(compared)
    assert {name: share for name, share in compared.items() if not share < TOLERANCE} == {}


def test_the_vendors_rounded_rotary_tables_are_these(weights):
    wanted, found = run(weights, 0)
    assert off(found["backbone_features"], wanted["backbone_features_both_bf16rope"]) < TOLERANCE
    assert off(found["action_pred"], wanted["action_pred_both_bf16rope"]) < TOLERANCE
    assert off(found["action_pred"], wanted["action_pred"]) > 10 * TOLERANCE


def test_weights_have_the_names_and_shapes_of_a_checkpoint(weights):
    own = network_n1d7.shapes(sizes())
    own |= {name: tuple(tensor.shape) for name, tensor in network_n1d7.further(
        {f"{network_n1d7.DECODER}.embed_tokens.weight": torch.empty(own[f"{network_n1d7.DECODER}.embed_tokens.weight"])}).items()}
    assert own.keys() == weights.keys()
    # Here one embodiment, few positions, and one width for the whole head.
    differ = {name for name, shape in own.items() if shape != tuple(weights[name].shape)}
    assert all(name.startswith("action_head.") and (
        "_encoder.layer" in name or "action_" in name or "position_embedding" in name or "proj_out_2" in name) for name in differ), differ
