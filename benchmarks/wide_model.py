"""The shipped 26B-A4B configuration, cut to a few layers, and a batch of full-size pictures for it."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from adapters.parity.batch import Batch
from composer import Graph, load

SPEC = Path(__file__).resolve().parents[1] / "specs" / "gemma4_vl.yaml"


def wide_graph(layer_types: list[str]) -> Graph:
    """All widths, experts and the whole tower as shipped."""
    configured: dict[str, Any] = deepcopy(load(SPEC).hf_config)
    configured["text_config"] |= {"layer_types": layer_types, "num_hidden_layers": len(layer_types)}
    return load(SPEC, hf=configured)


def wide_batch(graph: Graph, length: int, gap: int, right_padding: int = 0) -> Batch:
    """One row of `length` tokens on the card: `gap` text tokens, a picture, and so on, as many as fit.

    A picture is a square of patches, pooled to 16 × 16 tokens.
    """
    vision, image, side = graph.hf_config["vision_config"], graph.tokens["image"], 16
    generator = torch.Generator("cuda").manual_seed(0)
    ids = torch.randint(5, 200_000, (1, length), generator=generator, device="cuda")
    start, count = gap, 0
    while start + side**2 < length - right_padding:
        ids[0, start : start + side**2] = image
        start, count = start + side**2 + gap, count + 1
    patches = side * vision["pooling_kernel_size"]
    line = torch.arange(patches, device="cuda")
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(1, -1, 2).repeat(count, 1, 1)
    width = 3 * vision["patch_size"] ** 2
    pixels = torch.rand(count, patches**2, width, generator=generator, device="cuda")
    valid = torch.ones_like(ids, dtype=torch.bool)
    valid[:, length - right_padding :] = False
    pictured = ids == image
    labels, counts = torch.zeros_like(ids), torch.zeros_like(valid)
    labels[:, :-1] = ids[:, 1:]
    counts[:, :-1] = valid[:, 1:] & ~pictured[:, 1:]
    features = {"pixel_values": pixels.bfloat16().float(), "image_position_ids": places}
    per_sample = torch.tensor([count], device="cuda")
    return Batch(ids, valid, features, pictured.long(), labels * counts, counts, per_sample)
