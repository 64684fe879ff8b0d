"""Tiny Gemma 4 checkpoints as transformers writes them, with a seeded value in every tensor."""

from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor, nn
from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4TextConfig, Gemma4VisionConfig

import adapters.megatron
from adapters.huggingface.config import plain
from composer import Graph, load

SPEC = Path(__file__).parents[3] / "specs" / "gemma4_vl.yaml"
EXPERTS = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 40}


@frozen(eq=False)
class Checkpoint:
    """A directory, and what transformers had in memory when it wrote it."""

    directory: Path
    state: dict[str, Tensor]
    graph: Graph

    def build(self, dtype: torch.dtype = torch.float32, seed: int = 1) -> nn.Module:
        """A fresh composed model for it."""
        torch.manual_seed(seed)
        return adapters.megatron.build(self.graph, dtype=dtype)


def tiny_config(**text) -> Gemma4Config:
    sizes = {
        "vocab_size": 128,
        "hidden_size": 48,
        "intermediate_size": 72,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "hidden_size_per_layer_input": 0,
        "use_bidirectional_attention": "vision",
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    }
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        patch_size=4,
        position_embedding_size=16,
        standardize=True,
    )
    tokens = {
        "boi_token_id": 120,
        "eoi_token_id": 121,
        "image_token_id": 122,
        "video_token_id": 123,
        "audio_token_id": 124,
    }
    return Gemma4Config(text_config=Gemma4TextConfig(**(sizes | text)), vision_config=vision, **tokens)


def perturb(model: nn.Module, seed: int) -> None:
    """A seeded value in every parameter and persistent buffer: ones and zeros of an initialisation hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, tensor in sorted(model.state_dict().items()):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))


def make(directory: Path, dtype: torch.dtype = torch.float32, tied: bool = True, **text) -> Checkpoint:
    """Have transformers write one."""
    config = tiny_config(**text, tie_word_embeddings=tied)
    config.tie_word_embeddings = tied
    model = Gemma4ForConditionalGeneration(config).to(dtype)
    perturb(model, seed=0)
    model.tie_weights()
    model.save_pretrained(directory)
    return Checkpoint(directory, model.state_dict(), load(SPEC, hf=plain(directory)))
