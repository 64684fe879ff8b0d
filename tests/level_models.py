"""A small model of real parts whose decoder gets features from inside its tower, level by level."""

from pathlib import Path
from typing import Any

from attrs import evolve
from transformers import SiglipVisionConfig

from adapters.huggingface.config import plain
from components.vision.hf_tower_declaration import Levels
from composer import Builder, Graph, load
from composer.edges import InjectEdge

LLAVA = Path(__file__).parents[1] / "specs/llava.yaml"

HIDDEN, LAYERS, TOKEN, SIDE = 32, 4, 90, 12
"""Of the decoder; SIDE pixels make a grid of 3 x 3 rows."""
ROWS = (SIDE // 4) ** 2


def level_model(levels: tuple[int, ...] = (1, 2, 0), **inject: Any) -> Graph:
    """Hidden states of some layers of a SigLIP tower go into the decoder beside its last ones."""
    vision = SiglipVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=4,
        vision_use_head=False,
    )
    return (
        Builder("levels")
        .tokens(image=TOKEN)
        .input("input_ids", "tokens", ["batch", "seq"])
        .input("pixel_values", "pixels", ["image", 3, SIDE, SIDE], optional=True)
        .node(
            "tower",
            "vision.hf_tower",
            config=vision.to_dict(),
            inputs={"pixel_values": ["image", 3, SIDE, SIDE]},
            out_dim=HIDDEN,
            levels={"inside": {"layers": list(levels)}},
        )
        .node("decoder", "language.gpt", **_decoder())
        .edge("embed", "input_ids", "decoder.embeddings")
        .edge("data", "pixel_values", "tower.pixel_values")
        .edge("scatter", "tower", "decoder.embeddings", at=["image"])
        .edge("inject", "tower.inside", "decoder.hidden_states", at=["image"], **inject)
        .edge("position", "input_ids", "decoder.rotary")
        .edge("mask", "input_ids", "decoder.attention_mask", rules={"full": "causal"})
        .check()
    )


def _decoder() -> dict[str, Any]:
    layer = {
        "attention": {"heads": 4, "kv_heads": 2, "head_dim": 8},
        "rope": {"theta": 1e4},
        "ffn": {"dense": {"intermediate_size": 48}},
    }
    return {
        "config": {"num_layers": LAYERS, "hidden_size": HIDDEN, "vocab_size": 96, "max_positions": 64},
        "layers": {"order": ["full"] * LAYERS, "kinds": {"full": layer}},
    }


def llava_with_levels(after: tuple[int, ...] | None = None) -> Graph:
    """The shipped LLaVA spec with a SigLIP tower as wide as the text, and an inject edge from inside it.

    transformers has no such model; its LLaVA has the same parameters, and lends them.
    """
    text = {
        "model_type": "llama",
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
    }
    vision = {"model_type": "siglip_vision_model", "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 4, "image_size": 12, "patch_size": 4, "vision_use_head": False}
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": text,
        "vision_config": vision,
        "image_token_index": 250,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "tie_word_embeddings": False,
    }
    graph = load(LLAVA, hf=plain(config))
    tower = graph.nodes["vision_tower"]
    tower = evolve(tower, config=evolve(tower.config, levels={"inside": Levels(layers=(1, 0, 2))}))
    edge = InjectEdge("vision_tower.inside", "language_model.hidden_states", at=("image",), after=after)
    graph = evolve(graph, nodes=graph.nodes | {"vision_tower": tower}, edges=(*graph.edges, edge))
    graph.check()
    return graph
