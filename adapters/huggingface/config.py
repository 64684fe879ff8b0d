"""Any Hugging Face configuration, old form or new, as one plain dict with every default filled.

`composer` reads `${hf.…}` from this dict and imports no transformers; `components.hf_config.to_hf_config` is the way
back. Source: transformers 5.23 configuration_utils.py (`to_dict`, `per_layer_config`).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.huggingface.config_cache import cached
from adapters.huggingface.config_source import read_config
from adapters.huggingface.layer_kinds import with_kinds
from components.hf_config import to_hf_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NOT_CONFIGURATION = (
    "transformers_version",
    "dtype",
    "torch_dtype",
    "quantization_config",
)  # of a file or of its weights, not of the model

REMOTE_CODE = "auto_map"
"""Says that classes, `architectures` among them, are those of files beside the checkpoint, not transformers'."""


def plain(source: "str | Path | dict[str, Any] | PreTrainedConfig") -> dict[str, Any]:
    """Turn a configuration into a json-able dict: all defaults filled, per-layer values under `kinds`.

    Args:
        source: a local directory or JSON file, a hub id (`owner/name` or `owner/name@revision`), the content of a
            `config.json`, a transformers config, or a plain dict, which comes back as it is (no transformers needed).

    Returns:
        A dict; `plain(plain(x)) == plain(x)`. What was read from JSON is cached by its content.

    Raises:
        HfConfigError: nothing there, not JSON, a model_type that transformers lacks, values it refuses, or layers of
            one kind that differ.
    """
    if not isinstance(source, str | Path | dict):
        return _normalise(source.to_dict())
    raw = read_config(source)
    return raw if is_plain(raw) else cached(raw, _from_json)


def is_plain(config: dict[str, Any]) -> bool:
    """Whether `config` or one of its sub-configs has `kinds`, which only the plain form has."""
    return "kinds" in config or any(isinstance(value, dict) and is_plain(value) for value in config.values())


def _from_json(raw: dict[str, Any]) -> dict[str, Any]:
    # A config.json is a plain dict without kinds; transformers fills the defaults and reads old field names.
    return _normalise(to_hf_config(raw).to_dict())


def _normalise(config: dict[str, Any]) -> dict[str, Any]:
    """Make one level, and the sub-configs in it, json-able, without what is not configuration, with kinds."""
    kept = {
        str(key): _normalise(value) if isinstance(value, dict) and "model_type" in value else _json(value)
        for key, value in config.items()
        if key not in NOT_CONFIGURATION and not str(key).startswith("_")
    }
    if kept.pop(REMOTE_CODE, None) is not None:
        kept["architectures"] = None
    return with_kinds(kept)


def _json(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _json(item) for key, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
        case set() | frozenset():
            return sorted(value)
        case float() if not math.isfinite(value):
            return {"__float__": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
