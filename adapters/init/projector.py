"""The section of a projector: its class, what it is made with, and how many rows it makes of those it reads."""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from adapters.init.draft import Notes, Said
from adapters.init.fields import Fields
from adapters.init.inspection import TEXT, Inspected
from adapters.init.probe import Probe
from components.hf_config import to_hf_config

POOLS = ("spatial_merge_size", "scale_factor", "downsample_factor")


def projector_node(
    inspected: Inspected, probe: Probe | None, module_name: str, tower: str, root: Fields, notes: Notes
) -> dict[str, Any] | None:
    """The node, or None if no component says what the module is."""
    module = inspected.model.get_submodule(module_name)
    node = module_name.rpartition(".")[2]
    where = f"nodes.{node}"
    made_with = _arguments(inspected, module, tower)
    if made_with is None:
        notes.add(
            where,
            f"{module_name} is a {type(module).__name__} that is not made of configurations alone: projector.hf_module "
            "cannot make it; a component of your own can (docs/new-model.md)",
        )
        return None
    section: dict[str, Any] = {
        "component": "projector.hf_module",
        "weights": Said(module_name, f"module of {type(module).__name__}"),
        "class": type(module).__name__,
        "args": [f"${{hf.{path}}}" if path else "${hf}" for path in made_with],
        "out_dim": f"${{hf.{TEXT}.hidden_size}}",
    }
    if probe is None or module_name not in probe.calls:
        return section
    call = probe.calls[module_name]
    (features, read), *beside = call.tensors().items()
    extra = {name: _shape(value) for name, value in beside}
    if extra:
        section["inputs"] = extra
    _pool(section, root, read, call.output, where, notes)
    out = call.output if isinstance(call.output, Tensor) else read
    if out.shape[-1] != inspected.tiny[TEXT]["hidden_size"]:
        notes.add(
            f"{where}.out_dim", f"{features} becomes rows of {out.shape[-1]} in the tiny model, not the decoder's width"
        )
    return section


def takes_rows(module: nn.Module, read: Tensor, beside: dict[str, Tensor]) -> bool:
    """Whether a projector gives the same rows if it is given [rows, width] instead of what it was given."""
    if read.ndim == 2:
        return True
    try:
        with torch.no_grad():
            alone, together = module(read.flatten(0, -2), **beside), module(read, **beside)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    flat = together.flatten(0, -2)
    return alone.shape == flat.shape and bool((alone - flat).norm() <= 1e-5 * flat.norm())


def _arguments(inspected: Inspected, module: nn.Module, tower: str) -> tuple[str, ...] | None:
    """Paths below `hf` of the configurations that the class is made with; found by making it."""
    paths = ("", inspected.towers.get(tower, "vision_config"), TEXT)
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    for count in (1, 2, 3):
        for chosen in product(paths, repeat=count):
            if len(set(chosen)) < count:
                continue
            configs = [to_hf_config(inspected.tiny[path] if path else inspected.tiny) for path in chosen]
            try:
                with torch.device("meta"):
                    made = type(module)(*configs)
                same = {name: value.shape for name, value in made.state_dict().items()} == shapes
            except Exception:  # noqa: BLE001, S112 (whatever a class thinks of the wrong configuration)
                continue
            in_the_file = (
                type(configs[0]).__module__.replace(".configuration_", ".modeling_") == type(module).__module__
            )
            if same and in_the_file:
                return chosen
    return None


def _pool(section: dict[str, Any], root: Fields, read: Tensor, made: Any, where: str, notes: Notes) -> None:
    before = read.flatten(0, -2).shape[0]
    after = made.flatten(0, -2).shape[0] if isinstance(made, Tensor) else before
    if before == after:
        return
    side = round((before / after) ** 0.5) if after else 0
    if not side or side**2 * after != before:
        notes.add(f"{where}.pool", f"{before} rows become {after}: no square of rows becomes one")
        return
    named = next((name for name in POOLS if root.config.get(name) == side), None)
    section["pool"] = (root.reference(named) if named else None) or Said(
        side, f"measured: {before} rows become {after}"
    )


def _shape(value: Tensor) -> list[Any]:
    return ["image", *value.shape[1:]]
