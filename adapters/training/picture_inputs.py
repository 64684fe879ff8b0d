"""What a spec's towers read, and so how pictures are prepared for it."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch

from adapters.training.patches import PatchGrid
from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from adapters.training.whole_pictures import PixelGrid
from components.fusion.pack import pack
from composer import Graph
from composer.edges import DataEdge, ScatterEdge

PIXELS, POSITIONS, PLACEHOLDER = "pixel_values", "image_position_ids", "image"
PROVIDED = ("input_ids", PIXELS, POSITIONS)


def picture_problem(graph: Graph) -> str | None:
    """Why pictures cannot be prepared for a spec; None if they can, or none are read."""
    pixels = graph.inputs.get(PIXELS)
    if pixels is None or _is_patches(graph) or _is_whole(graph):
        return None
    return (
        f"{graph.name}: pictures are prepared here as patches ({PIXELS} [image, patch, patch_dim], beside {POSITIONS}) "
        f"or whole and of one size ({PIXELS} [image, 3, height, width], numbers); this spec's tower reads them "
        "otherwise: train it in a loop of your own (docs/interop.md)."
    )


def _is_patches(graph: Graph) -> bool:
    return len(graph.inputs[PIXELS].shape) == 3 and POSITIONS in graph.inputs


def _is_whole(graph: Graph) -> bool:
    """Whether towers read pictures of one size, and nothing beside them."""
    _, *sizes = graph.inputs[PIXELS].shape
    readers = {edge.target.owner for edge in graph.edges_from(PIXELS)}
    beside = [edge for owner in readers for edge in graph.edges_to(owner) if edge.source.owner != PIXELS]
    return len(sizes) == 3 and sizes[0] == 3 and all(isinstance(size, int) for size in sizes) and not beside


def picture_grid(graph: Graph, settings: Training) -> "PatchGrid | PixelGrid":
    """What prepares pictures for the towers that read `pixel_values`.

    Raises:
        TrainingError: nothing reads them, or it is not known how many feature rows a picture makes.
    """
    readers = [edge.target.owner for edge in graph.edges_from(PIXELS) if edge.target.owner in graph.nodes]
    if not readers:
        raise TrainingError(f"{graph.name}: no node reads {PIXELS}.")
    if not _is_patches(graph):
        height, width = (int(size) for size in graph.inputs[PIXELS].shape[2:])
        return PixelGrid(height, width, feature_rows(graph), settings.pictures)
    config: dict[str, Any] = getattr(graph.nodes[readers[0]].config, "config", {})
    if not isinstance(config.get("patch_size"), int):
        raise TrainingError(f"nodes.{readers[0]}.config: has no patch_size: pictures cannot be cut into patches.")
    return PatchGrid(config["patch_size"], config.get("pooling_kernel_size", 1), settings.pictures)


def feature_rows(graph: Graph) -> int:
    """Rows that a whole picture fills placeholders with, counted on the meta device.

    Raises:
        TrainingError: no scatter edge at the placeholder of pictures.
    """
    edges = [edge for edge in graph.edges if isinstance(edge, ScatterEdge) and PLACEHOLDER in edge.at]
    if not edges:
        raise TrainingError(f"{graph.name}: no scatter edge places the features of pictures at `{PLACEHOLDER}`.")
    return _rows(graph, edges[0].source.owner)


def _rows(graph: Graph, node: str) -> int:
    component, section = import_module(graph.component(node).implementation), graph.nodes[node].config
    edges = [edge for edge in graph.edges_to(node) if isinstance(edge, DataEdge)]
    upstream = [edge for edge in edges if edge.source.owner in graph.nodes]
    if not upstream:
        sizes = {edge.target.port or "in": graph.inputs[edge.source.owner].shape[1:] for edge in edges}
        with torch.device("meta"):
            # As much of a build's context as towers ask for.
            context = SimpleNamespace(transformer=SimpleNamespace(params_dtype=torch.float32))
            module = component.build(section, context)
            inputs = {name: torch.empty(1, *map(int, shape)) for name, shape in sizes.items()}
            return int(component.run(module, section, **inputs).shape[0])
    before = _rows(graph, upstream[0].source.owner)
    rows = pack(torch.empty(before, 1), torch.tensor([before]), upstream[0].pack)[1]
    after = getattr(component, "rows_after", None)
    return int(rows if after is None else after(section, rows))
