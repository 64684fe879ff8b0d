"""`vision.hf_tower`: a vision tower of transformers, unchanged. Legend: N feature rows of all items, C their width."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel

from components.build_error import BuildError
from components.context import BuildContext
from components.hf_config import to_hf_config
from components.vision.hf_tower_declaration import HfTower


def build(section: HfTower, context: BuildContext) -> nn.Module:
    """The tower in `params_dtype`, initialised as transformers does."""
    config = to_hf_config(section.config)
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BuildError(
            f"{type(config).__name__} is a language model's configuration: a tower encodes, see language.gpt"
        )
    tower: nn.Module = AutoModel.from_config(config, dtype=context.transformer.params_dtype)
    return tower


def run(module: nn.Module, section: HfTower, **inputs: Any) -> Tensor:
    """Encode items; see the spec for what `inputs` are.

    Returns:
        [N, C], params dtype, items one after the other.

    Raises:
        BuildError: the tower's output has no field of the name, or no layer of the number, that the spec gives, or rows
            of another width.
    """
    features = _features(module, section, **inputs).flatten(0, -2)
    if features.shape[-1] != section.width:
        raise BuildError(f"{type(module).__name__} makes rows of {features.shape[-1]}, the spec says {section.width}")
    return features


def _features(module: nn.Module, section: HfTower, **inputs: Any) -> Tensor:
    """[..., C], by what the spec takes of the tower's output."""
    if section.hidden_states is not None:
        layers = section.hidden_states.chosen
        states = module(**inputs, output_hidden_states=True).hidden_states
        if any(not -len(states) <= layer < len(states) for layer in layers):
            raise BuildError(f"{type(module).__name__} has {len(states) - 1} layers; the spec takes {list(layers)}")
        return torch.cat([states[layer] for layer in layers], dim=-1)
    output = module(**inputs)
    features: Tensor | None = getattr(output, section.output, None)
    if features is None:
        raise BuildError(f"{type(module).__name__} returns no {section.output!r}; it returns {', '.join(output)}")
    return features


def items(section: HfTower, **inputs: Any) -> dict[str, Any]:
    """What is encoded, item by item: what the tower was given, or the tiles that its pictures really have.

    Raises:
        BuildError: a picture has fewer tiles than its size asks for.
    """
    rule = section.tiles
    if rule is None:
        return inputs
    counts = [rule.tiling.tiles(*size) for size in inputs.pop(rule.sizes_in).tolist()]
    name, tiles = next(iter(inputs.items()))
    if counts and max(counts) > tiles.shape[1]:
        raise BuildError(f"{name} holds {tiles.shape[1]} tiles of each picture, and by its size one has {max(counts)}")
    real = torch.arange(tiles.shape[1])[None] < torch.tensor(counts)[:, None]
    return {name: tiles[real.to(tiles.device)]}


def knows_item_rows(section: HfTower) -> bool:
    """Whether the spec says how many rows an item makes; else each makes as many as every other."""
    return section.item_rows is not None


def item_rows(section: HfTower, rows: int, **inputs: Any) -> Tensor:
    """Feature rows of each item, in order: [items] int64, on the inputs' device.

    Args:
        section: of the spec.
        rows: how many there are in all; counts only where the spec does not say how many an item makes.
        inputs: what `run` was given.

    Raises:
        BuildError: the rows cannot be split evenly and the spec does not say how many each item makes.
    """
    rule = section.item_rows
    if rule is not None and rule.valid_in is not None:
        valid = (inputs[rule.valid_in] != -1).any(-1)
        return valid.sum(-1) // rule.pool**2
    if rule is not None and rule.sizes_in is not None:
        sizes: Tensor = inputs[rule.sizes_in]
        return (sizes // rule.patch).prod(-1)
    first = next(iter(inputs.values()))
    items = first.shape[0]
    if items and rows % items:
        raise BuildError(f"{rows} rows for {items} items: say in item_rows how many each one makes")
    return torch.full((items,), rows // max(items, 1), device=first.device)
