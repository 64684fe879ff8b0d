"""Runs the tiny model on a few pictures and keeps what towers, projectors and decoder were given and gave back.

Legend: I pictures, C channels, B batch, S sequence.
"""

from inspect import signature
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from adapters.init.inspection import Inspected, parameters_of
from adapters.parity.batch import item_encoder
from adapters.parity.pictures import BatchError
from adapters.parity.recording import Call, recording

GRIDS = ((2, 3), (2, 2))  # sides of test pictures of any size, in feature rows
BEFORE, AFTER, TEXT_TOKEN = 3, 12, 5


@frozen(eq=False)
class Probe:
    """What was given to `get_image_features`, and the first call of every module of interest."""

    given: dict[str, Tensor]
    calls: dict[str, Call]
    rows: tuple[int, ...]
    """Feature rows of each picture behind the projectors."""
    features: Tensor
    """All of them, [N, H]."""


class ProbeError(ValueError):
    """The model could not be run: what is measured by running it stays undecided."""


@torch.no_grad()
def probe_features(inspected: Inspected) -> Probe:
    """Encode two pictures.

    Raises:
        ProbeError: no pictures of a known form are taken, or running fails.
    """
    model: Any = inspected.model
    try:
        encode = item_encoder(model, "image")
    except BatchError as error:
        raise ProbeError(str(error)) from error
    asked = [
        name
        for name, given in signature(encode).parameters.items()
        if name.endswith(("values", "sizes", "ids", "thw", "mask", "shapes", "patches"))
        and given.kind != given.VAR_KEYWORD
    ]
    given = _pictures(inspected, asked)
    names = [*inspected.towers, *inspected.between]
    with recording(model, names) as calls:
        try:
            output = encode(**given)
        except Exception as error:
            raise ProbeError(f"get_image_features({', '.join(given)}) of a tiny model fails: {error}") from error
    pooled = getattr(output, "pooler_output", output)
    if not isinstance(pooled, Tensor | tuple | list):
        raise ProbeError(f"get_image_features of a tiny model gives a {type(pooled).__name__}, not rows of features")
    each = [pooled[item] for item in range(len(pooled))] if isinstance(pooled, Tensor) else list(pooled)
    rows = [one.flatten(0, -2) for one in each]
    return Probe(given, calls, tuple(map(len, rows)), torch.cat(rows))


def _pictures(inspected: Inspected, asked: list[str]) -> dict[str, Tensor]:
    """Pixels [I, C, height, width], and sizes [I, 2] where they may differ."""
    generator = torch.Generator().manual_seed(1)
    vision = inspected.tiny[next(iter(inspected.towers.values()))] if inspected.towers else {}
    channels = vision.get("num_channels", 3)
    beside = [name for name in asked if name != "pixel_values"]
    if "pixel_values" not in asked or not set(beside) <= {"image_sizes", "pixel_attention_mask"}:
        raise ProbeError(
            f"its get_image_features reads {', '.join(asked)}: no test pictures of that form are made here"
        )
    if "image_sizes" in beside and _knows_sizes(inspected):
        unit = vision["patch_size"] * inspected.tiny.get("spatial_merge_size", 1)
        sizes = torch.tensor([(height * unit, width * unit) for height, width in GRIDS])
        pixels = torch.rand(len(GRIDS), channels, *sizes.amax(0).tolist(), generator=generator)
        return {"pixel_values": pixels, "image_sizes": sizes}
    side = vision.get("image_size")
    if side is None:
        raise ProbeError("its tower's configuration has no image_size: the form of a picture is not known")
    height, width = side if isinstance(side, list) else (side, side)
    return {"pixel_values": torch.rand(len(GRIDS), channels, height, width, generator=generator)}


def _knows_sizes(inspected: Inspected) -> bool:
    return any("image_sizes" in parameters_of(inspected.model.get_submodule(name)) for name in inspected.towers)


@frozen(eq=False)
class Placed:
    """What the decoder was given for a row of text, pictures and text."""

    ids: Tensor
    """[1, S] int64."""
    embeddings: Tensor
    """[1, S, H]."""
    table: Tensor
    """[1, S, H]: rows of the embedding table, before any scale; zero at placeholders."""
    masks: dict[str, Tensor | None]
    """By layer kind, [S, S] bool, True where a query may attend to a key."""
    positions: Tensor | None
    """What the rotation was made of."""


@torch.no_grad()
def probe_decoder(inspected: Inspected, probe: Probe, token: int) -> Placed:
    """Run the whole model on text with both pictures in it.

    Raises:
        ProbeError: running fails.
    """
    model: Any = inspected.model
    pictures = [each for rows in probe.rows for each in (*[token] * rows, TEXT_TOKEN, TEXT_TOKEN)]
    ids = torch.tensor([[*[TEXT_TOKEN] * BEFORE, *pictures, *range(TEXT_TOKEN, TEXT_TOKEN + AFTER)]])
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **probe.given}
    if "mm_token_type_ids" in signature(type(model).forward).parameters:
        given["mm_token_type_ids"] = (ids == token).long()
    order = inspected.tiny["text_config"].get("layer_types") or []
    layers = {kind: f"{inspected.text}.layers.{order.index(kind)}" for kind in dict.fromkeys(order)}
    rotary = [f"{inspected.text}.rotary_emb"] if hasattr(model.get_submodule(inspected.text), "rotary_emb") else []
    with recording(model, [inspected.text, *layers.values(), *rotary]) as calls:
        try:
            model(**given, use_cache=False)
        except Exception as error:
            raise ProbeError(f"running a tiny model on text with pictures fails: {error}") from error
    text = calls[inspected.text].arguments
    table = model.get_submodule(inspected.text).embed_tokens.weight[ids.where(ids != token, 0)]
    positions = calls[rotary[0]].arguments.get("position_ids") if rotary else None
    return Placed(
        ids,
        text["inputs_embeds"],
        table.masked_fill((ids == token)[..., None], 0.0),
        {kind: _allowed(calls[layer].arguments.get("attention_mask")) for kind, layer in layers.items()},
        positions,
    )


def _allowed(mask: Any) -> Tensor | None:
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return None
    return mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
