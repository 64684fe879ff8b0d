"""The weight map of one model, laid over its tensors: what a checkpoint must hold, and where it goes."""

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.rank_share import RankShare, Window, share_of
from adapters.huggingface.stored_layout import stored_map, stored_name
from adapters.huggingface.stored_matrix import Matrix, Place
from adapters.huggingface.weight_map import Entry
from adapters.huggingface.weight_operations import Piece
from composer.graph import Graph


@frozen(eq=False)
class Slot:
    """One Hugging Face tensor: its place in the model, other names of it, and the composed tensor to speak of."""

    piece: Piece
    aliases: tuple[str, ...]
    composed: str
    window: Window
    of_experts: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The Hugging Face tensor's, of which the piece may be a window."""
        return self.window.whole(self.piece.shape)

    def places(self) -> Iterator[tuple[Place, Tensor]]:
        """Where the model's values lie in the Hugging Face tensor, each place with a view of them as a matrix."""
        beside = self.piece.beside
        for view, line, number in self.piece.matrices():
            first, left = self.window.origin(self.piece.shape, line, number, beside)
            last, _ = self.window.origin(self.piece.shape, line + view.shape[0] - 1, number, beside)
            assert last - first == view.shape[0] - 1, f"{self.composed}: a view is not one place"
            yield Place(first, last + 1, left, left + view.shape[1]), view

    @property
    def matrix(self) -> Matrix:
        """The Hugging Face tensor as places count it."""
        return Matrix.of(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's values."""
        return self.piece.views[0].dtype


def slots(model: nn.Module, graph: Graph | None = None) -> dict[str, Slot]:
    """Every Hugging Face tensor that a model holds, or a window of it, by name, in the order of the model.

    Args:
        model: an `adapters.megatron.ComposedModel`.
        graph: the model's own if None; another says otherwise how nodes are called, or calls only some.

    Raises:
        CheckpointError: the map and the model disagree: a tensor with no name or with two, or a name without a tensor.
    """
    if graph is None:
        graph = model.config.graph  # type: ignore[union-attr, assignment]
    assert graph is not None
    tensors, share = rank_tensors(model), share_of(model)
    fresh = tuple(f"{name}." for name in fresh_nodes(graph))
    wanted = {name: tensor for name, tensor in tensors.items() if not name.startswith(fresh)}
    entries = stored_map(graph, wanted, share)
    if problems := _disagreements(entries, wanted):
        raise CheckpointError(f"weight map of {graph.name}", problems)
    return {
        name: Slot(piece, entry.aliases, _shown(entry), entry.window(share, piece), entry.of_experts)
        for entry in entries
        for name, piece in entry.pieces(wanted).items()
    }


def fresh_nodes(graph: Graph) -> tuple[str, ...]:
    """Nodes whose tensors have no names in a checkpoint: an import leaves them as they are."""
    return tuple(node.name for node in graph.nodes.values() if node.weights is None)


def has_weights(model: nn.Module, node: str) -> bool:
    """Whether a model holds parameters of a node (towers and projectors are on the first pipeline stage only)."""
    return any(True for _ in getattr(model, node, nn.Module()).parameters())


def held_elsewhere(graph: Graph, share: RankShare) -> tuple[set[str], tuple[str, ...]]:
    """Names of tensors that other pipeline stages hold: exact ones, and prefixes of names of towers and projectors."""
    if share.is_whole:
        return set(), ()
    names = {name for entry in stored_map(graph, ()) for name in (*entry.names, *entry.aliases)}
    if share.first_stage:
        return names, ()
    decoder = graph.decoder().name
    encoders = [
        stored_name(graph, prefix) for node in graph.nodes if node != decoder for prefix in graph.weight_names(node)
    ]
    return names | set(encoders), tuple(f"{weights}." for weights in encoders)


def _disagreements(entries: tuple[Entry, ...], tensors: dict[str, Tensor]) -> list[str]:
    composed = [name for entry in entries for name in entry.composed]
    names = [name for entry in entries for name in (*entry.names, *entry.aliases)]
    return [
        *(f"{name} of the model has no Hugging Face name" for name in tensors if name not in set(composed)),
        *(f"{name} is in the map but not in the model" for name in composed if name not in tensors),
        *(f"{name} is mapped twice" for names in (composed, names) for name in sorted(_twice(names))),
    ]


def _twice(names: list[str]) -> set[str]:
    seen: set[str] = set()
    return {name for name in names if name in seen or seen.add(name)}  # type: ignore[func-returns-value]


def _shown(entry: Entry) -> str:
    first, *others = entry.composed
    return f"{first} and {len(others)} more" if others else first
