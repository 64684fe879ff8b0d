"""What is wrong before the first layer: rows of the tower, projectors, embeddings, placement, positions, masks.

Legend: B batch, S sequence, H hidden.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adapters.parity.consumed import Consumed
from adapters.parity.recording import Call
from adapters.parity.sides import Side
from adapters.parity.suspects import Suspect, alike, edge_path, factor
from adapters.parity.taken_rows import Taken, taken_rows
from components.fusion.feature_counts import FeatureCountError
from composer.edges import DataEdge, EmbedEdge, MaskEdge, PositionEdge, ScatterEdge

if TYPE_CHECKING:
    from adapters.parity.batch import Batch
    from composer import Graph

PLACEHOLDER_KEYS = ("image_token_id", "image_token_index")


def wrong_token(graph: "Graph", model: Any) -> Iterator[Suspect]:
    """A placeholder that transformers knows under another id."""
    for key in PLACEHOLDER_KEYS:
        right, said = getattr(model.config, key, None), graph.tokens.get("image")
        if isinstance(right, int) and said is not None and right != said:
            yield Suspect("tokens.image", f"transformers' placeholder is {right} ({key}), the spec's is {said}.")
            return


def wrong_counts(graph: "Graph", ours: Side) -> Iterator[Suspect]:
    """Every projector reads what it should, and yet the rows do not fit their places."""
    if not isinstance(ours.error, FeatureCountError):
        return
    for node in graph.nodes.values():
        rows = "item_rows" if graph.component(node.name).role == "tower" else "pool"
        if hasattr(node.config, rows):
            yield Suspect(f"nodes.{node.name}.{rows}", f"rows are counted with it, and do not fit: {ours.error}.")


def wrong_encoders(graph: "Graph", ours: Side, oracle: Side, model: Any) -> Iterator[Suspect]:
    """Projectors that read other rows than transformers', or make others of the same.

    Args:
        graph: of the model.
        ours, oracle: what was recorded.
        model: transformers', whose towers are asked which rows would be right.
    """
    for name in graph.order():
        node = graph.nodes[name]
        if graph.component(name).role != "projector" or node.weights is None:
            continue
        if name not in oracle.calls and oracle.error is not None:
            continue  # transformers' model fails before it comes there
        if name not in oracle.calls:
            yield Suspect(
                f"nodes.{name}.weights", f"transformers' model has no {node.weights} that is run on pictures."
            )
        elif name not in ours.calls or not alike(_read(ours.calls[name]), _read(oracle.calls[name])):
            yield from _wrong_rows(graph, name, ours, oracle, model)
        elif not alike(_made(ours.calls[name]), _made(oracle.calls[name])):
            message = (
                "it reads the rows that transformers' projector reads and makes others of them. Compare class and args."
            )
            yield Suspect(f"nodes.{name}", message)


def _read(call: Call) -> Tensor:
    return next(iter(call.tensors().values()))


def _made(call: Call) -> Tensor:
    return call.output if isinstance(call.output, Tensor) else torch.empty(0)


def _wrong_rows(graph: "Graph", name: str, ours: Side, oracle: Side, model: Any) -> Iterator[Suspect]:
    """Which rows of the tower transformers' projector reads, and how that is said."""
    edge = next(
        (edge for edge in graph.edges_to(name) if isinstance(edge, DataEdge) and edge.source.owner in graph.nodes), None
    )
    tower = edge.source.owner if edge else ""
    if edge is None or tower not in oracle.calls:
        yield Suspect(f"nodes.{name}", "its input is not what transformers' projector reads.")
        return
    wanted, node = _read(oracle.calls[name]), graph.nodes[tower]
    first = _read(oracle.calls[tower])
    items = len(first) if len(wanted) == len(first) else None
    right = taken_rows(model.get_submodule(str(node.weights)), oracle.calls[tower], items, wanted)
    if right is None:
        yield Suspect(
            f"nodes.{tower}", "its rows are not those that transformers' projector reads, nor is any of its outputs."
        )
        return
    states = getattr(node.config, "hidden_states", None)
    said = Taken(
        None if states else getattr(node.config, "output", None),
        (states.layers if isinstance(states.layers, int) else tuple(states.layers)) if states else None,
        tuple(edge.pack),
    )
    message = f"transformers' projector reads {right.words()}; the spec hands it {said.words()}."
    if (right.output, _counted(right, node)) != (said.output, _counted(said, node)):
        key = "hidden_states" if states or right.layers is not None else "output"
        yield Suspect(f"nodes.{tower}.{key}", message)
    if right.operations != said.operations:
        yield Suspect(f"{edge_path(graph, edge)}.pack", message)


