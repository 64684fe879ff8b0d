"""Tiny checkpoints of towers and text models as transformers writes them, for models put together from several."""

from pathlib import Path

import torch
import transformers
from torch import nn

from adapters.huggingface.configured import load_configured
from adapters.parity.oracle import no_progress_bars, perturb
from composer import Graph

SPEC = Path(__file__).parents[3] / "specs" / "compose_your_own.yaml"
VOCAB = 100
VISION = {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4}
WORDS = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEXT = {
    "vocab_size": VOCAB,
    "hidden_size": 56,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "norm_topk_prob": True}


def siglip() -> nn.Module:
    """A pair of towers, for pictures and for words."""
    config = transformers.SiglipConfig(
        vision_config=VISION | {"intermediate_size": 64}, text_config=WORDS | SPECIAL | {"projection_size": 24}
    )
    return transformers.SiglipModel(config)


def clip() -> nn.Module:
    """Another pair; its tower for pictures has a class token."""
    config = transformers.CLIPConfig(vision_config=VISION | {"intermediate_size": 64}, text_config=WORDS | SPECIAL)
    return transformers.CLIPModel(config)


def dinov2() -> nn.Module:
    """A tower alone, whose files call some tensors otherwise than its modules."""
    return transformers.Dinov2Model(transformers.Dinov2Config(**VISION, mlp_ratio=2))


def qwen3_moe() -> nn.Module:
    """A text model with experts and an output layer of its own."""
    return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**TEXT, **EXPERTS, tie_word_embeddings=False))


def qwen3_tied() -> nn.Module:
    """A dense text model whose embedding table scores too."""
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**TEXT, tie_word_embeddings=True))


MAKERS = {maker.__name__: maker for maker in (siglip, clip, dinov2, qwen3_moe, qwen3_tied)}


def write(folder: Path, name: str) -> Path:
    """One of them with a seeded value in every tensor; its folder."""
    torch.manual_seed(0)
    model = MAKERS[name]()
    perturb(model, seed=len(name))
    with no_progress_bars():
        model.save_pretrained(folder / name)
    return folder / name


def composed(tower: Path, text: Path, overrides: tuple[str, ...] = ()) -> Graph:
    """The shipped spec with these two."""
    return load_configured(SPEC, f"vision_config={tower},text_config={text}", overrides)
