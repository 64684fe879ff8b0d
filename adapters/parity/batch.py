"""A small batch that reaches every rule of the wiring: several pictures, adjacent ones, a long one, clips, padding."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import field, frozen
from torch import Tensor

from adapters.parity.pictures import BatchError, Pictures, Size, grids_of, inputs_of, make_pictures
from adapters.parity.tiny import FIRST_SPECIAL_TOKEN
from composer.edges import MaskEdge, ScatterEdge
from composer.masks import Prefix, leaves

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from composer import Graph

FIRST_TEXT_TOKEN = 3
type Row = tuple[int | Size, ...]
# Each row: numbers of text tokens, and pictures by size in pooled patches (height, width). The first picture is longer
# than the window, the next two adjoin; a picture opens the second row and closes the last. Rows differ in length.
ROWS: tuple[Row, ...] = (
    (3, (3, 4), 2, (1, 2), (1, 3), 6),
    ((2, 2), 7),
    (5, (2, 3)),
)
# Where there are clips too: frames, height, width. One stands between text, one before text that goes on.
ROWS_WITH_CLIPS: tuple[Row, ...] = (
    (3, (3, 4), 2, (1, 2), (1, 3), 2, (3, 1, 2), 3),
    ((2, 2), 3, (2, 2, 3), 4),
    (5, (2, 3)),
)
PAD_LEFT = (False, False, True)
TYPES = {"image": 1, "video": 2}
TEXT = -1


@frozen
class Batch:
    """Inputs of one step. B rows of S tokens; images of all rows behind one another, and so clips."""

    input_ids: Tensor  # [B, S] int64
    attention_mask: Tensor  # [B, S] bool, True at real tokens
    features: dict[str, Tensor]  # the spec's other inputs by name
    token_types: Tensor  # [B, S] int64: 1 image, 2 video, 0 other; where rules have prefixes, 0 prefix, 1 behind it
    labels: Tensor  # [B, S] int64, already shifted: the next token
    loss_mask: Tensor  # [B, S] bool, True where the next token is real text
    images_per_sample: Tensor  # [B] int64
    videos_per_sample: Tensor | None = None  # [B] int64; None: the spec places no clips
    borders: dict[str, tuple[int, ...]] = field(factory=dict)  # of features: where each row's begin, and the end

    @property
    def counts(self) -> dict[str, Tensor]:
        """Items of every row, as the model's arguments."""
        videos = {} if self.videos_per_sample is None else {"videos_per_sample": self.videos_per_sample}
        return {"images_per_sample": self.images_per_sample, **videos}

    def features_of(self, row: int) -> dict[str, Tensor | None]:
        """The features of one row; None where it has none."""
        own = {name: slice(ends[row], ends[row + 1]) for name, ends in self.borders.items()}
        return {name: value[own[name]] if len(value[own[name]]) else None for name, value in self.features.items()}

    def to(self, device: torch.device) -> "Batch":
        """The same batch there."""
        tensors = {name: getattr(self, name) for name in Batch.__annotations__ if name not in ("features", "borders")}
        moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in tensors.items()}
        features = {name: value.to(device) for name, value in self.features.items()}
        return Batch(features=features, borders=self.borders, **moved)


def make_batch(graph: "Graph", oracle: "PreTrainedModel", seed: int = 0) -> Batch:
    """Make the batch that `ROWS`, or with clips `ROWS_WITH_CLIPS`, describes for the spec's inputs.

    How many feature rows, and so placeholders, an item has is asked of the oracle. Where text may interrupt a
    picture, a word of text follows each of its lines; where frames stand apart, one follows each frame; where places
    are counted in grids, one stands between pictures, as transformers takes a stretch for one picture.

    Raises:
        BatchError: no pictures can be made for the spec's inputs, or the oracle has no `get_image_features`.
    """
    generator = torch.Generator().manual_seed(seed)
    if "image" not in graph.tokens:
        raise BatchError(f"{graph.name}: test pictures are made for a token named image")
    clips = "video" in graph.tokens and bool(inputs_of(graph, "video"))
    described = ROWS_WITH_CLIPS if clips else ROWS
    made: dict[str, Pictures] = {}
    spans: dict[str, Iterator[list[int]]] = {}
    for token in ("image", "video") if clips else ("image",):
        sizes = [part for row in described for part in row if _named(part) == token and not isinstance(part, int)]
        made[token] = make_pictures(graph, token, sizes, generator)
        rows = _feature_rows(oracle, graph, token, made[token].values)
        spans[token] = iter([_span(graph, token, *each) for each in zip(sizes, rows, strict=True)])
    rows = [list(_tokens_of(row, spans)) for row in described]
    ids, valid = _ids(graph, rows, generator)
    return _batch(graph, ids, valid, made, described)


def _named(part: int | Size) -> str | None:
    """The token of a part of a row; None: text."""
    return None if isinstance(part, int) else "image" if len(part) == 2 else "video"


def _tokens_of(row: Row, spans: Mapping[str, Iterator[list[int]]]) -> Iterator[int]:
    for part in row:
        named = _named(part)
        yield from [TEXT] * part if isinstance(part, int) else next(spans[str(named)])


