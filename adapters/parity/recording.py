"""Keeps what modules are called with, and what they return."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from attrs import frozen
from torch import Tensor, nn


@frozen(eq=False)
class Call:
    """One call of a module: arguments by name, and what it returned."""

    arguments: dict[str, Any]
    output: Any

    def tensors(self) -> dict[str, Tensor]:
        """Arguments that are tensors."""
        return {name: value for name, value in self.arguments.items() if isinstance(value, Tensor)}


@contextmanager
def recording(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Call]]:
    """First calls of the named modules, in the order in which they end."""
    calls: dict[str, Call] = {}
    hooks = [model.get_submodule(name).register_forward_hook(_keep(name, calls), with_kwargs=True) for name in names]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _keep(name: str, calls: dict[str, Call]) -> Callable[..., None]:
    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        bound = dict(signature(module.forward).bind_partial(*args, **kwargs).arguments)
        arguments = {key: value for key, value in bound.items() if key not in ("kwargs", "args")}
        if isinstance(bound.get("kwargs"), dict):
            arguments |= bound["kwargs"]
        calls.setdefault(name, Call(arguments, output))

    return keep
