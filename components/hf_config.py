"""From the plain dict that specs read back to a transformers config: the inverse of `adapters.huggingface.plain`.

A plain dict holds what differs between kinds of layers under `kinds`; transformers holds it under `per_layer_config`,
by layer index, and keeps the values of the remaining layers as globals. Rules of the plain form, per config that has
`layer_types` (every decoder's has, also where transformers' class does not know the field):

    kinds.<kind>.head_dim, .num_key_value_heads, ...   effective values; the global key is gone
    kinds.<kind>.head_dim beside a global `null`       derived from other fields: given back only if changed
    kinds.<kind>.rope, no global `rope_parameters`     one rope per kind
    kinds.<kind>.rope beside a global `null`           one rope for all kinds, repeated for reading
    mlp_layer_types                                    dense or sparse for every layer (`components.feed_forward_kinds`)

Source: transformers 5.23 integrations/heterogeneity/configuration_utils.py, modeling_rope_utils.py.
"""

from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from components.feed_forward_kinds import FIELD, feed_forward_kinds

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ROPE = "rope"


class HfConfigError(ValueError):
    """A configuration that transformers does not know, or that contradicts itself."""


def to_hf_config(plain: dict[str, Any]) -> "PreTrainedConfig":
    """Build the transformers config that a plain dict, or one of its sub-configs, stands for.

    Args:
        plain: a dict made by `adapters.huggingface.plain`, possibly with overridden values; it is not changed.

    Raises:
        HfConfigError: no `model_type`, one that the installed transformers lacks, or kinds that contradict each other.
    """
    # transformers fills in defaults in the very dicts it is given.
    return _build(_config_class(plain.get("model_type")), deepcopy(plain))


def derived_values(config: dict[str, Any]) -> dict[str, int | None]:
    """What transformers assumes where a config leaves head_dim (a width) or num_key_value_heads (a count) open."""
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    width = hidden // heads if isinstance(heads, int) and heads and isinstance(hidden, int) else None
    return {"head_dim": width, "num_key_value_heads": heads}


def _config_class(model_type: Any) -> type["PreTrainedConfig"]:
    from difflib import get_close_matches

    from transformers import CONFIG_MAPPING, __version__

    if not isinstance(model_type, str):
        raise HfConfigError(f"model_type must be the name of a transformers configuration, got {model_type!r}")
    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, list(CONFIG_MAPPING.keys()), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise HfConfigError(f"transformers {__version__} has no model_type {model_type}{hint}")
    return CONFIG_MAPPING[model_type]


def _build(cls: type["PreTrainedConfig"], plain: dict[str, Any]) -> "PreTrainedConfig":
    from transformers import PreTrainedConfig

    settings = {key: _number(value) for key, value in plain.items() if key not in ("model_type", "kinds")}
    for key, slot in cls.sub_configs_defaults.items():
        if isinstance(value := settings.get(key), dict):
            # An AutoConfig slot is filled by whatever model_type the sub-config names; a class slot is that class.
            exact = issubclass(slot.config_class, PreTrainedConfig)
            value = value if exact else _renamed(cls, key, value)
            named = slot.config_class if exact else _config_class(value.get("model_type", slot.model_type))
            settings[key] = _build(named, value)
    _feed_forward_kinds_back(cls, settings)
    kinds = plain.get("kinds")
    if not kinds:
        return _construct(cls, settings)
    if "layer_types" not in {field.name for field in fields(cls)}:
        del settings["layer_types"]
    overrides = _move_kinds_back(cls, settings, kinds, plain["layer_types"])
    if overrides:
        return _construct(cls, settings | {"per_layer_config": overrides})
    config = _construct(cls, settings)
    if config.is_heterogeneous:
        # Some classes invent per-layer values when given none; that all layers agree is then a value to give.
        config = _construct(cls, settings | {"per_layer_config": {}})
    return config


def _renamed(cls: type["PreTrainedConfig"], key: str, value: dict[str, Any]) -> dict[str, Any]:
    """A sub-config under transformers' name of its model, where `cls` knows one that was published before."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    model_type = value.get("model_type")
    if not isinstance(model_type, str) or model_type in CONFIG_MAPPING:
        return value
    try:
        found = getattr(cls(**{key: deepcopy(value)}), key)
    except (StrictDataclassError, KeyError, TypeError, ValueError):
        return value  # nor does `cls`
    return value | {"model_type": found.model_type}


def _feed_forward_kinds_back(cls: type["PreTrainedConfig"], settings: dict[str, Any]) -> None:
    """Classes without the field have others that say the same."""
    if FIELD not in settings or FIELD in {field.name for field in fields(cls)}:
        return
    kinds, said = settings.pop(FIELD), feed_forward_kinds(settings)
    if kinds != said:
        raise HfConfigError(
            f"{FIELD} is {kinds}, but {cls.__name__} takes the kinds of layers from other fields, which say {said}: "
            f"change those (moe_layers, mlp_only_layers and decoder_sparse_step, or first_k_dense_replace)"
        )


def _number(value: Any) -> Any:
    """JSON has no infinity: transformers writes it as {"__float__": "Infinity"}, and so does the plain form."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value["__float__"]) if isinstance(value, dict) and set(value) == {"__float__"} else value


def _construct(cls: type["PreTrainedConfig"], settings: dict[str, Any]) -> "PreTrainedConfig":
    from huggingface_hub.errors import StrictDataclassError

    try:
        return cls(**settings)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise HfConfigError(f"{cls.__name__} refuses these values: {error}") from error


def _move_kinds_back(
    cls: type["PreTrainedConfig"], settings: dict[str, Any], kinds: dict[str, dict[str, Any]], layer_types: list[str]
) -> dict[int, dict[str, Any]]:
    """Fill the globals of `settings` from `kinds`; return the values of layers that differ, by layer index."""
    unknown = sorted(set(layer_types) - set(kinds))
    if unknown:
        raise HfConfigError(f"layer_types names {', '.join(unknown)}, but kinds has only {', '.join(kinds)}")
    still_open = _still_derived(settings, kinds)
    first = next(iter(kinds.values()))
    moved = {name for kind in kinds.values() for name in kind if name != ROPE and name not in still_open}
    settings.update({name: first[name] for name in moved if name in first})
    for name in still_open - {field.name for field in fields(cls)}:
        del settings[name]  # a class without the field would keep the null as an attribute that means something
    _rope_back(settings, kinds)
    differing = {
        kind: {name: values[name] for name in moved if name in values and values[name] != settings.get(name)}
        for kind, values in kinds.items()
    }
    return {index: dict(differing[kind]) for index, kind in enumerate(layer_types) if differing[kind]}


def _still_derived(settings: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> set[str]:
    """Values that the config leaves open and that no kind has been given differently."""
    return {
        name
        for name, value in derived_values(settings).items()
        if name in settings
        and settings[name] is None
        and all(kind.get(name, value) == value for kind in kinds.values())
    }


def _rope_back(settings: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> None:
    ropes = {kind: values[ROPE] for kind, values in kinds.items() if ROPE in values}
    if not ropes:
        return
    if "rope_parameters" not in settings or settings["rope_parameters"] is not None:
        settings["rope_parameters"] = {**settings.get("rope_parameters", {}), **ropes}
        return
    shared = next(iter(ropes.values()))
    if any(rope != shared for rope in ropes.values()):
        raise HfConfigError(f"this configuration has one rope for all layers, but kinds gives several: {ropes}")
    settings["rope_parameters"] = shared