def _span(graph: "Graph", token: str, size: Size, rows: int) -> list[int]:
    """Placeholders of one item."""
    slot, grids = graph.tokens[token], grids_of(graph, token)
    broken = any(isinstance(edge, ScatterEdge) and edge.interrupted and token in edge.at for edge in graph.edges)
    if len(size) == 3 and (broken or (grids is not None and grids.frames == "apart")):
        return ([slot] * (rows // size[0]) + [TEXT]) * size[0]
    if len(size) == 2 and broken:
        return ([slot] * size[1] + [TEXT]) * size[0]
    first, last = (
        [graph.tokens[name] for name in graph.tokens if name == f"{token}_{end}"] for end in ("start", "end")
    )
    return [*first, *[slot] * rows, *last, *([TEXT] if grids is not None else [])]


def _ids(graph: "Graph", rows: list[list[int]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Token ids and where they are real, both [B, S]."""
    length = max(map(len, rows))
    taken = set(graph.tokens.values())
    text_tokens = torch.tensor([token for token in range(FIRST_TEXT_TOKEN, FIRST_SPECIAL_TOKEN) if token not in taken])
    ids = text_tokens[torch.randint(len(text_tokens), (len(rows), length), generator=generator)]
    valid = torch.zeros(len(rows), length, dtype=torch.bool)
    separators = prefix_tokens(graph)
    for number, row in enumerate(rows):
        start = length - len(row) if PAD_LEFT[number] else 0
        own, wanted = slice(start, start + len(row)), torch.tensor(_separated(row, separators))
        valid[number, own] = True
        ids[number, own] = torch.where(wanted != TEXT, wanted, ids[number, own])
    ids[~valid] = 0
    return ids, valid


def prefix_tokens(graph: "Graph") -> tuple[int, ...]:
    """Ids of the tokens that end a prefix by some mask rule."""
    rules = [rule for edge in graph.edges if isinstance(edge, MaskEdge) for rule in edge.rules.values()]
    names = {leaf.token for rule in rules for leaf in leaves(rule) if isinstance(leaf, Prefix)}
    return tuple(sorted(graph.tokens[name] for name in names))


def _separated(row: list[int], separators: tuple[int, ...]) -> list[int]:
    """A row with every separator twice in its closing text, if it has one, and once in its first."""
    closing = next((place for place in range(len(row), 0, -1) if row[place - 1] >= 0), 0)
    row = list(row)
    for number, token in enumerate(separators):
        for place in (0, closing + 2 * number, closing + 2 * number + 2):
            if place < len(row) and row[place] < 0 and closing < len(row):
                row[place] = token
    return row


def _batch(
    graph: "Graph", ids: Tensor, valid: Tensor, made: Mapping[str, Pictures], described: tuple[Row, ...]
) -> Batch:
    separators = prefix_tokens(graph)
    types = torch.zeros_like(ids)
    for token in made:
        types[ids == graph.tokens[token]] = TYPES[token]
    labels, text = torch.zeros_like(ids), torch.zeros_like(valid)
    labels[:, :-1] = ids[:, 1:]
    text[:, :-1] = valid[:, :-1] & valid[:, 1:] & (types[:, 1:] == 0)
    counts = {token: torch.tensor([sum(_named(part) == token for part in row) for row in described]) for token in made}
    features = {name: value for each in made.values() for name, value in each.values.items()}
    return Batch(
        ids,
        valid,
        {name: features[name] for name in graph.inputs if name in features},
        _suffixes(ids, separators) if separators else types,
        labels * text,
        text,
        counts["image"],
        counts.get("video"),
        {name: _of_rows(ends, counts[token]) for token, each in made.items() for name, ends in each.borders.items()},
    )


def _suffixes(ids: Tensor, separators: tuple[int, ...]) -> Tensor:
    """[B, S] int64: 0 up to and with a row's last separator, 1 behind it, and everywhere in a row without one."""
    marks = torch.isin(ids, torch.tensor(separators)).long()
    return (marks.flip(-1).cumsum(-1).flip(-1) == 0).long()


def _of_rows(ends: tuple[int, ...], counts: Tensor) -> tuple[int, ...]:
    """Where each row's entries begin, from where each item's do."""
    return tuple(ends[first] for first in [0, *counts.cumsum(0).tolist()])


@torch.no_grad()
def _feature_rows(oracle: "PreTrainedModel", graph: "Graph", token: str, features: Mapping[str, Tensor]) -> list[int]:
    encoded = {name: value for name, value in features.items() if graph.inputs[name].type != "seconds"}
    output = item_encoder(oracle, token)(**encoded)
    # Some classes project elsewhere, and return what their tower made.
    return [len(rows) for rows in (output.last_hidden_state if output.pooler_output is None else output.pooler_output)]


def item_encoder(oracle: "PreTrainedModel", token: str) -> Any:
    """The method of transformers' model, or of the one below its output layer, that makes feature rows of items.

    Raises:
        BatchError: there is none.
    """
    for model in (oracle, oracle.base_model):
        if (method := getattr(model, f"get_{token}_features", None)) is not None:
            return method
    raise BatchError(f"{type(oracle).__name__} has no get_{token}_features: the rows of an item are unknown")
