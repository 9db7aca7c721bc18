"""Writes the cases of this folder: a small base, an adapter that PEFT saved, and what PEFT's merge_and_unload makes of them.

    python3 -m venv v && v/bin/pip install torch==2.15.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6
    v/bin/python make.py

Names are those of a GR00T N1.6 checkpoint. Values are seeded, the layers' sizes are small and odd. Each case is loaded again
with PeftModel.from_pretrained and its defaults (adapters in BF16 are computed in FP32), on the CPU.
"""

import json
import pathlib
import shutil
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent
WIDTH, KEYS, VOCAB = 40, 24, 50
BASE = "backbone.model.language_model.model"


class PerEmbodiment(nn.Module):
    """A parameter for each of three embodiments, as in the action head."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.empty(3, 5, 7))
        self.b = nn.Parameter(torch.empty(3, 7))


def module(**parts):
    """A module with these submodules."""
    made = nn.Module()
    for name, part in parts.items():
        made.add_module(name, part)
    return made


class Model(nn.Module):
    """A part of GR00T N1.6 with the vendor's names."""

    def __init__(self):
        super().__init__()
        layer = lambda: module(self_attn=module(q_proj=nn.Linear(WIDTH, WIDTH, bias=False),
                                                k_proj=nn.Linear(WIDTH, KEYS, bias=False)))
        decoder = module(embed_tokens=nn.Embedding(VOCAB, WIDTH), layers=nn.ModuleList([layer(), layer()]))
        self.backbone = module(model=module(language_model=module(model=decoder)))
        block = module(attn1=module(to_q=nn.Linear(WIDTH, WIDTH), to_k=nn.Linear(72, WIDTH)))
        self.action_head = module(model=module(transformer_blocks=nn.ModuleList([block])),
                                  state_encoder=module(layer1=PerEmbodiment()))

    def forward(self, x):
        return x


def seeded(model, seed, spread):
    """Every parameter from a generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model


def case(name, base_type, adapter_type, **options):
    """Makes one case: base, adapter, merged."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    base = seeded(Model(), 1, 0.3).to(base_type)
    save_file(base.state_dict(), HERE / f"base_{str(base_type).removeprefix('torch.')}.safetensors")
    trained = get_peft_model(base, LoraConfig(**options), autocast_adapter_dtype=adapter_type == torch.float32)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for key, parameter in trained.named_parameters():
            if "lora_" in key or "modules_to_save" in key or (options.get("bias") == "all" and key.endswith("bias")):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    trained.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "nvidia/GR00T-N1.6-3B"
    if isinstance(settings["target_modules"], list):
        # PEFT saves a set.
        settings["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    fresh = seeded(Model(), 1, 0.3).to(base_type)
    merged = PeftModel.from_pretrained(fresh, folder).merge_and_unload()
    save_file(merged.state_dict(), folder / "merged.safetensors")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case("fp32", torch.float32, torch.float32, r=8, lora_alpha=12, target_modules=["q_proj", "k_proj", "to_q", "to_k"],
         rank_pattern={"layers.1.self_attn.q_proj": 16}, alpha_pattern={"attn1.to_[qk]": 5}, bias="all",
         modules_to_save=["state_encoder"])
    case("bf16", torch.bfloat16, torch.float32, r=4, lora_alpha=7, use_rslora=True,
         target_modules=["embed_tokens", "q_proj", "to_q"], modules_to_save=["state_encoder"])
    case("bf16_adapter", torch.bfloat16, torch.bfloat16, r=6, lora_alpha=9, fan_in_fan_out=True, lora_bias=True,
         target_modules=r".*\.(to_q|to_k)")
    case("fp16", torch.float16, torch.float32, r=8, lora_alpha=16, target_modules="all-linear")
