"""`vision.hf_tower`: a vision tower of transformers, unchanged. Legend: N feature rows of all items, C their width."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, PreTrainedModel

from components.build_error import BuildError
from components.context import BuildContext
from components.hf_class import modeling_class
from components.hf_config import to_hf_config
from components.vision.hf_tower_declaration import HfTower, Levels
from components.vision.initialisation import maybe_input_projection
from composer.graph import OUT


def build(section: HfTower, context: BuildContext) -> nn.Module:
    """The tower in `params_dtype`, initialised as transformers does.

    Raises:
        BuildError: the configuration is a language model's; a class that there is not, or that is no whole model.
    """
    config = to_hf_config(section.config)
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BuildError(
            f"{type(config).__name__} is a language model's configuration: a tower encodes, see language.gpt"
        )
    dtype = context.transformer.params_dtype
    if section.class_name is None:
        tower: nn.Module = AutoModel.from_config(config, dtype=dtype)
        return _reading_any_precision(tower)
    found = modeling_class(config, section.class_name)
    if not issubclass(found, PreTrainedModel):
        raise BuildError(
            f"{section.class_name} is no whole model of transformers: it cannot be made from a configuration"
        )
    named: nn.Module = found._from_config(config, dtype=dtype)  # noqa: SLF001 (what AutoModel calls)
    return _reading_any_precision(named)


def _reading_any_precision(tower: nn.Module) -> nn.Module:
    """Pixels are float32 whatever the tower's type is, or becomes; not every tower casts them for its first product."""
    projection = maybe_input_projection(tower)
    if projection is not None:
        projection.register_forward_pre_hook(_as_weights)
    return tower


def _as_weights(projection: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    weight: Any = projection.weight
    return tuple(each.to(weight.dtype) if isinstance(each, Tensor) else each for each in given)


def run(module: nn.Module, section: HfTower, **inputs: Any) -> Tensor | dict[str, Tensor]:
    """Encode items; see the spec for what `inputs` are.

    Returns:
        [N, C], params dtype, items one after the other; with levels, that as `out`, and each port of levels
        [levels, N, out_dim].

    Raises:
        BuildError: the tower's output has no field of the name, or no layer of the number, that the spec gives, or rows
            of another width or number.
    """
    _check_patches(section, inputs)
    inside = section.hidden_states is not None or any(levels.output is None for levels in section.levels.values())
    output = module(**inputs, **({"output_hidden_states": True} if inside else {}))
    features = _features(module, section, output).flatten(0, -2)
    _check_width(module, features, section.width)
    if not section.levels:
        return features
    return {OUT: features} | {name: _levels(module, levels, output, section) for name, levels in section.levels.items()}


def _features(module: nn.Module, section: HfTower, output: Any) -> Tensor:
    """[..., C], by what the spec takes of the tower's output."""
    if section.hidden_states is not None:
        return torch.cat(_hidden_states(module, output, section.hidden_states.chosen), dim=-1)
    features: Tensor = _field(module, output, section.output)
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


def _levels(module: nn.Module, levels: Levels, output: Any, section: HfTower) -> Tensor:
    """[levels, N, out_dim]."""
    if levels.output is None:
        found = _hidden_states(module, output, levels.layers)
    else:
        found = list(_field(module, output, levels.output))
    if len(found) != len(levels.layers):
        raise BuildError(f"{type(module).__name__} makes {len(found)} levels, the spec says {len(levels.layers)}")
    rows = torch.stack([level.flatten(0, -2) for level in found])
    _check_width(module, rows, section.out_dim)
    return rows


def _check_width(module: nn.Module, rows: Tensor, width: int) -> None:
    if rows.shape[-1] != width:
        raise BuildError(f"{type(module).__name__} makes rows of {rows.shape[-1]}, the spec says {width}")


def _hidden_states(module: nn.Module, output: Any, layers: tuple[int, ...]) -> list[Tensor]:
    states = output.hidden_states
    if any(not -len(states) <= layer < len(states) for layer in layers):
        raise BuildError(f"{type(module).__name__} has {len(states) - 1} layers; the spec takes {list(layers)}")
    return [states[layer] for layer in layers]


def _field(module: nn.Module, output: Any, name: str) -> Any:
    value = getattr(output, name, None)
    if value is None:
        raise BuildError(f"{type(module).__name__} returns no {name!r}; it returns {', '.join(output)}")
    return value


def shares_items(section: HfTower) -> bool:
    """Whether some of the items can be encoded alone: every input has them, or the patches of grids, in a row."""
    return _grids_in(section) is not None or len({str(shape[0]) for shape in section.inputs.values()}) == 1


def num_items(section: HfTower, **inputs: Any) -> int:
    """How many items there are in what `run` is given."""
    grids = _grids_in(section)
    return int((next(iter(inputs.values())) if grids is None else inputs[grids]).shape[0])


def own_items(section: HfTower, own: slice, **inputs: Any) -> dict[str, Any]:
    """The inputs of some items alone."""
    grids = _grids_in(section)
    if grids is None:
        return {name: value[own] for name, value in inputs.items()}
    ends = [0, *inputs[grids].prod(-1).cumsum(0).tolist()]
    patches, packed = slice(ends[own.start], ends[own.stop]), _packed(section, grids)
    return {name: value[patches if name in packed else own] for name, value in inputs.items()}


def _grids_in(section: HfTower) -> str | None:
    return None if section.item_rows is None else section.item_rows.grids_in


def _packed(section: HfTower, grids: str) -> tuple[str, ...]:
    """Inputs that hold the patches of all items, one after the other."""
    return tuple(name for name, shape in section.inputs.items() if shape[0] != section.inputs[grids][0])


def _check_patches(section: HfTower, inputs: dict[str, Any]) -> None:
    grids = _grids_in(section)
    if grids is None:
        return
    counted = int(inputs[grids].prod(-1).sum())
    for name in _packed(section, grids):
        if inputs[name].shape[0] != counted:
            raise BuildError(f"{name} holds {inputs[name].shape[0]} patches, and {grids} counts {counted}")


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
    if rule is not None and rule.grids_in is not None:
        grids: Tensor = inputs[rule.grids_in]
        return grids.prod(-1) // rule.merge**2
    first = next(iter(inputs.values()))
    items = first.shape[0]
    if items and rows % items:
        raise BuildError(f"{rows} rows for {items} items: say in item_rows how many each one makes")
    return torch.full((items,), rows // max(items, 1), device=first.device)
