"""What differs between kinds of layers, taken from a transformers config dict and put under `kinds`.

The form, and its inverse, are described in `components/hf_config.py`.
"""

from typing import Any

from components.feed_forward_kinds import FIELD, feed_forward_kinds
from components.hf_config import ROPE, HfConfigError, derived_values


def with_kinds(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` (one level of `PreTrainedConfig.to_dict`) with its per-layer values under `kinds`.

    A decoder's config that names no `layer_types` has one kind of layers, and gets both. Any other config without
    `layer_types`, or that has `kinds` already, is returned as it is.

    Raises:
        HfConfigError: layers of one kind have different values, which no kind can say.
    """
    if "kinds" in config:
        return config
    layer_types = config.get("layer_types") or _only_kind(config)
    if not layer_types:
        return config
    config = {**config, "layer_types": layer_types}
    if config.get(FIELD) is None and (kinds := feed_forward_kinds(config)) is not None:
        config[FIELD] = kinds
    overrides = _by_kind(config["layer_types"], config.pop("per_layer_config", None) or {})
    ropes, nested = _ropes(config, overrides)
    # transformers keeps the values of layers without overrides as globals: such a kind comes first, for the way back.
    order = sorted(dict.fromkeys([*overrides, *ropes]), key=lambda kind: bool(overrides.get(kind)))
    names = {name for values in overrides.values() for name in values}
    kinds = {kind: _effective(config, overrides.get(kind, {}), names) for kind in order}
    for kind, rope in ropes.items():
        kinds[kind][ROPE] = rope
    for name in {name for kind in kinds.values() for name in kind} - {ROPE}:
        if config.pop(name, None) is None and name not in names:
            config[name] = None
    if ropes and nested:
        rest = {name: value for name, value in config.pop("rope_parameters").items() if name not in ropes}
        if rest:
            config["rope_parameters"] = rest
    elif ropes:
        config["rope_parameters"] = None
    return {**config, "kinds": kinds}


def _only_kind(config: dict[str, Any]) -> list[str]:
    """The kind of every layer of a decoder (a vocabulary, rotation, no patches) whose config names none."""
    if "vocab_size" not in config or "patch_size" in config or not isinstance(config.get("rope_parameters"), dict):
        return []
    windowed = config.get("sliding_window") is not None and config.get("use_sliding_window", True)
    return ["sliding_attention" if windowed else "full_attention"] * config["num_hidden_layers"]


def _by_kind(layer_types: list[str], by_layer: dict[Any, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Overrides of each kind, in order of appearance."""
    by_index = {int(index): values for index, values in by_layer.items()}
    kinds: dict[str, dict[str, Any]] = {}
    first: dict[str, int] = {}
    for index, kind in enumerate(layer_types):
        values = by_index.get(index, {})
        if kinds.setdefault(kind, values) != values:
            raise HfConfigError(
                f"per_layer_config: layers {first[kind]} and {index} are both {kind} but differ: "
                f"{kinds[kind]} against {values}"
            )
        first.setdefault(kind, index)
    return kinds


def _ropes(config: dict[str, Any], overrides: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Rope settings of each kind, and whether the config holds them apart (nested) or once for all."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or not rope:
        return {}, False
    if any(kind in rope for kind in overrides):
        # A kind that no layer has may still have its rope (an all-full test model): keep it, a spec names both kinds.
        return {kind: value for kind, value in rope.items() if value is None or isinstance(value, dict)}, True
    if any(isinstance(value, dict) for value in rope.values()):
        return {}, True  # nested under labels that are not layer types
    return {kind: dict(rope) for kind in overrides}, False


def _effective(config: dict[str, Any], overrides: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Values of one kind for `names` (those some layer overrides) and for head_dim and num_key_value_heads."""
    values: dict[str, Any] = {}
    for name, derived in derived_values(config).items():
        value = overrides[name] if name in overrides else config.get(name)
        value = derived if value is None else value
        if value is not None:
            values[name] = value
    for name in sorted(names - set(values)):
        if name in overrides or name in config:
            values[name] = overrides[name] if name in overrides else config[name]
    return values
