"""Classes of transformers that a spec names."""

import importlib
from typing import TYPE_CHECKING, Any

from components.build_error import BuildError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def modeling_class(config: "PreTrainedConfig", name: str) -> Any:
    """The class of this name in the modeling file beside a configuration.

    Raises:
        BuildError: that file has no such class.
    """
    file = type(config).__module__.replace(".configuration_", ".modeling_")
    found = getattr(importlib.import_module(file), name, None)
    if found is None:
        raise BuildError(f"{file} has no class {name}")
    return found
