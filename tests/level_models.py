"""A small model of real parts whose decoder gets features from inside its tower, level by level."""

from typing import Any

from transformers import SiglipVisionConfig

from composer import Builder, Graph

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
