"""What differs between GR00T N1.6 and N1.7 around the networks: prompts, names in files. No torch: a node's baseline reads it too.

The networks are sim/network_<name>.py.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of checkpoints."""

    name: str
    #: In processor_config.json.
    processor: str
    model: str
    kind: str
    #: Keys that its processor has beside what both have.
    processor_keys: dict
    #: The chat template of the language model, with one image of `context`, and the token that an image's rows take the place of.
    template: str
    image_token: str
    #: Tokens of the demo checkpoint's tokenizer that this family has under another name.
    renamed: dict
    #: Sides of the picture behind one image token.
    cell: int


N1D6 = Family(
    "n1d6", "Gr00tN1d6Processor", "nvidia/Eagle-Block2A-2B-v2", "eagle", {},
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{instruction}"
    "<image 1><img>{context}</img><|im_end|>\n", "<IMG_CONTEXT>", {}, 28)

N1D7 = Family(
    "n1d7", "Gr00tN1d7Processor", "nvidia/Cosmos-Reason2-2B", "qwen",
    {"letter_box_transform": False, "use_mean_std": False, "exclude_state": False, "state_dropout_prob": 0.0},
    "<|im_start|>user\n<|vision_start|>{context}<|vision_end|>{instruction}<|im_end|>\n", "<|image_pad|>",
    {"<img>": "<|vision_start|>", "</img>": "<|vision_end|>", "<IMG_CONTEXT>": "<|image_pad|>"}, 32)

FAMILIES = {family.name: family for family in (N1D6, N1D7)}


def of_processor(config):
    """The family of a parsed processor_config.json."""
    for family in FAMILIES.values():
        if config["processor_class"] == family.processor:
            return family
    raise ValueError(f"processor_class: expected {' or '.join(f.processor for f in FAMILIES.values())}; found {config['processor_class']}")