def _counted(taken: Taken, node: Any) -> tuple[int, ...]:
    states = node.config.config.get("num_hidden_layers", 0) + 1
    layers = (taken.layers,) if isinstance(taken.layers, int) else taken.layers or ()
    return tuple(layer % states for layer in layers)


def wrong_embeddings(graph: "Graph", batch: "Batch", ours: Consumed, oracle: Consumed) -> Iterator[Suspect]:
    """Text that is scaled otherwise, and placeholders that hold something else."""
    places = torch.isin(batch.input_ids, torch.tensor(list(_placeholders(graph)), device=batch.input_ids.device))
    text = batch.attention_mask & ~places
    for edge in graph.edges:
        if isinstance(edge, EmbedEdge) and not alike(ours.embeddings[text], oracle.embeddings[text]):
            by = factor(ours.embeddings[text], oracle.embeddings[text])
            said = (
                f"transformers' embeddings of text are the spec's times {by:.6g}."
                if by
                else "embeddings of text differ."
            )
            yield Suspect(f"{edge_path(graph, edge)}.scale", said)
        if isinstance(edge, ScatterEdge):
            here = places & batch.attention_mask
            mine, theirs = ours.embeddings[here], oracle.embeddings[here]
            if not alike(mine, theirs):
                by = factor(mine, theirs)
                said = (
                    f"transformers' rows are the spec's times {by:.6g}"
                    if by
                    else "other rows stand at the placeholders"
                )
                yield Suspect(edge_path(graph, edge), f"{said}: compare its mode ({edge.mode}) and the order of rows.")


def _placeholders(graph: "Graph") -> set[int]:
    return {graph.tokens[name] for edge in graph.edges if isinstance(edge, ScatterEdge) for name in edge.at}


def wrong_masks(graph: "Graph", batch: "Batch", ours: Consumed, oracle: Consumed) -> Iterator[Suspect]:
    """Rules whose masks have other cells; the first of them is shown."""
    names = {token: name for name, token in graph.tokens.items()}
    for edge in (edge for edge in graph.edges if isinstance(edge, MaskEdge)):
        for kind, mask in ours.masks.items():
            differing = (mask ^ oracle.masks[kind]) & batch.attention_mask[:, :, None] & batch.attention_mask[:, None]
            if not differing.any():
                continue
            row, query, key = (int(number) for number in differing.nonzero()[0])
            words = [names.get(int(batch.input_ids[row, place]), "text") for place in (query, key)]
            does, does_not = (
                ("transformers", "the spec") if oracle.masks[kind][row, query, key] else ("the spec", "transformers")
            )
            message = (
                f"{int(differing.sum())} cells differ. The first: {does} lets position {query} ({words[0]}) see "
                f"position {key} ({words[1]}), {does_not} does not."
            )
            yield Suspect(f"{edge_path(graph, edge)}.rules.{kind}", message)


def wrong_positions(graph: "Graph", batch: "Batch", oracle: Side) -> Iterator[Suspect]:
    """Positions that begin elsewhere, or are counted otherwise."""
    theirs = oracle.positions
    for edge in (edge for edge in graph.edges if isinstance(edge, PositionEdge)):
        if theirs is None or edge.rule != "arange":
            continue
        if theirs.ndim != 2:
            shape = " x ".join(map(str, theirs.shape))
            yield Suspect(
                f"{edge_path(graph, edge)}.rule", f"transformers' positions are [{shape}]: more than one a token."
            )
            continue
        first = int(theirs[0, 0])
        if first != edge.offset:
            message = f"transformers' first token stands at {first}, the spec's at {edge.offset}."
            yield Suspect(f"{edge_path(graph, edge)}.offset", message)
