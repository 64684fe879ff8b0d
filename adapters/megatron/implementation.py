"""From a declared component to the torch module that builds and runs it."""

import importlib
from typing import Any

from composer.registry import Component


def implementation(component: Component) -> Any:
    """The module that `component.implementation` names."""
    return importlib.import_module(component.implementation)
