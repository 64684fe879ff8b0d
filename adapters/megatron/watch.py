"""Hooks on all modules of one pipeline stage that remember the first number which is not finite, each way."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.megatron.module import ComposedModel


@frozen
class Event:
    """What was seen first. order: among all that this stage computed in one direction."""

    order: int
    module: str
    kind: str


class Watch:
    """Watches a stage until `remove`; `forward` and `backward` are None while all is well.

    Gradients are watched on the tensors between modules, not with module backward hooks: those hand on views, which
    Megatron-Core's pipeline refuses to free. A wrong gradient of a tensor is laid to the module that takes it in, which
    is where it was computed, and to the innermost of several.
    """

    def __init__(self, stage: nn.Module) -> None:
        self.forward: Event | None = None
        self.backward: Event | None = None
        self._ticks = [0, 0]
        self._culprit: int | None = None
        self._running: list[str] = []
        self._latest_gradient = ""
        self._handles: list[Any] = []
        for module, paths in module_paths(stage).items():
            self._handles.append(module.register_forward_pre_hook(self._entering(paths), with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._leaving, with_kwargs=True))
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    hook = self._gradient(paths[0], f"parameter {own}", parameter)
                    self._handles.append(parameter.register_hook(hook))

    def remove(self) -> None:
        """Take all hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _entering(self, paths: list[str]) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            # A module that layers share is called from one of them; in recomputation, from the backward pass of one.
            caller = self._running[-1] if self._running else self._latest_gradient
            name = max(paths, key=lambda path: _shared_parts(path, caller))
            self._running.append(name)
            self._ticks[0] += 1
            for label, tensor in _named_tensors(args, kwargs):
                # Masks are full of −inf, rightly; an activation that overflowed was seen where it was made.
                if self.forward is None and bool((tensor.isnan() | (tensor == torch.inf)).any()):
                    what = "parameter" if isinstance(tensor, nn.Parameter) else "input"
                    self.forward = Event(self._ticks[0], name, f"{what} {label}")
                self._watch_gradient(tensor, name, f"input {label}")

        return hook

    def _leaving(self, module: nn.Module, _args: Any, _kwargs: dict[str, Any], output: Any) -> None:
        name = self._running.pop()
        self._ticks[0] += 1
        for tensor in _tensors(output):
            if self.forward is None and not bool(tensor.isfinite().all()):
                wrong = (own for own, value in module.named_parameters() if not bool(value.isfinite().all()))
                own = next(wrong, None)
                self.forward = Event(self._ticks[0], name, "output" if own is None else f"parameter {own}")
            self._watch_gradient(tensor, name, "output")

    def _watch_gradient(self, tensor: Tensor, name: str, kind: str) -> None:
        if tensor.requires_grad and not isinstance(tensor, nn.Parameter) and torch.is_grad_enabled():
            self._handles.append(tensor.register_hook(self._gradient(name, kind, tensor)))

    def _gradient(self, name: str, kind: str, tensor: Tensor) -> Callable[[Tensor], None]:
        place = id(tensor)

        def hook(gradient: Tensor) -> None:
            self._ticks[1] += 1
            self._latest_gradient = name
            # The hooks of one tensor run one after the other: its maker's, then its takers', the innermost last.
            open_case = self.backward is None or (self._culprit == place and self._ticks[1] == self.backward.order + 1)
            if open_case and not bool(gradient.isfinite().all()):
                self.backward, self._culprit = Event(self._ticks[1], name, kind), place

        return hook


def module_paths(stage: nn.Module) -> dict[nn.Module, list[str]]:
    """The modules within the composed model, each with its paths in it (several, where layers share a module).

    Decoder layers are counted over the whole pipeline.
    """
    while not isinstance(stage, ComposedModel):  # wrapped for data parallelism, mixed precision, ZeRO
        stage = cast("nn.Module", stage.module)
    found: dict[nn.Module, list[str]] = {}
    renamed: dict[str, str] = {"": ""}
    for name, module in stage.named_modules(remove_duplicate=False):
        parent, _, last = name.rpartition(".")
        number = getattr(module, "layer_number", None)
        if last.isdigit() and isinstance(number, int):
            last = str(number - 1)
        renamed[name] = f"{renamed[parent]}.{last}".lstrip(".")
        if name:
            found.setdefault(module, []).append(renamed[name])
    return found


def _shared_parts(path: str, other: str) -> int:
    """How many leading parts two paths have in common."""
    count = 0
    for one, two in zip(path.split("."), other.split("."), strict=False):
        if one != two:
            break
        count += 1
    return count


def _named_tensors(args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for label, value in (*enumerate(args), *kwargs.items()):
        for tensor in _tensors(value):
            yield str(label), tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating-point tensors in what a module takes or gives."""
    if torch.is_tensor(value):
        if value.is_floating_point() and value.numel():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
