"""Small specs for tests: a valid one as plain data, to break in one place."""

from pathlib import Path
from typing import Any

import specs
from composer.emit import emit

SHIPPED = sorted(Path(next(iter(specs.__path__))).glob("*.yaml"))
GEMMA4 = next(path for path in SHIPPED if path.stem == "gemma4_vl")


def small() -> dict[str, Any]:
    """A valid spec with a tower, a projector and a decoder of two layer kinds."""
    return {
        "spec": 1,
        "name": "small",
        "description": "A tower, a projector, a decoder",
        "tokens": {"image": 7, "video": 8},
        "inputs": {
            "input_ids": {"type": "tokens", "shape": ["batch", "seq"]},
            "pixel_values": {"type": "pixels", "shape": ["image", "patch", 48], "optional": True},
        },
        "nodes": {
            "tower": {
                "component": "vision.hf_tower",
                "weights": "model.tower",
                "config": {"model_type": "none"},
                "inputs": {"pixel_values": ["image", "patch", 48]},
                "out_dim": 32,
            },
            "projector": {
                "component": "projector.hf_module",
                "class": "Projector",
                "args": [{"width": 32}],
                "in_dim": 32,
                "out_dim": 64,
            },
            "decoder": {
                "component": "language.gpt",
                "config": {"num_layers": 2, "hidden_size": 64, "vocab_size": 100, "max_positions": 128},
                "layers": {
                    "order": ["near", "far"],
                    "every": {
                        "norms": "pre",
                        "attention": {"heads": 4, "kv_heads": 2, "head_dim": 16},
                        "ffn": {"dense": {"intermediate_size": 128}},
                    },
                    "kinds": {
                        "near": {"rope": {"theta": 10000.0}},
                        "far": {"rope": {"theta": 1000000.0}, "attention": {"head_dim": 32}},
                    },
                },
            },
        },
        "edges": [
            {"kind": "embed", "from": "input_ids", "to": "decoder.embeddings"},
            {"kind": "data", "from": "pixel_values", "to": "tower.pixel_values"},
            {"kind": "data", "from": "tower", "to": "projector"},
            {"kind": "scatter", "from": "projector", "to": "decoder.embeddings", "at": ["image"], "mode": "add"},
            {"kind": "position", "from": "input_ids", "to": "decoder.rotary"},
            {
                "kind": "mask",
                "from": "input_ids",
                "to": "decoder.attention_mask",
                "rules": {"near": "(causal | same_run(image, video)) & window(16)", "far": "causal"},
            },
        ],
    }


def written(data: dict[str, Any]) -> str:
    """A spec as text."""
    return emit(data)
