"""From pictures to feature rows of the decoder's width: the tower, its projector, and what happens between them."""

from typing import Any

from torch import Tensor

from adapters.init.draft import Notes, Said
from adapters.init.fields import Fields
from adapters.init.inspection import DECODER, TEXT, Inspected
from adapters.init.probe import Probe
from adapters.init.projector import projector_node, takes_rows
from adapters.parity.taken_rows import Taken, taken_rows

INTERRUPTED = "if text stands between the rows of a picture (a break after each line), say interrupted: true"


def encoder(
    inspected: Inspected, probe: Probe | None, tower: str, key: str, root: Fields, notes: Notes
) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """Nodes, edges and inputs from pictures to feature rows of the decoder's width."""
    node = tower.rpartition(".")[2]
    vision = Fields(f"hf.{key}", inspected.plain[key])
    sizes = probe is not None and "image_sizes" in probe.given
    inputs = _inputs(vision, sizes=sizes)
    section: dict[str, Any] = {
        "component": "vision.hf_tower",
        "weights": Said(tower, f"AutoModel makes {type(inspected.model.get_submodule(tower)).__name__} of {key}"),
        "config": f"${{hf.{key}}}",
        "inputs": _tower_inputs(inspected, probe, tower),
    }
    if sizes:
        section["item_rows"] = {"sizes_in": "image_sizes", "patch": vision.reference("patch_size")}
    edges: list[Any] = [{"kind": "data", "from": name, "to": f"{node}.{name}"} for name in section["inputs"]]
    called = [name for name in inspected.between if probe is None or name in probe.calls]
    projector = called[0] if called else None
    section["out_dim"] = _width(inspected, projector, vision, notes, f"nodes.{node}.out_dim")
    wanted = _wanted(probe, projector)
    taken = None
    if probe is not None and wanted is not None and tower in probe.calls:
        items = None if sizes else len(probe.given["pixel_values"])
        taken = taken_rows(inspected.model.get_submodule(tower), probe.calls[tower], items, wanted)
    if probe is not None:
        _describe(section, taken, root, inspected, notes, f"nodes.{node}")
    nodes, last = {node: section}, node
    made = projector_node(inspected, probe, projector, tower, root, notes) if projector else None
    if made is not None and projector is not None:
        last = projector.rpartition(".")[2]
        nodes[last] = made
        _check_rows(inspected, probe, projector, notes)
        pack = [dict(_operation(each, root)) for each in taken.operations] if taken else []
        edge = {"kind": "data", "from": node, "to": f"{last}.in"}
        edges.append(
            Said(edge | {"pack": pack}, "measured: so the tower's rows become what the projector reads")
            if pack
            else edge
        )
        edges += [{"kind": "data", "from": name, "to": f"{last}.{name}"} for name in made.get("inputs", {})]
    if sizes:
        notes.add(
            "edges, kind scatter",
            INTERRUPTED,
        )
    edges.append({"kind": "scatter", "from": last, "to": f"{DECODER}.embeddings", "at": ["image"]})
    return nodes, edges, inputs


def _width(inspected: Inspected, projector: str | None, vision: Fields, notes: Notes, where: str) -> Any:
    """Of the tower's rows: its own width, or the decoder's if nothing stands between."""
    if projector is None:
        return f"${{hf.{TEXT}.hidden_size}}"
    found = vision.reference("hidden_size", "embed_dim", "width")
    if found is None:
        notes.add(where, "the tower's configuration has no hidden_size: write the width of its rows")
    return found or 1


def _wanted(probe: Probe | None, projector: str | None) -> Tensor | None:
    """What the tower's rows are to become: what the projector reads, or the features themselves."""
    if probe is None:
        return None
    return next(iter(probe.calls[projector].tensors().values())) if projector else probe.features


def _inputs(vision: Fields, *, sizes: bool) -> dict[str, Any]:
    channels = vision.reference("num_channels") or 3
    if sizes:
        shape: list[Any] = ["image", channels, "height", "width"]
        return {
            "pixel_values": {"type": "pixels", "shape": shape, "optional": True},
            "image_sizes": {"type": "sizes", "shape": ["image", 2], "optional": True},
        }
    side = vision.config.get("image_size")
    height, width = ("image_size[0]", "image_size[1]") if isinstance(side, list) else ("image_size", "image_size")
    sides = [f"${{{vision.path}.{name}}}" for name in (height, width)] if side else ["height", "width"]
    return {"pixel_values": {"type": "pixels", "shape": ["image", channels, *sides], "optional": True}}


def _tower_inputs(inspected: Inspected, probe: Probe | None, tower: str) -> dict[str, Any]:
    known = {"pixel_values": ["image", "channel", "height", "width"], "image_sizes": ["image", 2]}
    if probe is None or tower not in probe.calls:
        return {"pixel_values": known["pixel_values"]}
    return {name: known[name] for name in probe.calls[tower].tensors() if name in known and name in probe.given}


def _describe(
    section: dict[str, Any], taken: Taken | None, root: Fields, inspected: Inspected, notes: Notes, where: str
) -> None:
    """What of the tower's output the features are."""
    if taken is None:
        notes.add(
            where,
            "which of the tower's rows are the features was not found: neither its outputs nor its hidden states, with "
            "or without the first row, with or without blocks of rows put together. See output, hidden_states, "
            "and pack of the data edge behind it",
        )
        return
    source = "measured: what the projector reads"
    if taken.layers is not None:
        layers: Any = list(taken.layers) if isinstance(taken.layers, tuple) else taken.layers
        depth = inspected.tiny[next(iter(inspected.towers.values()))].get("num_hidden_layers", 0) + 1
        named = root.config.get("vision_feature_layer")
        if named is not None and _counted(named, depth) == _counted(layers, depth):
            layers = "${hf.vision_feature_layer}"
        section["hidden_states"] = {"layers": Said(layers, source)}
    elif taken.output != "last_hidden_state":
        section["output"] = Said(taken.output, source)


def _counted(layers: Any, depth: int) -> list[int]:
    return [layer % depth for layer in (layers if isinstance(layers, list) else [layers])]


def _operation(operation: Any, root: Fields) -> list[tuple[str, Any]]:
    if operation.drop_first is not None:
        return [("drop_first", operation.drop_first)]
    ratio = operation.pixel_shuffle
    named = next((name for name, value in root.config.items() if isinstance(value, float) and value == ratio), None)
    return [("pixel_shuffle", f"${{hf.{named}}}" if named else ratio)]


def _check_rows(inspected: Inspected, probe: Probe | None, projector: str, notes: Notes) -> None:
    if probe is None or projector not in probe.calls:
        return
    (_, read), *beside = probe.calls[projector].tensors().items()
    if not takes_rows(inspected.model.get_submodule(projector), read, dict(beside)):
        shape = (
            ", ".join(("pictures", "rows", "width")[: read.ndim]) if read.ndim == 3 else "x".join(map(str, read.shape))
        )
        notes.add(
            f"nodes.{projector.rpartition('.')[2]}",
            f"it reads [{shape}] and gives other rows, or none, for [rows, width]: say rows, the number that it makes "
            "of every picture, or write a component of your own (docs/new-model.md)",
        )
